package broker

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rivulet-rt/rivulet/fanout"
)

// groups are those that connections of this node are members of. The link, and with
// it everything that groups cost, is made at the first join.
type groups struct {
	b     *Broker
	every time.Duration // between two checks of a group's floor; static after Open

	mu   sync.Mutex // guards the following; taken before a group's
	mux  *mux
	open map[groupKey]*group
	shut bool
}

type groupKey struct {
	channel fanout.Channel
	name    string
}

func newGroups(b *Broker) *groups {
	return &groups{b: b, every: floorEvery, open: map[groupKey]*group{}}
}

// group is one durable group, as long as this node has members of it. A consumer of
// JetStream is the group: it hands each message to one of those who ask, again if it
// is not settled, and so the nodes need not know of each other.
type group struct {
	// Static after open.
	b        *Broker
	key      groupKey
	cfg      GroupConfig
	stream   *stream
	consumer string
	limit    uint64 // messages that the channel keeps; 0 is any number
	mux      *mux
	cancel   context.CancelFunc
	wake     chan struct{} // size 1: there may be something to do

	mu      sync.Mutex // guards the following, and calls of the members
	inbox   string     // where the answers to requests come
	sub     *nats.Subscription
	members []*membership
	turn    int
	spare   []*delivery     // came, and no member had room for them
	again   again           // what comes once more
	eager   int             // how many messages a request asks for at most
	asked   int             // messages that the request under way may still bring
	request uint64          // its number
	until   time.Time       // when it has ended, whatever is heard
	newest  fanout.Position // of what came
	// full: as many messages wait as a channel keeps, so some may have been dropped
	// before the last that came. gap is told of it at once; of late, that it was still so
	// with a later one, the next check.
	full, gap, late bool
	ended           bool

	looking atomic.Bool // at whether the consumer exists

	floor floor // owned by run, and before it by ensure
}

const (
	// askMost is how many messages one request asks for: requests take turns, so that
	// a node with room for many does not leave the others without.
	askMost = 64
	// askFor is how long the server keeps a request.
	askFor = 20 * time.Second
	// groupTick is how often a group looks at its clock.
	groupTick = 500 * time.Millisecond
	// settleTimeout bounds the wait for the server's word that a message is settled.
	settleTimeout = 5 * time.Second
)

// JoinGroup makes a connection a member of a group, and the group if there is none.
// Errors: *fanout.InputError, or wrapping fanout.ErrUnknownNamespace, ErrTooMany,
// ErrClosed or ErrUnavailable.
func (b *Broker) JoinGroup(ctx context.Context, req fanout.GroupRequest) (fanout.Membership, fanout.Joined, error) {
	var joined fanout.Joined
	ns, err := b.groupNamespace(ctx, req)
	if err != nil {
		return nil, joined, err
	}
	g := &group{
		b: b, key: groupKey{req.Channel, req.Group}, cfg: b.cfg.groupConfig(ns.name), stream: ns.home(req.Channel),
		wake: make(chan struct{}, 1), again: again{}, eager: askMost,
	}
	g.consumer = consumerName(req.Channel, req.Group)
	g.limit = uint64(max(ns.spec.MaxPerChannel, 0))
	if joined, err = g.ensure(ctx, req.Start); err != nil {
		return nil, joined, fmt.Errorf("group %s of %s: %w", req.Group, req.Channel, err)
	}
	m := &membership{sink: req.Member, most: req.MaxInFlight, inFlight: map[string]*delivery{}}
	if err := b.groups.add(ctx, g, m); err != nil {
		return nil, joined, fmt.Errorf("group %s of %s: %w", req.Group, req.Channel, err)
	}
	joined.AckWait = m.g.cfg.AckWait
	return m, joined, nil
}

func (b *Broker) groupNamespace(ctx context.Context, req fanout.GroupRequest) (*namespace, error) {
	if req.Channel.IsZero() || req.Channel.IsPattern() {
		return nil, &fanout.InputError{Field: "channel", Problem: fmt.Sprintf("%q is not one channel; a group has one, without wildcards", req.Channel)}
	}
	if err := fanout.CheckGroup(req.Group); err != nil {
		return nil, err
	}
	if req.Channel == fanout.DeadLetters(req.Channel, req.Group) {
		return nil, &fanout.InputError{Field: "group", Problem: fmt.Sprintf("%q has its own dead letters in %s, so that they would come back for ever; give the group that works on them another name", req.Group, req.Channel)}
	}
	return b.namespace(ctx, req.Channel.Namespace())
}

// add makes m a member of the group that is open already, or of g.
func (gs *groups) add(ctx context.Context, g *group, m *membership) error {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if gs.shut {
		return fanout.ErrClosed
	}
	if err := gs.connectLocked(ctx); err != nil {
		return unavailable("connect", err)
	}
	if have := gs.open[g.key]; have != nil {
		g = have
	} else if err := g.begin(gs.mux); err != nil { //nolint:contextcheck // a group outlives its first member's request
		return unavailable("subscribe", err)
	}
	gs.open[g.key] = g
	m.g = g
	g.mu.Lock()
	g.members = append(g.members, m)
	g.mu.Unlock()
	g.poke()
	return nil
}

func (gs *groups) connectLocked(ctx context.Context) error {
	if gs.mux != nil {
		return nil
	}
	l, err := gs.b.open1(ctx, "groups", func(l *link) { l.up = gs.askAgain })
	if err != nil {
		return err
	}
	gs.mux, err = newMux(l)
	return err
}

// askAgain repeats the requests that were lost with a connection.
func (gs *groups) askAgain() {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	for _, g := range gs.open {
		g.mu.Lock()
		g.asked = 0
		g.mu.Unlock()
		g.poke()
	}
}

// begin subscribes to what the consumer will send and starts to ask for it.
func (g *group) begin(m *mux) error {
	g.mux = m
	if err := g.listen(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(g.b.ctx)
	g.cancel = cancel
	g.b.wg.Go(func() { g.run(ctx) })
	return nil
}

// listen makes the inbox of the requests from now on.
func (g *group) listen() error {
	inbox := nats.NewInbox() + "."
	sub, err := g.mux.link.nc.Subscribe(inbox+"*", g.receive)
	if err != nil {
		return err
	}
	g.inbox, g.sub = inbox, sub
	// What can arrive is bounded by what is asked for.
	return sub.SetPendingLimits(-1, -1)
}

// close ends all groups: no member is called any more when it returns.
func (gs *groups) close() {
	gs.mu.Lock()
	gs.shut = true
	list := make([]*group, 0, len(gs.open))
	for _, g := range gs.open {
		list = append(list, g)
	}
	gs.mu.Unlock()
	for _, g := range list {
		g.end(nil)
	}
}

// leave takes a member out, and the group with its last.
func (gs *groups) leave(m *membership) {
	g := m.g
	gs.mu.Lock()
	g.mu.Lock()
	g.removeLocked(m)
	last := len(g.members) == 0 && !g.ended
	if last {
		g.endLocked()
		delete(gs.open, g.key)
	}
	g.mu.Unlock()
	gs.mu.Unlock()
	if !last {
		g.poke() // another member may take what this one gave back
	}
}

// end closes the group on this node; err, unless nil, is told to its members.
func (g *group) end(err error) {
	gs := g.b.groups
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return
	}
	members := g.members
	for _, m := range members {
		g.removeLocked(m)
		if err != nil {
			m.sink.Ended(err)
		}
	}
	g.endLocked()
	if gs.open[g.key] == g {
		delete(gs.open, g.key)
	}
}

func (g *group) endLocked() {
	g.ended = true
	for _, d := range g.spare {
		g.giveBack(d, 0)
	}
	g.spare = nil
	g.cancel()
	if err := g.sub.Unsubscribe(); err != nil {
		g.b.log.Debug("group inbox", slog.Any("err", err)) // the connection is closed, and the inbox with it
	}
}

func (g *group) poke() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// run asks for messages while there is room for them.
func (g *group) run(ctx context.Context) {
	tick := time.NewTicker(groupTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			g.floor.save(g) //nolint:contextcheck // ctx has ended
			return
		case <-g.wake:
			g.tellGap()
		case <-tick.C:
			g.floor.check(ctx, g)
		}
		g.work(time.Now())
	}
}

// work hands out what waits, lets go of what was not settled in time, and asks for
// more if there is room.
func (g *group) work(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return
	}
	room := 0
	for _, m := range g.members {
		m.expire(now, g.cfg.AckWait)
		if m.ready.Swap(false) {
			m.blocked = false
		}
		room += m.room()
	}
	if !g.handOut(now, room) {
		return
	}
	if g.asked > 0 && now.After(g.until) {
		g.asked = 0
	}
	room = 0
	for _, m := range g.members {
		room += m.room()
	}
	if n := min(room, g.eager); g.asked == 0 && n > 0 {
		g.ask(n, now)
	}
}
