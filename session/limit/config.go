package limit

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"
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

// HandshakesPerProcessor is a third of the handshakes with a token and a subscription that
// one processor does in a second (docs/performance.md): in a storm the rest is left to who
// is connected, and to what those read who come back.
const HandshakesPerProcessor = 5000

// DefaultConfig returns limits that no ordinary client meets, for as many processors as the
// process has.
func DefaultConfig() Config {
	return Config{
		HandshakesPerIP: Times(200, 10), Handshakes: Times(HandshakesPerProcessor*int64(runtime.GOMAXPROCS(0)), 1),
		HandshakeQueue: 4096, HandshakeWait: 5 * time.Second,
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
	if n := c.Handshakes.PerSecond; n < 0 || n > mostRate {
		errs = append(errs, fmt.Errorf("limits.handshakes: %d must be from 0 to %d, or -1 for %d for each processor", n, mostRate, HandshakesPerProcessor))
	}
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
