package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/migrations"
)

// sessionValue is a durable session as its key holds it. Names are short: there may
// be hundreds of thousands, and each is written every few seconds.
type sessionValue struct {
	User    string `json:"u"`
	Name    string `json:"s"`
	Node    string `json:"n,omitempty"`
	Client  string `json:"c,omitempty"`
	Created int64  `json:"t"` // Unix milliseconds
	TTL     int64  `json:"l"` // milliseconds
	Ending  bool   `json:"e,omitempty"`
	// Kept has for each channel its position, or behind fenceMark the consumer's fence.
	Kept  map[string]string `json:"k,omitempty"`
	Reset []string          `json:"r,omitempty"`
	// Began has for each channel the offset at which its place was put, but for 0.
	Began map[string]uint64 `json:"b,omitempty"`
}

const (
	fenceMark = "!"
	hdrKVOp   = "KV-Operation" // on markers of removed keys
)

// sessionRecord is a record with what only the stores know of it.
type sessionRecord struct {
	fanout.SessionRecord
	ending bool // it expired, and its positions are being removed
	// absent: there is none; Revision is that of a marker, or 0.
	absent bool
}

func (r *sessionRecord) expired(now time.Time) bool { return r.ending || !now.Before(r.Expires()) }

// of reports whether the record belongs to the connection that r says.
func (r *sessionRecord) of(o *fanout.SessionRecord) bool {
	return !r.absent && !r.ending && r.Node == o.Node && r.Client == o.Client
}

func encodeSession(r *fanout.SessionRecord, ending bool) ([]byte, error) {
	v := sessionValue{
		User: r.ID.User, Name: r.ID.Name, Node: r.Node, Client: r.Client,
		Created: r.Created.UnixMilli(), TTL: r.TTL.Milliseconds(), Ending: ending,
	}
	if len(r.Channels) > 0 {
		v.Kept = make(map[string]string, len(r.Channels))
	}
	for _, k := range r.Channels {
		v.Kept[k.Channel.String()] = k.Position.String()
		if k.Fence != "" {
			v.Kept[k.Channel.String()] = fenceMark + k.Fence
		}
		if k.Reset {
			v.Reset = append(v.Reset, k.Channel.String())
		}
		if k.Began != 0 {
			if v.Began == nil {
				v.Began = make(map[string]uint64, len(r.Channels))
			}
			v.Began[k.Channel.String()] = k.Began
		}
	}
	return json.Marshal(v)
}

// decodeSession reads a record. What is no position any more counts as lost, so that
// its client is told.
func decodeSession(m stored) (sessionRecord, error) {
	r := sessionRecord{SessionRecord: fanout.SessionRecord{Revision: m.seq, Seen: time.Unix(0, m.time)}}
	if first(m.header, hdrKVOp) != "" || len(m.data) == 0 {
		r.absent = true
		return r, nil
	}
	var v sessionValue
	if err := json.Unmarshal(m.data, &v); err != nil {
		return r, fmt.Errorf("%w: session at %d: %w", errMalformed, m.seq, err)
	}
	r.ID = fanout.SessionID{User: v.User, Name: v.Name}
	r.Node, r.Client, r.ending = v.Node, v.Client, v.Ending
	r.Created, r.TTL = time.UnixMilli(v.Created), time.Duration(v.TTL)*time.Millisecond
	for name, place := range v.Kept {
		c, err := fanout.ParseChannel(name)
		if err != nil {
			continue
		}
		k := fanout.SessionChannel{Channel: c, Reset: slices.Contains(v.Reset, name), Began: v.Began[name]}
		if fence, ok := strings.CutPrefix(place, fenceMark); ok {
			k.Fence = fence
		} else if p, err := fanout.ParsePosition(place); err == nil {
			k.Position = p
		}
		r.Channels = append(r.Channels, k)
	}
	r.Sort()
	return r, nil
}

// read returns a record as the bucket's leader has it, perhaps an absent one.
func (s *Sessions) read(ctx context.Context, id fanout.SessionID) (*sessionRecord, error) {
	var answer struct {
		Error   *apiError `json:"error"`
		Message struct {
			Seq    uint64    `json:"seq"`
			Header []byte    `json:"hdrs"`
			Data   []byte    `json:"data"`
			Time   time.Time `json:"time"`
		} `json:"message"`
	}
	req := getRequest{Last: migrations.SessionSubject(id.User, id.Name)}
	if err := s.b.api(ctx, "STREAM.MSG.GET."+migrations.SessionsStream, req, &answer); err != nil {
		return nil, unavailable("read session", err)
	}
	absent := &sessionRecord{SessionRecord: fanout.SessionRecord{ID: id}, absent: true}
	if answer.Error != nil {
		if answer.Error.ErrCode == codeNoMessage {
			return absent, nil
		}
		return nil, unavailable("read session", answer.Error)
	}
	msg := stored{seq: answer.Message.Seq, time: answer.Message.Time.UnixNano(), data: answer.Message.Data}
	if len(answer.Message.Header) > 0 {
		header, err := nats.DecodeHeadersMsg(answer.Message.Header)
		if err != nil {
			return nil, unavailable("read session", err)
		}
		msg.header = header
	}
	r, err := decodeSession(msg)
	r.ID = id
	return &r, err
}

// errConflict: the record is not what it was when it was read.
var errConflict = errors.New("broker: session written by another")

// write stores a record if its revision is still the one that r has, and notes the
// new one in r. The error wraps errConflict where it is not, fanout.ErrDiskFull or
// fanout.ErrUnavailable; after the latter it may be stored all the same.
func (s *Sessions) write(ctx context.Context, r *fanout.SessionRecord, ending bool) error {
	data, err := encodeSession(r, ending)
	if err != nil {
		return err
	}
	seq, err := s.put(ctx, &nats.Msg{Subject: migrations.SessionSubject(r.ID.User, r.ID.Name), Data: data}, r.Revision)
	if err != nil {
		return err
	}
	r.Revision, r.Seen = seq, time.Now()
	return nil
}

// erase removes a record that still has the revision.
func (s *Sessions) erase(ctx context.Context, id fanout.SessionID, revision uint64) error {
	m := &nats.Msg{Subject: migrations.SessionSubject(id.User, id.Name), Header: nats.Header{
		hdrKVOp: {"PURGE"}, jetstream.MsgRollup: {jetstream.MsgRollupSubject},
		jetstream.MsgTTLHeader: {"60s"},
	}}
	_, err := s.put(ctx, m, revision)
	return err
}

func (s *Sessions) put(ctx context.Context, m *nats.Msg, revision uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	ack, err := s.b.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(revision))
	if err == nil {
		return ack.Sequence, nil
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	switch {
	case !ok:
		return 0, unavailable("write session", err)
	case api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant:
		return 0, errConflict
	case api.ErrorCode == codeStoreFailed || api.ErrorCode == codeInsufficient || api.ErrorCode == codeStorageExceeded:
		return 0, fmt.Errorf("write session: %w: %w", fanout.ErrDiskFull, err)
	}
	return 0, unavailable("write session", err)
}

// page reads records in the order in which they were written last, those of one user
// or all, markers and what is no record left out. next is where the following page begins, 0 at the end.
func (s *Sessions) page(ctx context.Context, filter string, from uint64, limit int) (list []sessionRecord, next uint64, err error) {
	req := getRequest{Seq: max(from, 1), Next: filter, Batch: limit, MaxBytes: batchBytes}
	call := &getCall{multi: true, done: make(chan struct{})}
	out, err := s.b.send(ctx, s.b.replay[0], apiPrefix+"DIRECT.GET."+migrations.SessionsStream, req, call)
	if err != nil {
		return nil, 0, unavailable("list sessions", err)
	}
	for _, m := range out.list {
		next = m.seq + 1
		r, err := decodeSession(m)
		switch {
		case err != nil: // what somebody else wrote there must not stop all the others
			s.b.met.sessionsGarbled.Inc()
			s.garbled.Do(func() {
				s.b.log.Error("a record of a durable session cannot be read and is skipped, as are others from now on without a word; delete its key",
					slog.String("subject", m.subject), slog.Any("err", err))
			})
		case !r.absent:
			list = append(list, r)
		}
	}
	if out.pending == 0 {
		next = 0
	}
	return list, next, nil
}
