package limit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/fanout"
)

// Config says what one caller may do. A zero Rate and a zero count are no limit.
type Config struct {
	// HandshakesPerIP bounds one address, Handshakes the node; past the latter at most
	// HandshakeQueue wait, each at most HandshakeWait.
	HandshakesPerIP, Handshakes Rate
	HandshakeQueue              int
	HandshakeWait               time.Duration
	// ConnectionsPerIP and ConnectionsPerUser are those at a time.
	ConnectionsPerIP, ConnectionsPerUser int
	// IPv6Prefix is how many bits of an IPv6 address tell one caller from another.
	IPv6Prefix int
	// Exempt addresses are not limited as such.
	Exempt []netip.Prefix
	// Commands of one connection.
	Commands Rate
	// OutboundBytes a second of messages to one connection; what is more waits in the log.
	OutboundBytes int64
	// Publishes, of messages: a batch counts each of them.
	PublishesPerKey, PublishesPerUser, PublishesPerChannel, PublishesPerNamespace Rate
	// Reads of stored messages by one key or user.
	Reads Rate
	// Namespaces have limits of their own instead of the last two.
	Namespaces map[string]NamespaceRates
	// Memory is the node's ceiling, in bytes; 0 is none.
	Memory int64
	// Callers is how many of each kind are remembered at a time.
	Callers int
}

// NamespaceRates are limits of one namespace; a zero one is the Config's.
type NamespaceRates struct{ Channel, Namespace Rate }

// DefaultConfig returns limits that no ordinary client meets.
func DefaultConfig() Config {
	return Config{
		HandshakesPerIP: Times(200, 10), Handshakes: Times(2000, 1), HandshakeQueue: 4096, HandshakeWait: 5 * time.Second,
		ConnectionsPerIP: 2000, ConnectionsPerUser: 1000, IPv6Prefix: 64,
		Exempt:   []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
		Commands: Times(200, 10), PublishesPerKey: Times(10_000, 2), PublishesPerUser: Times(500, 4), Reads: Times(5000, 4),
		Callers: 100_000,
	}
}

// Bounds of the configuration.
const (
	mostRate    = 10_000_000
	mostQueue   = 100_000
	mostCallers = 10_000_000
	leastMemory = 64 << 20
)

// Validate reports every value out of bounds, naming its key.
func (c Config) Validate() error {
	var errs []error
	between := func(key string, value, least, most int64) {
		if value < least || value > most {
			errs = append(errs, fmt.Errorf("limits.%s: %d must be from %d to %d", key, value, least, most))
		}
	}
	rate := func(key string, r Rate) { between(key, r.PerSecond, 0, mostRate) }
	rate("handshakes_per_ip", c.HandshakesPerIP)
	rate("handshakes", c.Handshakes)
	between("handshake_queue", int64(c.HandshakeQueue), 0, mostQueue)
	if c.HandshakeWait < time.Millisecond || c.HandshakeWait > time.Minute {
		errs = append(errs, fmt.Errorf("limits.handshake_wait: %v must be from 1ms to 1m", c.HandshakeWait))
	}
	between("connections_per_ip", int64(c.ConnectionsPerIP), 0, mostRate)
	between("connections_per_user", int64(c.ConnectionsPerUser), 0, mostRate)
	between("ipv6_prefix", int64(c.IPv6Prefix), 16, 128)
	rate("commands", c.Commands)
	between("outbound_bytes", c.OutboundBytes, 0, mostBytes)
	rate("publishes_per_key", c.PublishesPerKey)
	rate("publishes_per_user", c.PublishesPerUser)
	rate("publishes_per_channel", c.PublishesPerChannel)
	rate("reads_per_caller", c.Reads)
	rate("publishes_per_namespace", c.PublishesPerNamespace)
	if c.Memory != 0 && c.Memory < leastMemory {
		errs = append(errs, fmt.Errorf("limits.memory: %d bytes must be 0 or at least 64MiB", c.Memory))
	}
	between("callers", int64(c.Callers), tableShards, mostCallers)
	return errors.Join(errs...)
}

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
			l.handshakes, l.failures, l.publishers, l.readers, l.channels, l.namespaces, l.answers, l.barred, l.barredUsers,
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
				Problem: fmt.Sprintf("this address connects too often; it may %d times a second", l.cfg.HandshakesPerIP.PerSecond),
			})
		}
	}
	retry, reason, err := l.door.enter(ctx, line, resumes)
	if err != nil || retry == 0 {
		return err
	}
	return l.refuse(Error{
		Reason: reason, Node: true, RetryAfter: retry,
		Problem: "too many clients connect at this moment; come back when retry_after is over",
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

// History says whether a read of so many messages may begin now; 0 is an unknown number.
func (l *Limiter) History(messages int) error {
	if l.Stage() < NoHistories || messages > 0 && messages <= LargeHistory {
		return nil
	}
	return l.refuse(Error{
		Reason: ReasonMemoryHistory, Node: true, RetryAfter: spread(memoryRetry),
		Problem: fmt.Sprintf("the node is short of memory and reads at most %d messages at a time; ask for fewer, or later", LargeHistory),
	})
}

// Read takes n stored messages that a caller wants to read, or returns an *Error. Callers
// are told apart by who they are, as auth.Claims.Publisher has it, or where they have no
// name by their address, over whatever they come; where that is exempt, by their connection.
// Without any of these there is no limit.
func (l *Limiter) Read(ctx context.Context, publisher string, addr netip.Addr, client string, n int) error {
	if l == nil || l.cfg.Reads.IsZero() {
		return nil
	}
	reader, ok := l.reader(publisher, addr, client)
	if !ok {
		return nil
	}
	wait := l.readers.Take(reader, l.cfg.Reads, int64(max(n, leastRead)))
	if wait == 0 {
		return nil
	}
	l.linger(ctx)
	return l.refuse(Error{
		Reason: ReasonReads, RetryAfter: wait,
		Problem: fmt.Sprintf("too many stored messages are read; one caller may read %d a second (limits.reads_per_caller)", l.cfg.Reads.PerSecond),
	})
}

// reader is the name that a caller has among the readers; false is none.
func (l *Limiter) reader(publisher string, addr netip.Addr, client string) (string, bool) {
	if publisher != anonymous {
		return publisher, true
	}
	if p, ok := l.caller(addr); ok {
		return "address:" + p.String(), true
	}
	return "client:" + client, client != ""
}

// resumeShare of the messages that were read after a position count: who has missed some
// reads them once, and faster than they were stored.
const resumeShare = 4

// HasRead charges a caller, told apart as by Read, for n messages that were read after a
// position, a quarter of what Read takes for them, less what Read has taken already: the
// next Read waits for it.
func (l *Limiter) HasRead(publisher string, addr netip.Addr, n int) {
	if l == nil || l.cfg.Reads.IsZero() {
		return
	}
	reader, ok := l.reader(publisher, addr, "")
	if n = n/resumeShare - leastRead; ok && n > 0 {
		l.readers.Charge(reader, l.cfg.Reads, int64(n))
	}
}

// anonymous is the auth.Claims.Publisher of who has no name, and leastRead what a read
// costs that finds nothing.
const (
	anonymous = "user:"
	leastRead = 10
)

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
