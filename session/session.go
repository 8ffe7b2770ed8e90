package session

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session/limit"
)

// Handshake is what a transport knows about a client when its session begins.
type Handshake struct {
	// Claims, and whether they suffice: false makes the session wait for connect.
	Claims auth.Claims
	Given  bool
	// Told says that connected shall be pushed at once, since a token came with the
	// handshake and connect may never follow.
	Told bool
	// Browser clients get heartbeats that a page's script can see.
	Browser bool
	Peer    *Peer // of Registry.PeerOf
	// Slot is the connection's; it may be nil, where nothing is counted.
	Slot *Slot
}

// Session is one client's connection: it turns commands into calls and whatever
// comes back into events. It is a fanout.Sink and a Member. A transport embeds it
// beside what it knows of the socket, so that a connection is one piece of memory; what
// few connections need is behind pointers that are nil for the others.
type Session struct {
	out Outbound // first: with what follows it is all that a delivery touches

	// Static after Init.
	registry *Registry
	codec    Codec
	slot     *Slot // nil where nothing is counted
	id       [8]byte
	born     int64 // Unix nanoseconds, as all times here
	browser  bool

	// Owned by the reading side.
	opened  bool          // a command was answered: connect comes too late
	flooded bool          // by the client, which was closed for it
	tight   int32         // commands a second that the token allows; 0 says nothing
	pubs    *publishQueue // made by the first publish or history
	hooked  *hooked       // nil until a hook is asked, or may be
	meter   limit.Meter
	work    sync.WaitGroup // what goes on after a command

	replays *Replays // nil while nothing is replayed; owned by the sink's caller

	durable atomic.Pointer[durable] // set by connect; the hub may have subscriptions before

	ready   atomic.Bool  // the claims suffice
	ended   bool         // nothing is subscribed to any more; guarded by mu
	heard   atomic.Int64 // when the client last sent anything
	begun   atomic.Int64 // when the frame began that is being received; 0 is none
	expires atomic.Int64 // when the claims end; 0 is never
	due     atomic.Int64 // when the sweeper must look at tokens; 0 is never

	// Owned by the sweeper.
	nextPing int64
	lastLife int64

	mu     sync.Mutex // guards the following
	holder holder
	client Subscriber // made by the first subscribe
	tokens uint64     // counts what the hub is asked
	asked  []question
	subs   []joined
	seats  *seats // made by the first group
	grants *grant // of subscription tokens; the first of a list

	pacer atomic.Pointer[limit.Pacer] // nil: deliveries are not paced
}

// question is what the hub was asked and has not answered.
type question struct {
	token uint64
	id    uint64 // the command's
}

// joined is a subscription that nobody has asked to end. Its token tells it from an
// earlier one to the same channel, of which the hub may still send notices; the
// command's ID does not, since a client may use one again.
type joined struct {
	channel fanout.Channel
	token   uint64
}

var (
	_ fanout.Sink       = (*Session)(nil)
	_ fanout.Corker     = (*Session)(nil)
	_ fanout.Identified = (*Session)(nil)
	_ Member            = (*Session)(nil)
	_ Owned             = (*Session)(nil)
)

// Init makes a zero Session one whose frames wait until Outbound().Start. The owner is
// whoever embeds it: Drained is the Session's, Finished its own.
func (s *Session) Init(r *Registry, codec Codec, h Handshake, o Owner) {
	now := time.Now()
	s.registry, s.codec, s.browser, s.slot = r, codec, h.Browser, h.Slot
	if h.Peer != nil {
		s.hooked = &hooked{peer: h.Peer}
	}
	s.born, s.lastLife = now.UnixNano(), now.UnixNano()
	// A crowd that connects at once is spread over the interval from its first ping on.
	s.nextPing = now.Add(jitter(r.cfg.PingInterval)).UnixNano()
	_, _ = rand.Read(s.id[:]) // never fails, by its contract
	s.heard.Store(now.UnixNano())
	s.out.Init(&r.buffers, o)
	if h.Given {
		s.admit(h.Claims)
		if h.Told {
			s.push(s.connected(0))
		}
	}
}

// Drained moves the subscriptions on that waited for room. It is part of Owner.
func (s *Session) Drained() {
	if c := s.subscriber(); c != nil {
		c.Drained()
	}
	s.groupsReady()
}

// Cork and Uncork make the session a fanout.Corker.
func (s *Session) Cork() { s.out.Cork() }

// Uncork ends what Cork began.
func (s *Session) Uncork() { s.out.Uncork() }

// Slot is the one of the handshake.
func (s *Session) Slot() *Slot { return s.slot }

// Outbound is the session's buffer.
func (s *Session) Outbound() *Outbound { return &s.out }

// ID names the connection to its client and in logs: 64 random bits in hexadecimal.
func (s *Session) ID() string { return hex.EncodeToString(s.id[:]) }

// is reports whether id is the session's.
func (s *Session) is(id string) bool {
	var own [2 * len(s.id)]byte
	hex.Encode(own[:], s.id[:])
	return id == string(own[:])
}

// LogValue is the session as logs show it.
func (s *Session) LogValue() slog.Value { return slog.StringValue(s.ID()) }

// Heard notes a sign of life: the transport calls it for whatever arrives.
func (s *Session) Heard(now time.Time) { s.heard.Store(now.UnixNano()) }

// Receiving notes since when a frame is being received that has not ended, in Unix
// nanoseconds; 0 is none. It must end within Config.FrameTimeout. It returns what was
// noted before.
func (s *Session) Receiving(since int64) (before int64) { return s.begun.Swap(since) }

// push sends an event that the client must get; one that reads nothing of what it
// asked for is cut.
func (s *Session) push(ev *protocol.Event) bool {
	if s.out.Push(s.codec.Event(ev)) {
		return true
	}
	s.Disconnect(disconnect(protocol.CloseNotReading))
	return false
}

func (s *Session) reply(id uint64, err error) { s.refuse(id, ErrorEvent(err), err) }

// refuse answers with ev, which says err to the client.
func (s *Session) refuse(id uint64, ev *protocol.ErrorEvent, err error) {
	s.registry.metrics.errors.WithLabelValues(label(ev.Code)).Inc()
	if ev.Code == protocol.ErrorInternal {
		s.registry.log.Error("command failed", slog.Any("session", s), slog.Any("err", err))
	}
	s.push(&protocol.Event{ID: id, Error: ev})
}

// Deliver takes a message, or nothing when there is no room.
func (s *Session) Deliver(m *fanout.Message) bool {
	if m.Exclude != "" && s.is(m.Exclude) {
		return true // it is the publisher, who has it
	}
	if !s.replays.Take() {
		s.registry.metrics.refused.Inc()
		return false
	}
	if s.deliver(s.codec.Message(m)) {
		return true
	}
	s.replays.Give()
	return false
}

// Notify takes a notice. Answers to commands are always taken while the connection
// lives; their number is bounded by the commands that wait.
func (s *Session) Notify(n fanout.Notice) bool {
	if !s.notify(n) {
		return false
	}
	s.followReplays(n)
	return true
}

func (s *Session) notify(n fanout.Notice) bool {
	switch n.Kind {
	case fanout.NoticeSubscribed, fanout.NoticeFailed, fanout.NoticeUnsubscribed:
		return s.answer(n)
	case fanout.NoticeChecked:
		return s.checked(n)
	default:
		if d := s.durable.Load(); d != nil && s.keptBack(d, n) {
			return true
		}
		return s.out.Push(s.codec.Event(NoticeEvent(n)))
	}
}

// keptBack takes from a notice what concerns the durable session, and reports whether it
// is not for the client: who asked for no history is not told that it has ended.
func (s *Session) keptBack(d *durable, n fanout.Notice) bool {
	if n.Kind == fanout.NoticePosition {
		d.fresher(n)
	}
	if n.Kind != fanout.NoticeCaughtUp {
		return false
	}
	token, _ := s.joined(n.Channel)
	return d.durability(n.Channel, token) == begunLive
}

// answer passes on what has become of a subscription.
func (s *Session) answer(n fanout.Notice) bool {
	if n.Token != 0 {
		if done, ok := s.unaskedAnswer(n); done {
			return ok
		}
	}
	revoked := n.Token == 0 && n.Kind == fanout.NoticeUnsubscribed
	if n.Kind == fanout.NoticeFailed {
		if n.Token == 0 && errors.Is(n.Err, fanout.ErrNotSubscribed) {
			return true // it ended by itself before it was revoked, and the client knows
		}
		s.forget(n.Channel, n.Token)
		defer s.tookInVain(n.Channel, n.Token)
		s.registry.metrics.errors.WithLabelValues(label(ErrorEvent(n.Err).Code)).Inc()
	}
	kept, d := passing, s.durable.Load()
	if d != nil && n.Kind == fanout.NoticeSubscribed {
		kept = d.durability(n.Channel, n.Token)
	}
	n.Token = s.answered(n.Token)
	ev := NoticeEvent(n)
	if kept != passing {
		d.tell(ev.Subscribed, n.Channel, kept == continued)
	}
	ev.ID = n.Token
	if revoked {
		ev.Unsubscribed.Code = protocol.ErrorRevoked
		ev.Unsubscribed.Reason = protocol.ErrorRevoked.Reason()
	}
	return s.push(ev)
}

// ask returns a token for the hub, which stands for the command id.
func (s *Session) ask(id uint64) (token uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.askLocked(id, 0)
}

// watching marks the tokens of subscriptions that asked for presence.
const watching uint64 = 1 << 63

func (s *Session) askLocked(id, mark uint64) (token uint64) {
	s.tokens++
	token = s.tokens | mark
	s.asked = append(s.asked, question{token, id})
	return token
}

// answered returns the command that token stands for, once: a subscription that ends
// later than its answer ends unasked.
func (s *Session) answered(token uint64) (id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.asked, func(q question) bool { return q.token == token })
	if i < 0 {
		return 0
	}
	id = s.asked[i].id
	s.asked = slices.Delete(s.asked, i, i+1)
	if len(s.asked) == 0 {
		s.asked = nil // nothing is kept while nothing is asked
	}
	return id
}

// forget drops the subscription that token stands for, if it is there: a later one to
// the same channel stays. Token 0 is that of whatever the hub ends unasked.
func (s *Session) forget(c fanout.Channel, token uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subs = slices.DeleteFunc(s.subs, func(j joined) bool {
		return j.channel == c && (token == 0 || j.token == token)
	})
	s.pruneLocked()
}

func (s *Session) subscriber() Subscriber {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.client
}

// disconnect is the event of a close code.
func disconnect(code protocol.Code) protocol.DisconnectEvent {
	return protocol.DisconnectEvent{Code: code, Reason: code.Reason(), Reconnect: code.Reconnect()}
}

// Reject closes the connection because of what the client sent: detail says more
// than the code's own text.
func (s *Session) Reject(code protocol.Code, detail string) {
	ev := disconnect(code)
	if detail != "" {
		ev.Reason = detail
	}
	s.Disconnect(ev)
}

// Disconnect sends ev and the close frame after whatever waits, and takes no
// frames any more. It does not wait; a second call does nothing.
func (s *Session) Disconnect(ev protocol.DisconnectEvent) {
	final := append(s.codec.Event(&protocol.Event{Disconnect: &ev}), s.codec.Close(ev.Code, ev.Reason)...)
	if s.out.Finish(final, ev.Code == protocol.CloseNotReading) {
		s.registry.metrics.disconnects.WithLabelValues(label(ev.Code)).Inc()
		s.registry.log.Debug("session disconnected", slog.Any("session", s), slog.Int("code", int(ev.Code)), slog.String("reason", ev.Reason))
	}
}

// Leave answers a client that closes: final is the close frame, if the wire has one.
func (s *Session) Leave(final []byte) { s.out.Finish(final, false) }

// Abort closes the socket at once. The transport notices and ends the session.
func (s *Session) Abort() { s.out.Abort() }

// End ends the subscriptions and waits for all that the session started and for
// the last frame. The reading goroutine calls it last; the wire is closed then.
func (s *Session) End() {
	s.mu.Lock()
	s.ended = true // what a hook still thinks about does not begin any more
	c := s.client
	s.mu.Unlock()
	if c != nil {
		c.Close()
	}
	s.replays.Stop()
	s.leaveGroups(nil, time.Time{})
	s.pacer.Load().Stop()
	s.work.Wait()
	if d := s.durable.Load(); d != nil {
		d.end()
	}
	s.out.End()
}
