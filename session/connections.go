package session

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// Asker puts a question to all other nodes that are alive, and returns those that have
// not answered to the end when ctx ended.
type Asker interface {
	Ask(ctx context.Context, topic string, question []byte, take func(node string, piece []byte)) (missing []string, err error)
}

// Connection is one connection of a user.
type Connection struct {
	Client    string    `json:"client"`
	Node      string    `json:"node"`
	Transport Transport `json:"transport"`
	Since     int64     `json:"since"` // Unix milliseconds
	// Channels and patterns it is subscribed to, mostChannels at most; Subscriptions is
	// their number.
	Channels      []string `json:"channels"`
	Subscriptions int      `json:"subscriptions"`
}

// Connections are those of one user on all nodes.
type Connections struct {
	List []Connection
	// More says that there are more than MaxConnections, which are left out.
	More bool
	// Partial says that not every node has answered.
	Partial bool
}

// Bounds of Connections.
const (
	MaxConnections = 1000
	mostChannels   = 32
	askTimeout     = 500 * time.Millisecond
)

// Owned is a Member that knows whose it is.
type Owned interface {
	// Whose describes the connection if it is the user's.
	Whose(user string) (c Connection, ok bool)
}

// userQuestion is one on fanout.TopicConnections.
type userQuestion struct {
	User string `json:"user"`
	// End, unless nil, disconnects them with it.
	End *protocol.DisconnectEvent `json:"end,omitempty"`
}

// Connections lists a user's connections on all nodes.
func (r *Registry) Connections(ctx context.Context, user string) Connections {
	return r.askAll(ctx, userQuestion{User: user})
}

// DisconnectUser ends a user's connections on all nodes with ev, and returns those it
// found.
func (r *Registry) DisconnectUser(ctx context.Context, user string, ev protocol.DisconnectEvent) Connections {
	return r.askAll(ctx, userQuestion{user, &ev})
}

func (r *Registry) askAll(ctx context.Context, q userQuestion) Connections {
	found := Connections{List: r.connections(q)}
	if r.services.Others != nil {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		question, err := json.Marshal(q)
		if err != nil { // plain fields always encode
			return found
		}
		missing, err := r.services.Others.Ask(ctx, fanout.TopicConnections, question, func(_ string, piece []byte) {
			var list []Connection
			if json.Unmarshal(piece, &list) != nil {
				found.Partial = true
			}
			found.List = append(found.List, list...)
		})
		found.Partial = found.Partial || err != nil || len(missing) > 0
	}
	slices.SortFunc(found.List, func(a, b Connection) int {
		if a.Since != b.Since {
			return int(min(max(a.Since-b.Since, -1), 1))
		}
		return slices.Compare([]byte(a.Client), []byte(b.Client))
	})
	if found.More = len(found.List) > MaxConnections; found.More {
		found.List = found.List[:MaxConnections]
	}
	return found
}

// connections does what a question asks on this node.
func (r *Registry) connections(q userQuestion) (list []Connection) {
	for _, m := range r.members() {
		k, ok := m.(Owned)
		if !ok {
			continue
		}
		c, ok := k.Whose(q.User)
		if !ok {
			continue
		}
		if len(list) <= MaxConnections {
			c.Node = r.cfg.Node
			list = append(list, c)
		}
		if q.End != nil {
			m.Disconnect(*q.End)
		}
	}
	return list
}

// connectionsInPiece of an answer: with mostChannels names each it stays below
// fanout.PieceBytes.
const connectionsInPiece = 24

// AnswerConnections answers a question of another node on fanout.TopicConnections.
func (r *Registry) AnswerConnections(question []byte, reply fanout.Reply) {
	var q userQuestion
	if json.Unmarshal(question, &q) != nil || q.User == "" {
		return
	}
	list := r.connections(q)
	for {
		n := min(connectionsInPiece, len(list))
		piece, err := json.Marshal(list[:n])
		if err != nil { // plain fields always encode
			return
		}
		list = list[n:]
		if reply(piece, len(list) == 0) != nil || len(list) == 0 {
			return
		}
	}
}

// Whose implements Owned.
func (s *Session) Whose(user string) (Connection, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holder.subject != user {
		return Connection{}, false
	}
	c := Connection{Client: s.ID(), Transport: WebSocket, Since: s.born / int64(time.Millisecond), Subscriptions: len(s.subs), Channels: []string{}}
	for _, j := range s.subs[:min(len(s.subs), mostChannels)] {
		c.Channels = append(c.Channels, j.channel.String())
	}
	return c, true
}
