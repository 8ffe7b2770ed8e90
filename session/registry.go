package session

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session/limit"
	"github.com/rivulet-rt/rivulet/session/socket"
)

// Authenticator turns a token into claims. Errors wrap those of auth.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (auth.Claims, error)
}

// Publisher stores publications, one outcome for each, in their order.
type Publisher interface {
	PublishAll(ctx context.Context, pubs []*fanout.Publication) []fanout.Outcome
}

// Historian reads stored messages.
type Historian interface {
	History(ctx context.Context, q fanout.HistoryQuery) (fanout.HistoryPage, error)
}

// Attendance knows who is subscribed to channels.
type Attendance interface {
	Page(ctx context.Context, q fanout.PresenceQuery) (fanout.PresencePage, error)
}

// Subscriber is one connection's subscriptions, a *fanout.Client.
type Subscriber interface {
	Subscribe(req fanout.SubscribeRequest) error
	Unsubscribe(token uint64, c fanout.Channel) error
	Drained()
	Close()
}

// Services are what sessions work with.
type Services struct {
	NewClient func(fanout.Sink) Subscriber
	History   Historian
	Publisher Publisher
	Auth      Authenticator
	// Subscriptions verifies the tokens of single subscriptions; nil: there are none.
	Subscriptions SubscriptionAuthenticator
	// Revocations knows what holds no longer; nil: nothing is ever revoked.
	Revocations auth.Revocations
	Groups      Groups       // nil: there are none
	Durable     DurableStore // nil keeps no durable sessions
	Presence    Attendance   // nil where there is none
	// Others asks the other nodes; nil on a node that is alone.
	Others  Asker
	Filters Filters // nil: there are none
	// Connect and Subscribe are asked where they are not nil.
	Connect   ConnectGate
	Subscribe SubscribeGate
	// Slow reports whether Publisher may take long in a namespace, so that its publishes
	// wait apart from those of others; nil is nowhere.
	Slow func(namespace string) bool
	// Limits hold callers to what each may do; nil limits nothing.
	Limits *limit.Limiter
}

// Member is one connection, as the registry sees it.
type Member interface {
	// Sweep is called every few seconds, by one goroutine: heartbeats and time limits.
	Sweep(now time.Time)
	// Disconnect begins to close the connection and does not wait.
	Disconnect(ev protocol.DisconnectEvent)
	// Abort closes the socket at once.
	Abort()
}

const (
	memberShards = 8
	// sweepsPerInterval: each tick looks at one shard, so every connection is looked
	// at sweepsPerInterval/memberShards times per ping interval.
	sweepsPerInterval = 40
)

// Registry owns the connections of a node. Its methods may be called concurrently.
type Registry struct {
	// Static after Start.
	cfg      Config
	services Services
	origins  *Origins
	log      *slog.Logger
	metrics  *metrics
	buffers  Buffers
	sockets  *socket.Group
	durables *durables       // nil without a store
	ctx      context.Context //nolint:containedctx // the connections' own life, ended by Drain
	cancel   context.CancelFunc

	wg sync.WaitGroup // the sweeper and whatever Go started

	next       atomic.Uint64
	shards     [memberShards]memberShard
	originTold atomic.Int64 // when the log said that a page was refused, Unix nanoseconds; 0 is never

	mu       sync.Mutex // guards the following
	started  bool
	count    int
	draining bool
	// held are members that a request of net/http waits for; none does for long once
	// finishing.
	held      map[Member]struct{}
	finishing bool
	empty     chan struct{} // closed when draining and nobody is left
}

type memberShard struct {
	mu      sync.Mutex // guards the following
	members map[Member]struct{}
}

// NewRegistry returns a registry that admits nobody before Start. The errors are
// those of cfg.Validate and of registering metrics.
func NewRegistry(cfg Config, services Services, logger *slog.Logger, reg prometheus.Registerer) (*Registry, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	origins, err := ParseOrigins(cfg.Origins)
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(reg)
	if err != nil {
		return nil, err
	}
	r := &Registry{cfg: cfg, services: services, origins: origins, log: logger, metrics: m, held: map[Member]struct{}{}, empty: make(chan struct{})}
	r.buffers.limits = Limits{Soft: cfg.SoftBuffer, Hard: cfg.HardBuffer, Close: cfg.CloseTimeout}
	r.sockets = socket.NewGroup(r.wg.Go, logger)
	if services.Durable != nil {
		m, err := newDurableMetrics(reg)
		if err != nil {
			return nil, err
		}
		r.durables = newDurables(services.Durable, cfg.FlushInterval, logger, m)
	}
	for i := range r.shards {
		r.shards[i].members = make(map[Member]struct{})
	}
	return r, nil
}

// Start begins to admit and sweep connections. They live until Drain, also past
// the end of ctx, whose values they get. A second Start does nothing.
func (r *Registry) Start(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started || r.draining {
		return
	}
	r.started = true
	r.ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	r.wg.Go(func() { r.sweep(r.ctx) })
	if r.durables != nil {
		r.wg.Go(func() { r.durables.run(r.ctx) })
	}
	r.wg.Go(func() { r.services.Limits.Run(r.ctx, r.shedNewest) })
}

// Config returns what the registry was made with.
func (r *Registry) Config() Config { return r.cfg }

// Origins decides which web pages may connect.
func (r *Registry) Origins() *Origins { return r.origins }

// Services returns what sessions work with.
func (r *Registry) Services() Services { return r.services }

// Len is the number of connections.
func (r *Registry) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// Slot is one admitted connection's place. It is small, as every connection has one.
type Slot struct {
	// Static after AdmitFrom.
	registry *Registry
	addr     [16]byte // the client's, as netip.Addr.As16 has it
	known    bool     // addr is
	counted  bool     // the connection is, as the address's and the user's

	transport transportIndex
	shard     uint8 // of Enter
	done      atomic.Bool

	user string // as whose the connection is counted; owned by who serves it
}

// Admit reserves a place, or returns ErrFull or ErrDraining. Every slot must be
// served, left or released.
func (r *Registry) Admit(t Transport) (*Slot, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.draining || !r.started:
		r.metrics.rejected.WithLabelValues("draining").Inc()
		return nil, ErrDraining
	case r.count >= r.cfg.MaxConnections:
		r.metrics.rejected.WithLabelValues("full").Inc()
		return nil, ErrFull
	}
	r.count++
	r.metrics.opened.WithLabelValues(string(t)).Inc()
	r.metrics.connections.WithLabelValues(string(t)).Inc()
	return &Slot{registry: r, transport: indexOf(t)}, nil
}

// Rejected counts a handshake that was refused before Admit.
func (r *Registry) Rejected(err error) {
	reason := "handshake"
	if _, ok := errors.AsType[*originError](err); ok {
		reason = "origin"
	}
	r.metrics.rejected.WithLabelValues(reason).Inc()
}

// Disconnected counts a connection that the node closes, for transports without a Session.
func (r *Registry) Disconnected(code protocol.Code) {
	r.metrics.disconnects.WithLabelValues(label(code)).Inc()
}

// Deferred counts a delivery that was refused for want of room, for transports
// without a Session.
func (r *Registry) Deferred() { r.metrics.refused.Inc() }

// Release gives the place back; once is enough.
func (s *Slot) Release() {
	if s.done.Swap(true) {
		return
	}
	r := s.registry
	r.metrics.connections.WithLabelValues(string(s.transport.of())).Dec()
	s.uncount()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count--
	if r.draining && r.count == 0 {
		close(r.empty)
	}
}

// Enter has the connection swept and drained from now on, until Leave.
func (s *Slot) Enter(m Member) {
	r := s.registry
	s.shard = uint8(r.next.Add(1) % memberShards)
	sh := &r.shards[s.shard]
	sh.mu.Lock()
	sh.members[m] = struct{}{}
	sh.mu.Unlock()
	r.mu.Lock()
	draining, count := r.draining, r.count
	r.mu.Unlock()
	r.recheck(m)
	if draining { // it began since Admit, and may have missed this member
		m.Disconnect(drainEvent(r.returnWindow(count)))
	}
	if r.ctx.Err() != nil {
		m.Abort()
	}
}

// Leave ends what Enter began and releases the slot. Drain may then return.
func (s *Slot) Leave(m Member) {
	sh := &s.registry.shards[s.shard]
	sh.mu.Lock()
	delete(sh.members, m)
	sh.mu.Unlock()
	s.Release()
}

// Serve runs serve on the caller's goroutine, for which a request waits, between Enter
// and Leave. serve's ctx ends when a drain gives up.
func (s *Slot) Serve(m Member, serve func(ctx context.Context)) {
	r := s.registry
	s.Enter(m)
	defer s.Leave(m)
	finishing := r.hold(m)
	defer r.letGo(m)
	if finishing {
		m.Disconnect(drainEvent(0))
	}
	serve(r.ctx)
}

// Attach takes a connection over for h, which works until it is released.
func (r *Registry) Attach(conn net.Conn, h socket.Handler) socket.Driver {
	return r.sockets.Attach(conn, h)
}

// Init makes a zero Outbound one with the registry's limits.
func (r *Registry) Init(o *Outbound, owner Owner) { o.Init(&r.buffers, owner) }

// Context is that of all connections: it ends when a drain gives up.
func (r *Registry) Context() context.Context { return r.ctx }

// sweep looks at one shard per tick.
func (r *Registry) sweep(ctx context.Context) {
	tick := time.NewTicker(max(r.cfg.PingInterval/sweepsPerInterval, time.Millisecond))
	defer tick.Stop()
	var members []Member
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			members = r.shards[i%memberShards].list(members[:0])
			for _, m := range members {
				m.Sweep(now)
			}
			clear(members)
		}
	}
}

func (sh *memberShard) list(to []Member) []Member {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for m := range sh.members {
		to = append(to, m)
	}
	return to
}

// Yield gives up a durable session that a connection of this node has: another wants it.
// It returns when the session is released, or ctx ends.
func (r *Registry) Yield(ctx context.Context, _ fanout.SessionID, client string, why fanout.YieldReason) {
	r.durables.yield(ctx, client, why)
}

// errDrainCut says that connections were cut because the drain's time was over.
var errDrainCut = errors.New("session: drain: time is over, the connections left were cut")
