package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/migrations"
)

// Dispatcher is the hub, as the live feed sees it. One goroutine calls it. It
// must not block.
type Dispatcher interface {
	// Dispatch takes one message, in the order of each stream; some may be missing
	// or come twice.
	Dispatch(m *fanout.Message)
	// Suspect says that messages of the stream, or with "" of any, may have been
	// missed. It comes before the first message that follows the loss, and again
	// when the feed is whole: what is stored after that call will be dispatched.
	Suspect(id fanout.StreamID)
}

// Advisories of the server that concern the feed; the stream's name follows.
const (
	advisory        = "$JS.EVENT.ADVISORY.STREAM."
	advisoryLeader  = advisory + "LEADER_ELECTED."
	advisoryCreated = advisory + "CREATED."
	advisoryDeleted = advisory + "DELETED."
)

// everything is the stream id that stands for all.
const everything fanout.StreamID = ""

// feed is the live feed: subscriptions that share one bounded queue, and the one
// goroutine that empties it into the hub.
type feed struct {
	b       *Broker
	link    *link
	queue   chan *nats.Msg // bounded; never closed, the reader's ctx ends its use
	started atomic.Bool
	behind  atomic.Int64 // Unix nanoseconds until which receipts do not wait for the feed

	// Owned by the reader.
	hub      Dispatcher
	dials    uint64 // of the link, when last looked
	full     bool   // the queue was full since the last suspicion of it
	sincePop int    // messages since that suspicion

	wake chan struct{} // size 1: there are suspicions
	mu   sync.Mutex    // guards the following
	// suspects are to be told to the hub by the reader.
	suspects map[fanout.StreamID]string
	watched  map[fanout.Source]*nats.Subscription
}

func newFeed(b *Broker, l *link, buffer int) *feed {
	return &feed{
		b: b, link: l, queue: make(chan *nats.Msg, buffer), sincePop: buffer,
		wake:     make(chan struct{}, 1),
		suspects: map[fanout.StreamID]string{}, watched: map[fanout.Source]*nats.Subscription{},
	}
}

// subscribe begins to queue: everything on a node with its own server, otherwise
// only what is watched; and always what tells of changed streams.
func (f *feed) subscribe() error {
	subjects := []string{migrations.EpochWildcard, advisoryLeader + "*", advisoryCreated + "*", advisoryDeleted + "*"}
	if f.b.srv != nil {
		subjects = append(subjects, migrations.LiveWildcard)
	}
	f.dials = f.link.dials.Load()
	for _, subject := range subjects {
		if _, err := f.link.nc.ChanSubscribe(subject, f.queue); err != nil {
			return fmt.Errorf("broker: subscribe to %s: %w", subject, err)
		}
	}
	return nil
}

// run empties the queue until ctx ends.
func (f *feed) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
			f.checkDial()
			f.tellSuspects()
		case m := <-f.queue:
			if f.checkLoss(m) {
				f.handle(m)
			}
		}
	}
}

// checkLoss tells the hub of a possible loss before the message that was just
// taken from the queue. A connection that was dialed again may have missed what
// was stored meanwhile; a queue that was full has refused messages, all of them
// behind those it held then. It reports whether m may be handled: what was queued
// when the connection was dialed again may be of a log that is gone, and is left
// out, for the hub reads the log in its place.
func (f *feed) checkLoss(m *nats.Msg) bool {
	if f.checkDial() {
		f.leaveOut(m)
		return false
	}
	f.sincePop++
	queued := len(f.queue)
	f.full = f.full || queued >= cap(f.queue)-1
	if f.full && (f.sincePop >= cap(f.queue)/2 || queued == 0) {
		f.full, f.sincePop = false, 0
		f.tell(everything, causeOverflow)
	}
	return true
}

// checkDial empties the queue and tells the hub if the connection was dialed again,
// and reports whether it was.
func (f *feed) checkDial() bool {
	dials := f.link.dials.Load()
	if dials == f.dials {
		return false
	}
	f.dials = dials
	for range len(f.queue) {
		f.leaveOut(<-f.queue)
	}
	f.tell(everything, causeReconnect)
	return true
}

// leaveOut handles m unless it is a message of the log.
func (f *feed) leaveOut(m *nats.Msg) {
	if !isLive(m) {
		f.notice(m.Subject)
	}
}

func isLive(m *nats.Msg) bool {
	return strings.HasPrefix(m.Subject, migrations.LiveWildcard[:len(migrations.LiveWildcard)-1])
}

func (f *feed) tell(id fanout.StreamID, cause string) {
	f.b.met.suspects.WithLabelValues(cause).Inc()
	f.hub.Suspect(id)
}

// suspect has the reader tell the hub. It may be called from any goroutine.
func (f *feed) suspect(id fanout.StreamID, cause string) {
	f.mu.Lock()
	f.suspects[id] = cause
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// lossy takes note of an error of the connection that means dropped messages.
func (f *feed) lossy(err error) {
	if errors.Is(err, nats.ErrSlowConsumer) {
		f.suspect(everything, causeOverflow)
	}
}

func (f *feed) tellSuspects() {
	f.mu.Lock()
	list := f.suspects
	f.suspects = map[fanout.StreamID]string{}
	f.mu.Unlock()
	for id, cause := range list {
		f.tell(id, cause)
	}
}

func (f *feed) handle(m *nats.Msg) {
	if !isLive(m) {
		f.notice(m.Subject)
		return
	}
	head, _, ok := migrations.SplitHead(m.Subject)
	if !ok {
		return
	}
	s := f.b.reg.byHead(head)
	if s == nil {
		return // of a namespace that this node does not serve
	}
	msg, ok := f.b.decodeLive(s, m)
	if !ok {
		f.b.met.foreign.Inc()
		return
	}
	s.recent.put(msg.Position.Offset, msg.Position.Time)
	f.b.met.feed.Inc()
	f.hub.Dispatch(msg)
}

// decodeLive reads a republished message.
func (b *Broker) decodeLive(s *stream, m *nats.Msg) (*fanout.Message, bool) {
	raw, err := parseStored(m)
	if err != nil {
		return nil, false
	}
	raw.subject = m.Subject // shorter to find than the stored one, and as good
	msg, ok := b.dec.decode(s, raw)
	if ok {
		msg.Prev = parseUint(m.Header, hdrPrevious)
	}
	return msg, ok
}

// notice handles what is said of a stream rather than stored in it.
func (f *feed) notice(subject string) {
	if name, ok := migrations.EpochSubject(subject); ok {
		f.changed(name)
		return
	}
	if name, ok := strings.CutPrefix(subject, advisoryLeader); ok {
		if s := f.b.reg.byStream(fanout.StreamID(name)); s != nil {
			f.tell(s.id(), causeLeader)
		}
		return
	}
	for _, prefix := range []string{advisoryCreated, advisoryDeleted} {
		if name, ok := strings.CutPrefix(subject, prefix); ok {
			f.changed(name)
		}
	}
}

// changed has the keeper look at a stream that was created, deleted or given a
// new epoch, perhaps by this node.
func (f *feed) changed(name string) {
	if s := f.b.reg.byStream(fanout.StreamID(name)); s != nil {
		f.b.keep.mend(s)
	}
}

// Start begins to feed the hub: what is stored after it returned is dispatched.
// It is called once, before anything is watched.
func (b *Broker) Start(hub Dispatcher) error {
	if !b.feed.started.CompareAndSwap(false, true) {
		return fmt.Errorf("broker: start: %w", errStarted)
	}
	b.feed.hub = hub
	if err := b.feed.subscribe(); err != nil {
		return err
	}
	b.wg.Go(func() { b.feed.run(b.ctx) })
	ctx, cancel := context.WithTimeout(b.ctx, apiTimeout)
	defer cancel()
	if err := b.live.nc.FlushWithContext(ctx); err != nil {
		return unavailable("start the live feed", err)
	}
	return nil
}

// Watch implements fanout.Feed. With the embedded server everything is fed
// anyway. With a remote one it returns once the server has the subscription; in
// a cluster the other servers learn of it a moment later.
func (b *Broker) Watch(ctx context.Context, src fanout.Source) error {
	s, err := b.stream(src.Stream)
	if err != nil || b.srv != nil {
		return err
	}
	f := b.feed
	f.mu.Lock()
	_, twice := f.watched[src]
	if !twice {
		f.watched[src] = nil
	}
	f.mu.Unlock()
	if twice {
		return fmt.Errorf("watch %s: %w", src.Filter, errWatched)
	}
	sub, err := f.watch(ctx, s.liveFilter(src.Filter))
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		delete(f.watched, src)
		return unavailable("watch "+src.Filter.String(), err)
	}
	f.watched[src] = sub
	return nil
}

func (f *feed) watch(ctx context.Context, subject string) (*nats.Subscription, error) {
	sub, err := f.link.nc.ChanSubscribe(subject, f.queue)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	if err := f.link.nc.FlushWithContext(ctx); err != nil {
		_ = sub.Unsubscribe() // only fails where the connection is closed
		return nil, err
	}
	return sub, nil
}

// Unwatch implements fanout.Feed. Messages already queued may still come.
func (b *Broker) Unwatch(src fanout.Source) {
	f := b.feed
	f.mu.Lock()
	sub := f.watched[src]
	delete(f.watched, src)
	f.mu.Unlock()
	if sub != nil {
		_ = sub.Unsubscribe() // only fails where the connection is closed
	}
}

// Exact reports whether the feed has every message that is stored after Watch
// returned, while the connection stands: there is one server, and this node is
// connected to it.
func (b *Broker) Exact() bool { return b.exact.Load() }
