package sse

import (
	"crypto/rand"
	"encoding/binary"
	"log/slog"
	mathrand "math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/limit"
	"github.com/rivulet-rt/rivulet/session/socket"
)

// stream is one connection: the sink of its subscriptions.
type stream struct {
	// Static after newStream.
	registry *session.Registry
	cfg      session.Config
	log      *slog.Logger
	out      session.Outbound
	driver   socket.Driver // of a connection that was taken over
	slot     *session.Slot
	client   session.Subscriber
	who      fanout.Identity
	born     time.Time
	claims   auth.Claims
	pacer    *limit.Pacer     // nil: deliveries are not paced
	replays  *session.Replays // nil: nothing is replayed, or as fast as it goes; its methods are the sink's caller's
	outcome  chan error       // one value: nil when all channels are subscribed, or why one is not

	// Owned by the sink's caller.
	places  []place
	waiting int // channels that have no outcome yet

	// Owned by the sweeper.
	nextBeat time.Time
	warnAt   time.Time // when the client is told that its token ends; zero: it was, or need not be
	lastLife int64     // when the client's kernel was seen to acknowledge something, Unix nanoseconds

	decide sync.Once // of outcome
}

var (
	_ fanout.Sink       = (*stream)(nil)
	_ fanout.Corker     = (*stream)(nil)
	_ session.Member    = (*stream)(nil)
	_ session.Owned     = (*stream)(nil)
	_ session.Revocable = (*stream)(nil)
	_ fanout.Identified = (*stream)(nil)
	_ session.Owner     = (*stream)(nil)
	_ socket.Handler    = (*stream)(nil)
)

func newStream(r *session.Registry, log *slog.Logger, claims auth.Claims, addr netip.Addr, subs []subscription) *stream {
	s := &stream{
		registry: r, cfg: r.Config(), log: log, claims: claims, waiting: len(subs),
		outcome: make(chan error, 1), // so that the sink never waits
		born:    time.Now(),
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails, by its contract
	s.who = session.NewIdentity(fanout.ClientID(binary.BigEndian.Uint64(id[:])), claims)
	for _, sub := range subs {
		s.places = append(s.places, place{channel: sub.request.Channel, hash: sub.hash, positions: slices.Clone(sub.request.Start.Positions)})
	}
	now := time.Now()
	s.warnAt = session.WarnAt(claims, now)
	s.nextBeat = now.Add(s.cfg.PingInterval/2 + mathrand.N(s.cfg.PingInterval/2))
	s.lastLife = now.UnixNano()
	r.Init(&s.out, s)
	s.client = r.Services().NewClient(s)
	s.pacer = r.Services().Limits.NewPacer(claims.Limits.OutboundBytes, s.Drained)
	for _, sub := range subs {
		if !session.Replaying(sub.request.Start) {
			continue
		}
		if s.replays == nil {
			s.replays = r.NewReplays(claims, addr, "", s.Drained)
		}
		s.replays.Begin(sub.request.Channel)
	}
	return s
}

// subscribe starts all subscriptions; the outcome tells when they have begun.
func (s *stream) subscribe(subs []subscription) {
	if err := subscribe(s.client, subs); err != nil {
		s.settle(err)
	}
}

func (s *stream) settle(err error) { s.decide.Do(func() { s.outcome <- err }) }

// Identity makes the stream a member of the channels it is subscribed to.
func (s *stream) Identity() fanout.Identity { return s.who }

// Whose implements session.Owned.
func (s *stream) Whose(user string) (session.Connection, bool) {
	if s.who.User != user {
		return session.Connection{}, false
	}
	c := session.Connection{
		Client: s.who.Client.String(), Transport: session.SSE, Since: s.born.UnixMilli(), Subscriptions: len(s.places), Channels: []string{},
	}
	for i := range s.places {
		c.Channels = append(c.Channels, s.places[i].channel.String())
	}
	return c, true
}

// Born is when the connection began, in Unix nanoseconds.
func (s *stream) Born() int64 { return s.born.UnixNano() }

// Drained moves the subscriptions on that waited for room.
func (s *stream) Drained() { s.client.Drained() }

// Finished closes the connection when the last event is out.
func (s *stream) Finished() { s.out.Abort() }

// Receive implements socket.Handler: the client has nothing more to say.
func (s *stream) Receive([]byte) (work bool) { return false }

// Work implements socket.Handler; there never is any.
func (s *stream) Work() {}

// Writable implements socket.Handler.
func (s *stream) Writable() { s.out.Writable() }

// Ended implements socket.Handler.
func (s *stream) Ended(error) {
	s.end()
	s.driver.Release() // before its place is given to another, and a drain goes on
	s.slot.Leave(s)
}

// Cork and Uncork make the stream a fanout.Corker.
func (s *stream) Cork() { s.out.Cork() }

// Uncork ends what Cork began.
func (s *stream) Uncork() { s.out.Uncork() }

// Deliver takes a message, or nothing when there is no room.
func (s *stream) Deliver(m *fanout.Message) bool {
	frame := messageFrame(m)
	size := len(frame)
	if s.replays.Take() {
		if s.pacer.Take(size) {
			if s.deliver(m, frame) {
				return true
			}
			s.pacer.Give(size)
		}
		s.replays.Give()
	}
	s.registry.Deferred()
	return false
}

func (s *stream) deliver(m *fanout.Message, frame []byte) bool {
	if len(s.places) == 1 && !s.places[0].channel.IsPattern() {
		if !s.out.Deliver(frame) {
			return false
		}
		s.places[0].advance([]fanout.Position{m.ResumeAt()})
		return true
	}
	p := s.place(m.Channel)
	before := slices.Clone(p.positions)
	p.advance([]fanout.Position{m.ResumeAt()})
	if s.out.Deliver(withoutID(frame), s.idLine()) {
		return true
	}
	p.positions = before
	return false
}

// place is that of the channel, or the pattern's.
func (s *stream) place(c fanout.Channel) *place { return placeIn(s.places, c) }

func placeIn(places []place, c fanout.Channel) *place {
	for i := range places {
		if places[i].channel == c {
			return &places[i]
		}
	}
	return &places[0]
}

func tooManyStreams(n fanout.Notice) error {
	return session.BadRequest("channel", "%s covers %d streams, and a resume token has room for %d; use a WebSocket", n.Channel, len(n.Positions), maxStreams)
}

func (s *stream) idLine() []byte {
	b := append(make([]byte, 0, 64*len(s.places)), "id: "...)
	return append(appendToken(b, s.places), '\n', '\n')
}

// Notify takes a notice.
func (s *stream) Notify(n fanout.Notice) bool {
	switch n.Kind {
	case fanout.NoticeFailed:
		if s.waiting > 0 { // the stream has not begun: the answer says why
			s.settle(n.Err)
			return true
		}
		// After the begin, the whole connection ends; the client resumes all of it.
		s.Disconnect(protocol.DisconnectEvent{
			Code: protocol.CloseInternal, Reason: session.ErrorEvent(n.Err).Message, Reconnect: true, RetryAfterMS: retryHint,
		})
		return true
	case fanout.NoticePresence: // nobody can ask for it here
		return true
	case fanout.NoticeUnsubscribed: // only Close ends a subscription here, without notices
		return true
	case fanout.NoticeSubscribed:
		if len(n.Positions) > maxStreams {
			s.settle(tooManyStreams(n))
			return true
		}
	default:
	}
	p := s.place(n.Channel)
	before := slices.Clone(p.positions)
	p.advance(n.Positions)
	if !s.out.Push(named(session.NoticeEvent(n), appendToken(nil, s.places))) {
		p.positions = before
		return false
	}
	switch n.Kind {
	case fanout.NoticeSubscribed:
		if s.waiting--; s.waiting == 0 {
			s.settle(nil)
		}
	case fanout.NoticeCaughtUp:
		s.replays.End(n.Channel)
	default:
	}
	return true
}

// Sweep closes the stream when a time limit has passed, and sends the heartbeat. A
// client of an event stream says nothing, so that its kernel acknowledges the
// heartbeats is its sign of life; where nobody can tell, the connection is left to
// TCP, which gives up on a vanished peer after a quarter of an hour or so.
func (s *stream) Sweep(now time.Time) {
	progress := s.out.Check(now)
	if progress.Acknowledged {
		s.lastLife = now.UnixNano()
	}
	switch {
	case progress.Stalled >= s.cfg.StallTimeout:
		s.registry.Disconnected(protocol.CloseNotReading)
		s.Abort() // a frame cut off at its end is dropped by the client; a farewell would complete it
	case progress.Owed && now.UnixNano()-s.lastLife >= int64(s.cfg.DeadAfter):
		s.registry.Disconnected(protocol.CloseHeartbeat)
		s.Abort() // nobody is there to be told
	case s.claims.Expired(now):
		s.disconnect(protocol.CloseTokenExpired)
	case !s.warnAt.IsZero() && !now.Before(s.warnAt):
		s.warnAt = time.Time{}
		left := s.claims.ExpiresAt.Sub(now).Milliseconds()
		s.out.Push(named(&protocol.Event{Expiring: &protocol.ExpiringEvent{InMS: left}}, nil)) // no room: its end comes all the same
	case !now.Before(s.nextBeat):
		s.nextBeat = s.nextBeat.Add(s.cfg.PingInterval)
		s.out.Push([]byte(heartbeat)) // no room: the client has enough to read
	}
}

// Revoke implements session.Revocable.
func (s *stream) Revoke(revoked func(auth.Claims) bool) {
	if revoked(s.claims) {
		s.disconnect(protocol.CloseRevoked)
	}
}

func (s *stream) disconnect(code protocol.Code) {
	s.Disconnect(protocol.DisconnectEvent{Code: code, Reason: code.Reason(), Reconnect: code.Reconnect()})
}

// Disconnect sends ev after whatever waits, and ends the stream.
func (s *stream) Disconnect(ev protocol.DisconnectEvent) {
	if s.out.Finish(disconnectFrame(ev), false) {
		s.registry.Disconnected(ev.Code)
		s.log.Debug("event stream disconnected", slog.Int("code", int(ev.Code)), slog.String("reason", ev.Reason))
	}
}

// Abort closes the socket at once.
func (s *stream) Abort() { s.out.Abort() }

// end ends the subscriptions and waits for the last frame. The connection is
// closed then.
func (s *stream) end() {
	s.client.Close()
	s.pacer.Stop()
	s.replays.Stop()
	s.out.End()
}
