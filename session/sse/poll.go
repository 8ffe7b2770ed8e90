package sse

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/limit"
)

// Bounds of one poll.
const (
	// maxPollWait is the longest that a client may ask to wait, and defaultPollWait how
	// long it waits otherwise.
	maxPollWait     = 60 * time.Second
	defaultPollWait = 25 * time.Second
	// maxPolled messages and deletions, and about so many bytes of them, are in one answer;
	// but one message always, unless the caller has got too many.
	maxPolled      = 1000
	maxPolledBytes = 1 << 20
)

// Poller answers GET /v1/poll.
type Poller struct {
	events *Handler
	log    *slog.Logger
}

// NewPoller returns the handler of GET /v1/poll.
func NewPoller(registry *session.Registry, logger *slog.Logger) *Poller {
	return &Poller{events: New(registry, logger), log: logger}
}

// ServeHTTP answers with what there is after the request's position, or waits until
// something comes or the time is over. Errors are those of GET /v1/events, always
// with their status.
func (p *Poller) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	registry := p.events.registry
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		session.WriteHTTPStatus(w, http.StatusMethodNotAllowed, "only GET is allowed here")
		return
	}
	subs, claims, err := p.events.check(w, r, "timeout")
	var wait time.Duration
	if err == nil {
		wait, err = pollWait(r)
	}
	if err != nil {
		registry.Rejected(err)
		session.WriteHTTPError(w, err)
		return
	}
	if len(subs) == 0 {
		p.answer(w, new(poll))
		return
	}
	slot, err := registry.AdmitFrom(session.Poll, r, claims.Subject)
	if err != nil {
		session.WriteHTTPError(w, err)
		return
	}
	defer slot.Release()
	if !claims.ExpiresAt.IsZero() {
		wait = min(wait, time.Until(claims.ExpiresAt))
	}
	release, err := refine(registry, subs)
	if err != nil {
		session.WriteHTTPError(w, err)
		return
	}
	defer release()
	s := newPoll(registry, claims, subs)
	s.answers = registry.Answers(claims, session.ClientAddr(r))
	slot.Serve(s, func(ctx context.Context) {
		err = s.run(ctx, r.Context(), subs, wait)
	})
	switch {
	case r.Context().Err() != nil: // nobody is there to be answered
	case err != nil:
		session.WriteHTTPError(w, err)
	default:
		if slices.ContainsFunc(subs, func(sub subscription) bool { return len(sub.request.Start.Positions) > 0 }) {
			registry.HasRead(claims, session.ClientAddr(r), len(s.messages))
		}
		p.answer(w, s)
	}
}

func pollWait(r *http.Request) (time.Duration, error) {
	query := r.URL.Query()
	if !query.Has("timeout") {
		return defaultPollWait, nil
	}
	n, err := number(query, "timeout")
	if err != nil {
		return 0, err
	}
	if most := int(maxPollWait / time.Second); n < 0 || n > most || query.Get("timeout") == "" {
		return 0, session.BadRequest("timeout", "is %.32q, must be from 0 to %d seconds", query.Get("timeout"), most)
	}
	return time.Duration(n) * time.Second, nil
}

func (p *Poller) answer(w http.ResponseWriter, s *poll) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	if _, err := w.Write(s.body()); err != nil { //nolint:gosec // JSON, and sent as such
		p.log.Debug("poll not answered", slog.Any("err", err))
	}
}

// poll is one request: the sink of its subscriptions until it is answered. Its client
// is closed before the body is made.
type poll struct {
	// Static after newPoll.
	client  session.Subscriber
	claims  auth.Claims
	answers *limit.Answers // nil: they are not paced
	limit   time.Duration  // of the begin
	settled chan struct{}  // closed when all there was has come
	news    chan struct{}  // size 1: there is something to answer
	failed  chan error     // size 1: why a subscription did not begin, or that the token is revoked
	ended   chan struct{}  // size 1: the node ends the connection

	// Owned by the sink's caller.
	places   []place
	begun    int // subscriptions
	awaited  int // notices until all there was has come
	corked   bool
	messages [][]byte
	deleted  []*protocol.DeletedEvent
	size     int
	most     int // bytes that the answer may have; owned by run before it subscribes
	more     bool
	lost     string // why history is gone; "" if none is
}

var (
	_ fanout.Sink       = (*poll)(nil)
	_ fanout.Corker     = (*poll)(nil)
	_ session.Member    = (*poll)(nil)
	_ session.Revocable = (*poll)(nil)
)

func newPoll(r *session.Registry, claims auth.Claims, subs []subscription) *poll {
	s := &poll{
		claims: claims, most: maxPolledBytes,
		limit: r.Config().CommandTimeout, settled: make(chan struct{}), news: make(chan struct{}, 1),
		failed: make(chan error, 1), ended: make(chan struct{}, 1),
	}
	for _, sub := range subs {
		s.awaited++
		if sub.replays() {
			s.awaited++
		}
		s.places = append(s.places, place{channel: sub.request.Channel, hash: sub.hash, positions: slices.Clone(sub.request.Start.Positions)})
	}
	s.client = r.Services().NewClient(s)
	return s
}

// errBehind: not all there was has come in time.
var errBehind = errors.New("sse: a poll is not caught up")

// run subscribes and waits until there is something to answer. Nothing changes the
// answer after it.
func (s *poll) run(node, request context.Context, subs []subscription, wait time.Duration) error {
	wait, err := s.pace(node, request, wait)
	if err == nil {
		err = s.await(node, request, subs, wait)
	}
	s.client.Close()
	s.answers.Given(s.size)
	if !errors.Is(err, errBehind) {
		return err
	}
	if s.begun < len(subs) {
		return fanout.ErrUnavailable
	}
	// The log is read, and what there is may be left out by a filter for long: the answer
	// says how far that came, so that the next request goes on from there.
	s.more = true
	return nil
}

// pace waits, as long as the request does, until the caller may get something again, and
// returns how long the request waits yet. One who may not by then is told where to go on.
func (s *poll) pace(node, request context.Context, wait time.Duration) (left time.Duration, err error) {
	if hold := s.answers.Wait(); hold > 0 {
		begun := time.Now()
		timer := time.NewTimer(min(hold, wait))
		defer timer.Stop()
		select {
		case err := <-s.failed:
			return 0, err
		case <-timer.C:
		case <-request.Done():
			return 0, context.Cause(request)
		case <-s.ended:
			return 0, session.ErrDraining
		case <-node.Done():
			return 0, session.ErrDraining
		}
		wait = max(wait-time.Since(begun), 0)
	}
	s.most = s.answers.Room(maxPolledBytes)
	return wait, nil
}

func (s *poll) await(node, request context.Context, subs []subscription, wait time.Duration) error {
	if err := subscribe(s.client, subs); err != nil {
		return err
	}
	begin := time.NewTimer(s.limit)
	defer begin.Stop()
	select {
	case <-s.settled:
	case <-s.news:
		return nil // there is more than one answer holds
	case err := <-s.failed:
		return err
	case <-begin.C:
		return errBehind
	case <-request.Done():
		return context.Cause(request)
	case <-s.ended:
		return session.ErrDraining
	case <-node.Done():
		return session.ErrDraining
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select { // whichever it is, the answer says where to go on
	case <-s.news:
	case err := <-s.failed:
		return err
	case <-timer.C:
	case <-s.ended:
	case <-request.Done():
	case <-node.Done():
	}
	return nil
}

// Deliver takes a message unless the answer is full; it is never drained then.
func (s *poll) Deliver(m *fanout.Message) bool {
	if s.full() {
		return false
	}
	object := withoutID(messageFrame(m))
	object = object[len("data: ") : len(object)-1]
	s.messages = append(s.messages, object)
	s.size += len(object)
	placeIn(s.places, m.Channel).advance([]fanout.Position{m.ResumeAt()})
	s.tell()
	return true
}

// full reports whether the answer takes no more, of which there is some.
func (s *poll) full() bool {
	if s.more || len(s.messages)+len(s.deleted) >= maxPolled || s.size >= s.most {
		s.more = true
		signal(s.news)
	}
	return s.more
}

// Notify takes a notice. Once the answer is full none counts: what it tells lies after
// the message that was refused.
func (s *poll) Notify(n fanout.Notice) bool {
	if s.more {
		return false
	}
	switch n.Kind {
	case fanout.NoticeFailed:
		s.fail(n.Err)
		return true
	case fanout.NoticeUnsubscribed:
		return true
	case fanout.NoticeSubscribed:
		if len(n.Positions) > maxStreams {
			s.fail(tooManyStreams(n))
			return true
		}
		if !n.Recovered {
			s.lost = n.Reason
		}
		s.begun++
		s.awaited--
	case fanout.NoticeCaughtUp:
		s.awaited--
	case fanout.NoticeGap:
		s.lost = n.Reason
	case fanout.NoticeDeleted:
		if s.full() {
			return false
		}
		s.deleted = append(s.deleted, session.NoticeEvent(n).Deleted)
		s.size += len(n.Channel.String()) + fanout.MaxPositionBytes
	default:
	}
	placeIn(s.places, n.Channel).advance(n.Positions)
	if s.awaited == 0 {
		s.awaited = -1
		close(s.settled)
	}
	s.tell()
	return true
}

func (s *poll) fail(err error) {
	select {
	case s.failed <- err:
	default:
	}
}

// tell has the request answered if all there was has come and that is something.
func (s *poll) tell() {
	if !s.corked && s.awaited < 0 && (len(s.messages) > 0 || len(s.deleted) > 0 || s.lost != "") {
		signal(s.news)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Cork and Uncork make the poll a fanout.Corker: what comes together is one answer.
func (s *poll) Cork() { s.corked = true }

// Uncork ends what Cork began.
func (s *poll) Uncork() {
	s.corked = false
	s.tell()
}

// Sweep implements session.Member; a poll ends by itself.
func (s *poll) Sweep(time.Time) {}

// Disconnect has the request answered with what there is.
func (s *poll) Disconnect(protocol.DisconnectEvent) { signal(s.ended) }

// Revoke implements session.Revocable.
func (s *poll) Revoke(revoked func(auth.Claims) bool) {
	if !revoked(s.claims) {
		return
	}
	select {
	case s.failed <- auth.ErrRevoked:
	default:
	}
}

// Abort does the same as Disconnect: net/http has the socket.
func (s *poll) Abort() { signal(s.ended) }

// body is the answer.
func (s *poll) body() []byte {
	b := append(make([]byte, 0, s.size+256), `{"code":200,"message":"polled","data":{"messages":[`...)
	for i, m := range s.messages {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, m...)
	}
	b = append(b, `],"position":"`...)
	b = appendToken(b, s.places)
	b = append(b, `","recovered":`...)
	b = strconv.AppendBool(b, s.lost == "")
	if s.lost != "" {
		b = append(append(append(b, `,"reason":"`...), s.lost...), '"')
	}
	b = append(b, `,"more":`...)
	b = strconv.AppendBool(b, s.more)
	if len(s.deleted) > 0 {
		list, err := json.Marshal(s.deleted)
		if err == nil { // plain fields always encode
			b = append(append(b, `,"deleted":`...), list...)
		}
	}
	return append(b, "}}\n"...)
}
