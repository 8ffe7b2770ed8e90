package limit

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/fanout"
)

// Limiter holds every caller to the limits. Nil limits nothing.
type Limiter struct {
	// Static after New.
	cfg     Config
	clock   Clock
	metrics *counters
	door    *door
	memory  memory

	handshakes *Table[netip.Prefix]
	failures   *Table[netip.Prefix] // to show who they are
	visits     *Counts[netip.Prefix]
	addresses  *Counts[netip.Prefix]
	users      *Counts[string]
	publishers *Table[string]
	readers    *Table[string]
	replays    *Table[string] // of readers, too
	channels   *Table[fanout.Channel]
	namespaces *Table[string]
	answers    *Table[string]

	barred      *Table[netip.Prefix]
	barredUsers *Table[string]
	lingering   chan struct{} // one for each answer that is held back
}

// New returns a limiter. The errors are those of cfg.Validate and of registering
// metrics.
func New(cfg Config, logger *slog.Logger, reg prometheus.Registerer) (*Limiter, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	l := &Limiter{cfg: cfg, clock: NewClock(), addresses: NewCounts[netip.Prefix](), visits: NewCounts[netip.Prefix](), users: NewCounts[string]()}
	l.memory = memory{ceiling: uint64(cfg.Memory), read: needed, collect: runtime.GC, log: logger}
	l.door = newDoor(l.clock, cfg.Handshakes, cfg.HandshakeQueue, cfg.HandshakeWait)
	l.lingering = make(chan struct{}, lingerMost)
	l.barred = NewTable[netip.Prefix](l.clock, cfg.Callers, nil)
	l.barredUsers = NewTable[string](l.clock, cfg.Callers, nil)
	var err error
	if l.metrics, err = newCounters(reg, l); err != nil {
		return nil, err
	}
	l.handshakes = NewTable[netip.Prefix](l.clock, cfg.Callers, l.metrics.crowded("handshakes"))
	l.failures = NewTable[netip.Prefix](l.clock, cfg.Callers, nil)
	l.publishers = NewTable[string](l.clock, cfg.Callers, l.metrics.crowded("publishers"))
	l.readers = NewTable[string](l.clock, cfg.Callers, l.metrics.crowded("readers"))
	l.replays = NewTable[string](l.clock, cfg.Callers, l.metrics.crowded("replays"))
	l.channels = NewTable[fanout.Channel](l.clock, cfg.Callers, l.metrics.crowded("channels"))
	l.namespaces = NewTable[string](l.clock, cfg.Callers, l.metrics.crowded("namespaces"))
	l.answers = NewTable[string](l.clock, cfg.Callers, nil)
	return l, nil
}

// Run watches memory, and forgets callers who are idle, until ctx ends. shed closes one in
// so many connections, the newest, and returns how many it has closed.
func (l *Limiter) Run(ctx context.Context, shed func(part int) int) {
	if l == nil {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { l.forget(ctx) })
	l.memory.run(ctx, func(part int) int {
		n := shed(part)
		l.metrics.shed.Add(float64(n))
		return n
	})
	wg.Wait()
}

func (l *Limiter) forget(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, t := range []interface{ Forget() }{
			l.handshakes, l.failures, l.publishers, l.readers, l.replays, l.channels, l.namespaces, l.answers, l.barred, l.barredUsers,
		} {
			t.Forget()
		}
	}
}

// Stage is what is shed for want of memory.
func (l *Limiter) Stage() Stage {
	if l == nil {
		return Calm
	}
	return Stage(l.memory.stage.Load())
}

func (l *Limiter) refuse(e Error) error {
	l.metrics.refused[e.Reason].Inc()
	return &e
}

// caller is what counts as one address; false if it is exempt or not known.
func (l *Limiter) caller(addr netip.Addr) (netip.Prefix, bool) {
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() {
		return netip.Prefix{}, false
	}
	for _, p := range l.cfg.Exempt {
		if p.Contains(addr) {
			return netip.Prefix{}, false
		}
	}
	return l.prefix(addr), true
}

// prefix is what counts as one address, also if it is exempt.
func (l *Limiter) prefix(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = l.cfg.IPv6Prefix
	}
	p, _ := addr.Prefix(bits) // fails only for an addr that is not valid: all these are one
	return p
}

// One line of a subscriber has often lineBits fewer than the bits by which IPv6 callers are
// told apart, and then as many callers as it likes. Together they may connect lineShare
// times as often as one.
const (
	lineBits  = 8
	lineShare = 4
)

// line is the caller of addr, or of IPv6 the line that it is of; zero if addr is exempt or
// not known, or addresses may connect as often as they like.
func (l *Limiter) line(addr netip.Addr) netip.Prefix {
	p, ok := l.caller(addr)
	if !ok || l.cfg.HandshakesPerIP.IsZero() {
		return netip.Prefix{}
	}
	if p.Addr().Is6() {
		p, _ = p.Addr().Prefix(max(p.Bits()-lineBits, 1)) // of so many bits as there are
	}
	return p
}

// takeHandshake takes one from the buckets of a caller and its line, or says how long to
// wait.
func (l *Limiter) takeHandshake(caller, line netip.Prefix) time.Duration {
	rate := l.cfg.HandshakesPerIP
	wait := l.handshakes.Take(caller, rate, 1)
	if wait > 0 || line == caller {
		return wait
	}
	wait = l.handshakes.Take(line, Rate{rate.PerSecond * lineShare, rate.Burst * lineShare}, 1)
	if wait > 0 {
		l.handshakes.Give(caller, rate, 1)
	}
	return wait
}

// Handshake lets a handshake from addr in, at once or after a wait, or returns an *Error.
// One that resumes waits before those that begin. The error is ctx's where that ends
// first: the client has gone. An addr that is not valid is not limited by itself.
func (l *Limiter) Handshake(ctx context.Context, addr netip.Addr, resumes bool) error {
	if l == nil {
		return nil
	}
	if l.Stage() >= NoHandshakes {
		return l.refuse(Error{
			Reason: ReasonMemoryHandshake, Node: true, RetryAfter: spread(memoryRetry),
			Problem: "the node is short of memory and takes no new connections; try another, or later",
		})
	}
	line := l.line(addr)
	if p, ok := l.caller(addr); ok {
		if wait := l.barred.Debt(p); wait > 0 {
			l.linger(ctx)
			return l.refuseBarred(wait)
		}
		if wait := l.takeHandshake(p, line); wait > 0 {
			l.linger(ctx)
			return l.refuse(Error{
				Reason: ReasonHandshakesIP, RetryAfter: spread(max(wait, leastRetry)),
				Problem: fmt.Sprintf("this address connects too often; it may %d times a second (limits.handshakes_per_ip)", l.cfg.HandshakesPerIP.PerSecond),
			})
		}
	}
	retry, reason, err := l.door.enter(ctx, line, resumes)
	if err != nil || retry == 0 {
		return err
	}
	return l.refuse(Error{
		Reason: reason, Node: true, RetryAfter: retry,
		Problem: "more clients connect at this moment than the node lets in (limits.handshakes); come back after retry_after_ms",
	})
}

// AddAddress counts a connection of addr, which RemoveAddress takes back, or returns an
// *Error.
func (l *Limiter) AddAddress(addr netip.Addr) error {
	if l == nil || l.cfg.ConnectionsPerIP == 0 {
		return nil
	}
	p, ok := l.caller(addr)
	if !ok || l.addresses.Add(p, l.cfg.ConnectionsPerIP) {
		return nil
	}
	return l.refuse(Error{
		Reason: ReasonConnectionsIP, RetryAfter: spread(countRetry),
		Problem: fmt.Sprintf("this address has %d connections, as many as it may (limits.connections_per_ip)", l.cfg.ConnectionsPerIP),
	})
}

// RemoveAddress takes back an AddAddress that returned nil.
func (l *Limiter) RemoveAddress(addr netip.Addr) {
	if l == nil || l.cfg.ConnectionsPerIP == 0 {
		return
	}
	if p, ok := l.caller(addr); ok {
		l.addresses.Remove(p)
	}
}

// AddUser counts a connection of user, which RemoveUser takes back, or returns an *Error.
// Nobody, "", is not limited.
func (l *Limiter) AddUser(user string) error {
	if l == nil || user == "" {
		return nil
	}
	if wait := l.barredUsers.Debt(user); wait > 0 {
		return l.refuseBarred(wait)
	}
	if l.cfg.ConnectionsPerUser == 0 || l.users.Add(user, l.cfg.ConnectionsPerUser) {
		return nil
	}
	return l.refuse(Error{
		Reason: ReasonConnectionsUser, RetryAfter: spread(countRetry),
		Problem: fmt.Sprintf("the user has %d connections, as many as one may (limits.connections_per_user)", l.cfg.ConnectionsPerUser),
	})
}

// RemoveUser takes back an AddUser that returned nil.
func (l *Limiter) RemoveUser(user string) {
	if l != nil && l.cfg.ConnectionsPerUser != 0 && user != "" {
		l.users.Remove(user)
	}
}

// Subscriptions counts a subscription that was refused because the connection has as
// many as it may.
func (l *Limiter) Subscriptions() {
	if l != nil {
		l.metrics.refused[ReasonSubscriptions].Inc()
	}
}

// When to try again what depends on others.
const (
	memoryRetry = 5 * time.Second
	countRetry  = 10 * time.Second
)
