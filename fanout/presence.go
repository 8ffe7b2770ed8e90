package fanout

import (
	"fmt"
	"hash/fnv"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ClientID names a connection among those of all nodes: 64 random bits. Its text is
// 16 hexadecimal digits, in the order of the numbers.
type ClientID uint64

// String is the ID as the wire has it.
func (id ClientID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// ParseClientID is the inverse of String.
func ParseClientID(s string) (ClientID, bool) {
	n, err := strconv.ParseUint(s, 16, 64)
	return ClientID(n), err == nil && ClientID(n).String() == s
}

// Identity says whose a connection is.
type Identity struct {
	Client ClientID
	User   string // "" for an anonymous one
	Info   []byte // JSON that the token says of the user, at most MaxInfoBytes; nil is none
}

// MaxInfoBytes bounds Identity.Info.
const MaxInfoBytes = 1024

// Identified is a Sink that knows whose connection it is. One that does not is never
// a member of a channel. Identity may be called from any goroutine; its Client never
// changes.
type Identified interface{ Identity() Identity }

// Member is one connection that is subscribed to a channel, itself and not by a
// pattern. It is immutable and shared.
type Member struct {
	Identity
	Since int64 // Unix milliseconds
}

// memberOverhead is what a member counts beside its texts.
const memberOverhead = 96

// size is about what the member takes in an event.
func (m *Member) size() int { return memberOverhead + len(m.User) + len(m.Info) }

// userKey stands for a user where only their number counts; 0 is nobody.
func userKey(user string) uint64 {
	if user == "" {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(user)) // never fails
	return max(1, h.Sum64())
}

// PresenceNews is what watchers of a channel are told. It is shared and immutable.
type PresenceNews struct {
	Channel Channel
	// Members, unless nil, are all there are, in the order of their IDs: they replace
	// what was known before.
	Members []*Member
	// Joined and Left are the connections that came and went since the news before.
	Joined, Left []*Member
	// Clients and Users are how many connections there are, and how many users have any.
	Clients, Users int
	// Partial says that not every node is known: there may be more members.
	Partial bool
}

// PresenceObserver is told of what happens on this node, in the order per channel in
// which it does, by one goroutine, which it must not hold up: a channel has its first
// member here, or no longer any; a connection joined or left. Other nodes may have
// members of the channel all the same.
type PresenceObserver interface {
	Occupied(c Channel)
	Vacated(c Channel)
	MemberJoined(c Channel, m *Member)
	MemberLeft(c Channel, m *Member)
}

// PresenceConfig bounds presence.
type PresenceConfig struct {
	// Node is this node's name on the bus.
	Node string
	// Enabled tells the namespaces whose channels have presence.
	Enabled func(namespace string) bool
	// MaxMembers is up to how many members of a channel watchers are told who they are;
	// above, they are told counts only.
	MaxMembers int
	// MaxBytes is up to what size of all members together.
	MaxBytes int
	// Interval is the least time between two pushes of a channel to a watcher.
	Interval time.Duration
	// AnnounceInterval is the least time between two announcements of a channel to the
	// other nodes.
	AnnounceInterval time.Duration
	// AskTimeout is how long other nodes' answers are awaited.
	AskTimeout time.Duration
	// VerifyInterval is how often what is known of the other nodes is compared with what
	// they say, where channels are watched; changes are normally announced.
	VerifyInterval time.Duration
	// Observer may be nil.
	Observer PresenceObserver
}

// DefaultPresenceConfig returns the defaults, with presence in every namespace.
func DefaultPresenceConfig() PresenceConfig {
	return PresenceConfig{
		Enabled: func(string) bool { return true }, MaxMembers: 100, MaxBytes: 64 << 10,
		Interval: time.Second, AnnounceInterval: 250 * time.Millisecond,
		AskTimeout: 500 * time.Millisecond, VerifyInterval: 15 * time.Second,
	}
}

// Presence knows who is subscribed to the channels of the namespaces that have it. Its
// methods may be called concurrently.
type Presence struct {
	// Static after StartPresence.
	hub     *Hub
	cfg     PresenceConfig
	bus     Bus // nil on a node that is alone
	log     *slog.Logger
	metrics *presenceMetrics
	wake    chan struct{} // size 1: something is due
	syncs   chan struct{} // one slot per question under way on behalf of a view

	nodes atomic.Pointer[[]string] // the others that are alive
	seq   atomic.Uint64            // of announcements; grows over all channels

	following map[Channel]struct{} // owned by run

	mu      sync.RWMutex // guards the following; taken before a roster's
	rosters map[Channel]*roster

	dueMu    sync.Mutex // guards the following; taken last
	due      map[*roster]struct{}
	observed []observation
}

type observation struct {
	channel Channel
	member  *Member
	joined  bool
	edge    bool // the first one here came, or the last one went
}

// maxSyncs bounds the questions on behalf of views that are under way.
const maxSyncs = 16

// StartPresence begins to keep members. It is called once, before the first client;
// without it there is no presence. bus is nil on a node that is alone.
func (h *Hub) StartPresence(cfg PresenceConfig, bus Bus, logger *slog.Logger, reg prometheus.Registerer) *Presence {
	p := &Presence{
		hub: h, cfg: cfg, bus: bus, log: logger, wake: make(chan struct{}, 1), syncs: make(chan struct{}, maxSyncs),
		following: make(map[Channel]struct{}), rosters: make(map[Channel]*roster),
		due: make(map[*roster]struct{}),
	}
	p.metrics = newPresenceMetrics(reg, p)
	p.nodes.Store(new([]string))
	h.presence = p
	h.start(p.run)
	return p
}

// Has reports whether the channel's namespace has presence.
func (p *Presence) Has(c Channel) bool { return p.cfg.Enabled(c.Namespace()) }

// joins makes a client a member of the channel that its subscription is to. The
// client's shard calls it. Without presence it does nothing, like leaves.
func (p *Presence) joins(s *subscription) {
	if p == nil {
		return
	}
	who, ok := s.client.sink.(Identified)
	if !ok || s.channel.IsPattern() || !p.Has(s.channel) {
		return
	}
	m := &Member{Identity: who.Identity(), Since: time.Now().UnixMilli()}
	r := p.lock(s.channel)
	defer r.mu.Unlock()
	r.join(m)
	if s.watches {
		r.watch(s.client)
	}
}

// leaves ends what joins began, if it did.
func (p *Presence) leaves(s *subscription) {
	if p == nil || !s.announced {
		return
	}
	who, ok := s.client.sink.(Identified)
	if !ok || s.channel.IsPattern() || !p.Has(s.channel) {
		return
	}
	id := who.Identity().Client
	p.mu.RLock()
	r := p.rosters[s.channel]
	if r != nil {
		r.mu.Lock()
	}
	p.mu.RUnlock()
	if r == nil {
		return
	}
	defer r.mu.Unlock()
	r.unwatch(s.client)
	r.leave(id)
}

// lock returns the channel's roster, locked; it is made if there is none.
func (p *Presence) lock(c Channel) *roster {
	p.mu.RLock()
	r := p.rosters[c]
	if r != nil {
		r.mu.Lock()
	}
	p.mu.RUnlock()
	if r != nil {
		return r
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if r = p.rosters[c]; r == nil {
		r = newRoster(p, c)
		p.rosters[c] = r
	}
	r.mu.Lock()
	return r
}

// touch has run look at the roster soon.
func (p *Presence) touch(r *roster) {
	p.dueMu.Lock()
	p.due[r] = struct{}{}
	p.dueMu.Unlock()
	p.poke()
}

func (p *Presence) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *Presence) observe(o observation) {
	if p.cfg.Observer == nil {
		return
	}
	p.dueMu.Lock()
	p.observed = append(p.observed, o)
	p.dueMu.Unlock()
	p.poke()
}

// others are the other nodes that are alive.
func (p *Presence) others() []string { return *p.nodes.Load() }

// gatherFor is how long changes gather before they are looked at.
const gatherFor = 50 * time.Millisecond

// run does what is due until the hub stops.
func (p *Presence) run() {
	verify := time.NewTicker(min(time.Second, p.cfg.VerifyInterval))
	defer verify.Stop()
	tick := time.NewTicker(gatherFor)
	tick.Stop() // runs while something is due
	defer tick.Stop()
	for ticking := false; ; {
		select {
		case <-p.hub.ctx.Done():
			return
		case <-p.wake:
			p.tellObserver()
			if !ticking {
				tick.Reset(gatherFor)
				ticking = true
			}
			continue
		case <-verify.C:
			p.verify(time.Now())
		case <-tick.C:
			if !p.work(time.Now()) {
				tick.Stop()
				ticking = false
			}
		}
	}
}

// work looks at what is due and reports whether anything stays so.
func (p *Presence) work(now time.Time) (more bool) {
	p.dueMu.Lock()
	due := p.due
	p.due = make(map[*roster]struct{})
	p.dueMu.Unlock()
	for r := range due {
		if r.work(now) {
			p.dueMu.Lock()
			p.due[r] = struct{}{}
			p.dueMu.Unlock()
		}
	}
	p.dueMu.Lock()
	defer p.dueMu.Unlock()
	return len(p.due) > 0
}

func (p *Presence) tellObserver() {
	p.dueMu.Lock()
	list := p.observed
	p.observed = nil
	p.dueMu.Unlock()
	for _, o := range list {
		switch {
		case o.joined && o.edge:
			p.cfg.Observer.Occupied(o.channel)
			p.cfg.Observer.MemberJoined(o.channel, o.member)
		case o.joined:
			p.cfg.Observer.MemberJoined(o.channel, o.member)
		default:
			p.cfg.Observer.MemberLeft(o.channel, o.member)
			if o.edge {
				p.cfg.Observer.Vacated(o.channel)
			}
		}
	}
}

// remove drops a roster of which nothing is left. Only run calls it.
func (p *Presence) remove(r *roster) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.empty() && p.rosters[r.channel] == r {
		delete(p.rosters, r.channel)
	}
}
