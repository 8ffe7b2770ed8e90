package fanout

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
)

// What nodes tell each other. Unknown fields are ignored, so that nodes of two
// versions understand each other.

// attendance is one connection of an announcement or an answer.
type attendance struct {
	id ClientID
	attendee
}

// announcement says what has changed in a channel on one node since the one before.
type announcement struct {
	// Seq numbers a node's announcements, over all channels. Prev is the number of the
	// one before of this channel; 0 says that there were no members before.
	Seq, Prev uint64
	Joined    []attendance
	Left      []ClientID
}

// standing is a node's answer to a view: its members of a channel.
type standing struct {
	// Seq is the number of its last announcement of the channel, At that of its last one
	// of any when it answered.
	Seq, At uint64
	Same    bool // as the asker has it: there are no Joined
	Joined  []attendance
}

// wireMember is a member whose user and info are told.
type wireMember struct {
	Client string          `json:"c"`
	User   string          `json:"u,omitempty"`
	Info   json.RawMessage `json:"i,omitempty"`
	Since  int64           `json:"s,omitempty"`
}

// wireNews is an announcement, or a piece of an answer, in JSON.
type wireNews struct {
	Seq     uint64       `json:"seq,omitempty"`
	Prev    uint64       `json:"prev,omitempty"`
	At      uint64       `json:"at,omitempty"`
	Same    bool         `json:"same,omitempty"`
	Members []wireMember `json:"members,omitempty"`
	// Crowd has 16 bytes for each of those of which only the user's key is told.
	Crowd []byte `json:"crowd,omitempty"`
	// Left has 8 bytes for each.
	Left []byte `json:"left,omitempty"`
	// Clients is the count; Keys are the users' keys, 8 bytes each.
	Clients int    `json:"clients,omitempty"`
	Keys    []byte `json:"keys,omitempty"`
}

// wireQuestion is one on TopicPresence.
type wireQuestion struct {
	Channel string `json:"channel"`
	// Sync asks for a standing; otherwise a page is wanted.
	Sync    bool              `json:"sync,omitempty"`
	Details bool              `json:"details,omitempty"`
	Have    map[string]uint64 `json:"have,omitempty"`
	After   string            `json:"after,omitempty"`
	Limit   int               `json:"limit,omitempty"` // 0: counts only
}

const (
	crowdBytes = 16
	idBytes    = 8
	// mostInPiece bounds the connections of one announcement or piece: with what
	// MaxInfoBytes allows, or 16 bytes in base64, they stay below PieceBytes.
	mostInPiece      = 128
	mostCrowdInPiece = 8192
)

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil { // an info that is no JSON, which nobody lets in
		return []byte("{}")
	}
	return b
}

func toWire(m *Member) wireMember {
	return wireMember{Client: m.Client.String(), User: m.User, Info: m.Info, Since: m.Since}
}

func fromWire(w wireMember) (*Member, error) {
	id, ok := ParseClientID(w.Client)
	if !ok {
		return nil, fmt.Errorf("fanout: %.32q is no client", w.Client)
	}
	return &Member{Identity: Identity{Client: id, User: w.User, Info: w.Info}, Since: w.Since}, nil
}

// connections reads those of a piece.
func (n *wireNews) connections() ([]attendance, error) {
	list := make([]attendance, 0, len(n.Members)+len(n.Crowd)/crowdBytes)
	for _, w := range n.Members {
		m, err := fromWire(w)
		if err != nil {
			return nil, err
		}
		list = append(list, attendance{m.Client, attendee{userKey(m.User), m}})
	}
	for chunk := range slices.Chunk(n.Crowd, crowdBytes) {
		if len(chunk) < crowdBytes {
			return nil, fmt.Errorf("fanout: a crowd of %d bytes", len(n.Crowd))
		}
		list = append(list, attendance{
			ClientID(binary.BigEndian.Uint64(chunk)), attendee{user: binary.BigEndian.Uint64(chunk[idBytes:])},
		})
	}
	return list, nil
}

func parseAnnouncement(news []byte) (*announcement, error) {
	var n wireNews
	if err := json.Unmarshal(news, &n); err != nil {
		return nil, fmt.Errorf("fanout: announcement: %w", err)
	}
	joined, err := n.connections()
	if err != nil {
		return nil, err
	}
	a := &announcement{Seq: n.Seq, Prev: n.Prev, Joined: joined}
	for _, key := range keys(n.Left) {
		a.Left = append(a.Left, ClientID(key))
	}
	return a, nil
}

// keys reads numbers of 8 bytes each.
func keys(b []byte) []uint64 {
	list := make([]uint64, 0, len(b)/idBytes)
	for ; len(b) >= idBytes; b = b[idBytes:] {
		list = append(list, binary.BigEndian.Uint64(b))
	}
	return list
}

// put adds a connection to a piece: whole, or only its ID and its user's key.
func (n *wireNews) put(id ClientID, a attendee, details bool) {
	if details && a.member != nil {
		n.Members = append(n.Members, toWire(a.member))
		return
	}
	n.Crowd = binary.BigEndian.AppendUint64(n.Crowd, uint64(id))
	n.Crowd = binary.BigEndian.AppendUint64(n.Crowd, a.user)
}

// full reports whether a piece should leave.
func (n *wireNews) full() bool {
	return len(n.Members) >= mostInPiece || len(n.Crowd)/crowdBytes+len(n.Left)/idBytes+len(n.Keys)/idBytes >= mostCrowdInPiece
}

// announcements are those of all changes since the last, mu held. Without changes there
// is one that repeats the last number, so that whoever missed it notices.
func (r *roster) announcements() (list [][]byte) {
	details := len(r.local.members) <= r.p.cfg.MaxMembers
	n := wireNews{Prev: r.seq}
	flush := func() {
		r.seq = r.p.seq.Add(1)
		n.Seq = r.seq
		list = append(list, encode(n))
		n = wireNews{Prev: r.seq}
	}
	for id, joined := range r.changed {
		if joined {
			n.put(id, r.local.members[id], details)
		} else {
			n.Left = binary.BigEndian.AppendUint64(n.Left, uint64(id))
		}
		if n.full() {
			flush()
		}
	}
	switch {
	case len(n.Members)+len(n.Crowd)+len(n.Left) > 0:
		flush()
	case len(r.changed) == 0:
		n.Seq = r.seq
		list = append(list, encode(n))
	}
	r.changed = nil
	return list
}
