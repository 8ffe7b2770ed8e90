package cmd

import (
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"github.com/rivulet-rt/rivulet/session/limit"
)

// LimitsConfig says what one caller may do to the others. Rates are a second and on one
// node; 0 is no limit.
type LimitsConfig struct {
	// HandshakesPerIP of one address, Handshakes of all, -1 for so many as the processors
	// suggest; past the latter HandshakeQueue wait, each at most HandshakeWait.
	HandshakesPerIP int      `yaml:"handshakes_per_ip"`
	Handshakes      int      `yaml:"handshakes"`
	HandshakeQueue  int      `yaml:"handshake_queue"`
	HandshakeWait   Duration `yaml:"handshake_wait"`
	// ConnectionsPerIP and ConnectionsPerUser are those at a time.
	ConnectionsPerIP   int `yaml:"connections_per_ip"`
	ConnectionsPerUser int `yaml:"connections_per_user"`
	// IPv6Prefix is how many bits of an IPv6 address tell one caller from another.
	IPv6Prefix int `yaml:"ipv6_prefix"`
	// Exempt are addresses, as CIDR, without limits of their own.
	Exempt []string `yaml:"exempt"`
	// Commands and OutboundBytes are of one connection.
	Commands      int   `yaml:"commands"`
	OutboundBytes Bytes `yaml:"outbound_bytes"`
	// The following count messages.
	PublishesPerKey       int `yaml:"publishes_per_key"`
	PublishesPerUser      int `yaml:"publishes_per_user"`
	PublishesPerChannel   int `yaml:"publishes_per_channel"`
	PublishesPerNamespace int `yaml:"publishes_per_namespace"`
	// ReadsPerCaller counts stored messages that one key or user reads, or of those without
	// a name one address.
	ReadsPerCaller int `yaml:"reads_per_caller"`
	// Memory is the node's ceiling; 0 takes it from GOMEMLIMIT or the control group.
	Memory Bytes `yaml:"memory"`
	// Callers is how many of each kind are remembered at a time.
	Callers int `yaml:"callers"`
}

func defaultLimits() LimitsConfig {
	d := limit.DefaultConfig()
	l := LimitsConfig{
		HandshakesPerIP: int(d.HandshakesPerIP.PerSecond), Handshakes: byProcessors,
		HandshakeQueue: d.HandshakeQueue, HandshakeWait: Duration(d.HandshakeWait),
		ConnectionsPerIP: d.ConnectionsPerIP, ConnectionsPerUser: d.ConnectionsPerUser, IPv6Prefix: d.IPv6Prefix,
		Commands: int(d.Commands.PerSecond), OutboundBytes: Bytes(d.OutboundBytes),
		PublishesPerKey: int(d.PublishesPerKey.PerSecond), PublishesPerUser: int(d.PublishesPerUser.PerSecond),
		PublishesPerChannel: int(d.PublishesPerChannel.PerSecond), PublishesPerNamespace: int(d.PublishesPerNamespace.PerSecond),
		ReadsPerCaller: int(d.Reads.PerSecond), Callers: d.Callers,
	}
	for _, p := range d.Exempt {
		l.Exempt = append(l.Exempt, p.String())
	}
	return l
}

// byProcessors is the Handshakes that stand for limit.HandshakesPerProcessor.
const byProcessors = -1

// handshakes is the rate of all.
func (l LimitsConfig) handshakes() int {
	if l.Handshakes == byProcessors {
		return limit.HandshakesPerProcessor * runtime.GOMAXPROCS(0)
	}
	return l.Handshakes
}

// How many seconds' worth of a rate may come at once.
const (
	handshakeBurst      = 1
	handshakePerIPBurst = 10
	commandBurst        = 10
	readBurst           = 4
	keyBurst            = 2
	userBurst           = 4
	channelBurst        = 2
)

// limitConfig is what limits and the namespaces' rates mean; the error has the entries of
// exempt that cannot be read.
func (c Config) limitConfig() (limit.Config, []error) {
	l := c.Limits
	cfg := limit.Config{
		HandshakesPerIP: limit.Times(int64(l.HandshakesPerIP), handshakePerIPBurst),
		Handshakes:      limit.Times(int64(l.handshakes()), handshakeBurst),
		HandshakeQueue:  l.HandshakeQueue, HandshakeWait: time.Duration(l.HandshakeWait),
		ConnectionsPerIP: l.ConnectionsPerIP, ConnectionsPerUser: l.ConnectionsPerUser, IPv6Prefix: l.IPv6Prefix,
		Commands: limit.Times(int64(l.Commands), commandBurst), OutboundBytes: int64(l.OutboundBytes),
		PublishesPerKey:       limit.Times(int64(l.PublishesPerKey), keyBurst),
		PublishesPerUser:      limit.Times(int64(l.PublishesPerUser), userBurst),
		PublishesPerChannel:   limit.Times(int64(l.PublishesPerChannel), channelBurst),
		PublishesPerNamespace: limit.Times(int64(l.PublishesPerNamespace), channelBurst),
		Reads:                 limit.Times(int64(l.ReadsPerCaller), readBurst),
		Memory:                int64(l.Memory), Callers: l.Callers, Namespaces: map[string]limit.NamespaceRates{},
	}
	for name, n := range c.Namespaces {
		if n.PublishRate > 0 || n.ChannelPublishRate > 0 {
			cfg.Namespaces[name] = limit.NamespaceRates{
				Channel:   limit.Times(int64(n.ChannelPublishRate), channelBurst),
				Namespace: limit.Times(int64(n.PublishRate), channelBurst),
			}
		}
	}
	var errs []error
	for i, text := range l.Exempt {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("limits.exempt[%d]: %q is not like 10.0.0.0/8 or fd00::/8", i, text))
			continue
		}
		cfg.Exempt = append(cfg.Exempt, p)
	}
	return cfg, errs
}

// mostPublishRate bounds the rates of a namespace.
const mostPublishRate = 10_000_000

func (c Config) limitProblems() []error {
	cfg, errs := c.limitConfig()
	if err := cfg.Validate(); err != nil {
		errs = append(errs, err)
	}
	for _, name := range sortedKeys(c.Namespaces) {
		n := c.Namespaces[name]
		for _, f := range []struct {
			key   string
			value int
		}{{"publish_rate", n.PublishRate}, {"channel_publish_rate", n.ChannelPublishRate}} {
			if f.value < 0 || f.value > mostPublishRate {
				errs = append(errs, fmt.Errorf("namespaces.%s.%s: %d must be from 0 to %d", name, f.key, f.value, mostPublishRate))
			}
		}
	}
	return errs
}

// ceiling is that of the node's memory, in bytes; 0 is none.
func (c Config) ceiling() int64 {
	if c.Limits.Memory != 0 {
		return int64(c.Limits.Memory)
	}
	return limit.Ceiling()
}

// newLimiter makes the node's limiter.
func (n *Node) newLimiter() (*limit.Limiter, error) {
	cfg, _ := n.cfg.limitConfig() // New has seen what is wrong with it
	cfg.Memory = n.cfg.ceiling()
	limits, err := limit.New(cfg, n.log, n.reg)
	if err != nil {
		return nil, fmt.Errorf("prepare limits: %w", err)
	}
	return limits, nil
}
