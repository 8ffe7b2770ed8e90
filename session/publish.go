package session

import (
	"context"
	"encoding/base64"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session/limit"
)

// publishQueue holds the publishes of one connection that wait for the log. One
// goroutine at a time works on it, so they are stored in their order; what came
// meanwhile goes together.
type publishQueue struct {
	slots chan struct{} // one per publish that waits; full stops the reading
	pages chan struct{} // one slot: the history under way

	mu      sync.Mutex // guards the following
	waiting []pendingPublish
	working bool

	// owed is what publishes that were refused cost beside what was counted when they came.
	owed atomic.Int64

	apart map[string]*publishQueue // by namespace; owned by the reading side
}

type pendingPublish struct {
	id  uint64
	pub *fanout.Publication
}

// queue is the connection's, made when it is needed for the first time.
func (s *Session) queue() *publishQueue {
	if s.pubs == nil {
		s.pubs = &publishQueue{slots: make(chan struct{}, s.registry.cfg.MaxPublishes), pages: make(chan struct{}, 1)}
	}
	return s.pubs
}

// refused notes that a publish stored nothing, which costs as much as any other command:
// else a client that is over its limit could go on fifty times as fast.
func (q *publishQueue) refused() { q.owed.Add(limit.CommandCost - messageCost) }

// owes is what the next publish pays for those that were refused since the last. q may be
// nil.
func (q *publishQueue) owes() int64 {
	if q == nil || q.owed.Load() == 0 {
		return 0
	}
	return q.owed.Swap(0)
}

// publish queues a publication. It waits while Config.MaxPublishes are under way,
// and so does whoever sends on this connection.
func (s *Session) publish(ctx context.Context, id uint64, cmd *protocol.PublishCommand) error {
	pub, err := s.publication(cmd)
	if err != nil {
		return err
	}
	q := s.queue()
	if slow := s.registry.services.Slow; slow != nil && slow(pub.Channel.Namespace()) {
		if q, err = q.of(pub.Channel.Namespace()); err != nil {
			return err
		}
	} else {
		q.slots <- struct{}{}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, pendingPublish{id, pub})
	if !q.working {
		q.working = true
		s.work.Go(func() { s.publishAll(ctx, q) })
	}
	return nil
}

// publishAll works until nothing waits. A publish goes on when its connection is
// gone: it was asked for, and its key makes a retry safe.
func (s *Session) publishAll(ctx context.Context, q *publishQueue) {
	for {
		batch := q.take()
		if len(batch) == 0 {
			return
		}
		pubs := make([]*fanout.Publication, len(batch))
		for i, p := range batch {
			pubs[i] = p.pub
		}
		ctx, cancel := context.WithTimeout(ctx, s.registry.cfg.CommandTimeout)
		outcomes := s.registry.services.Publisher.PublishAll(ctx, pubs)
		cancel()
		for i, p := range batch {
			s.published(p, outcomes[i])
			<-q.slots
		}
	}
}

// apartFactor is how much longer than the plain queue that of a slow namespace is: it
// refuses where the other only stops the reading.
const apartFactor = 4

// of takes a place in the queue of a namespace that may be slow. Where it has none, the
// publish is refused: waiting would stop the whole connection.
func (q *publishQueue) of(namespace string) (*publishQueue, error) {
	own := q.apart[namespace]
	if own == nil {
		if q.apart == nil {
			q.apart = map[string]*publishQueue{}
		}
		own = &publishQueue{slots: make(chan struct{}, apartFactor*cap(q.slots))}
		q.apart[namespace] = own
	}
	select {
	case own.slots <- struct{}{}:
		return own, nil
	default:
		return nil, refuse(protocol.ErrorTooManyRequests, "channel", "%d publishes wait for the answer of a hook; nothing was stored, send it again later", cap(own.slots))
	}
}

func (q *publishQueue) take() []pendingPublish {
	q.mu.Lock()
	defer q.mu.Unlock()
	batch := q.waiting
	q.waiting = nil
	q.working = len(batch) > 0
	return batch
}

func (s *Session) published(p pendingPublish, o fanout.Outcome) {
	if o.Err != nil {
		s.pubs.refused()
		s.reply(p.id, o.Err)
		return
	}
	at := o.Receipt.Position
	ev := &protocol.PublishedEvent{Channel: p.pub.Channel.String(), Duplicate: o.Receipt.Duplicate}
	if o.Receipt.Schedule != "" {
		ev.Schedule, ev.DeliverAt = o.Receipt.Schedule, o.Receipt.DeliverAt/int64(time.Millisecond)
	} else {
		ev.Offset, ev.Position, ev.Time = at.Offset, at.String(), at.Time/int64(time.Millisecond)
	}
	s.push(&protocol.Event{ID: p.id, Published: ev})
}

// publication checks everything about a publish command and authorises it.
func (s *Session) publication(cmd *protocol.PublishCommand) (*fanout.Publication, error) {
	channel, err := fanout.ParseChannel(cmd.Channel)
	if err != nil {
		return nil, err
	}
	claims := s.claimed()
	if !claims.Allows(auth.Publish, channel.String()) {
		return nil, s.lacking("channel", auth.Publish, channel)
	}
	pub := &fanout.Publication{
		Channel: channel, Headers: cmd.Headers, Key: cmd.IdempotencyKey,
		Publisher: claims.Publisher(), User: claims.Subject, Client: s.ID(), PublishesPerSecond: claims.Limits.Publishes,
	}
	if pub.Data, pub.Binary, err = data(cmd); err != nil {
		return nil, err
	}
	if err := checkKey(cmd.IdempotencyKey); err != nil {
		return nil, err
	}
	if err := pub.Apply(publishOptions(cmd), time.Now()); err != nil {
		return nil, err
	}
	return pub, checkHeaders(cmd.Headers)
}

func publishOptions(cmd *protocol.PublishCommand) fanout.PublishOptions {
	return fanout.PublishOptions{
		TTL: cmd.TTL, DeliverAt: cmd.DeliverAt, Delay: cmd.Delay, ExpectedOffset: cmd.ExpectedOffset,
		Exclude: cmd.Exclude, ConflationKey: cmd.ConflationKey, Updates: cmd.Updates,
	}
}

func data(cmd *protocol.PublishCommand) (b []byte, binary bool, err error) {
	switch {
	case cmd.Data != nil && cmd.DataBase64 != nil:
		return nil, false, BadRequest("data", "give only one of data and data_base64")
	case cmd.Data != nil && cmd.Bytes != nil:
		return nil, false, BadRequest("data", "give only one of data and data_binary")
	case cmd.Bytes != nil:
		return cmd.Bytes, true, nil
	case cmd.DataBase64 != nil && strings.ContainsAny(*cmd.DataBase64, "\r\n"): // which the decoder would skip
		return nil, false, BadRequest("data_base64", "has a line break; base64 (RFC 4648 section 4) has none")
	case cmd.DataBase64 != nil:
		b, err = base64.StdEncoding.Strict().DecodeString(*cmd.DataBase64)
		if err != nil {
			return nil, false, BadRequest("data_base64", "is not base64 (RFC 4648 section 4, with padding): %v", err)
		}
		return b, true, nil
	case cmd.Data == nil:
		return nil, false, BadRequest("data", "is missing; give any JSON value, or bytes in data_base64 (JSON) or data_binary (Protobuf)")
	}
	b, err = protocol.CompactData(cmd.Data)
	return b, false, err
}

func checkKey(key string) error {
	if len(key) > protocol.MaxIdempotencyKey {
		return BadRequest("idempotency_key", "has %d bytes, at most %d are allowed", len(key), protocol.MaxIdempotencyKey)
	}
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return BadRequest("idempotency_key", "may only have printable ASCII characters and no spaces")
		}
	}
	return nil
}

func checkHeaders(headers map[string]string) error {
	if len(headers) > protocol.MaxHeaders {
		return BadRequest("headers", "are %d, at most %d are allowed", len(headers), protocol.MaxHeaders)
	}
	for name, value := range headers {
		switch {
		case name == "" || len(name) > protocol.MaxHeaderName || !isToken(name):
			return BadRequest("headers", "the name %.64q must be 1 to %d letters, digits or !#$%%&'*+-.^_`|~", name, protocol.MaxHeaderName)
		case len(value) > protocol.MaxHeaderValue:
			return BadRequest("headers", "%s has %d bytes, at most %d are allowed", name, len(value), protocol.MaxHeaderValue)
		case !utf8.ValidString(value) || strings.ContainsFunc(value, isControl):
			return BadRequest("headers", "%s has control characters, which are not allowed", name)
		}
	}
	return nil
}

func isToken(s string) bool {
	for i := range len(s) {
		b := s[i]
		if (b < '0' || b > '9') && (b < 'a' || b > 'z') && (b < 'A' || b > 'Z') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(b)) {
			return false
		}
	}
	return true
}

func isControl(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }
