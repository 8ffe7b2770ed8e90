package session

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// Config bounds the connections of a node.
type Config struct {
	// Node is what clients are told as this node's name.
	Node string
	// MaxConnections of all transports together; more are refused with 503.
	MaxConnections int
	// MaxFrame is the size limit of a command frame, in bytes.
	MaxFrame int
	// MaxSubscriptions of one connection.
	MaxSubscriptions int
	// MaxPublishes of one connection that wait for the log; past it the connection is
	// not read until one is done.
	MaxPublishes int
	// SoftBuffer is how many bytes may wait for a client before deliveries are refused.
	SoftBuffer int
	// HardBuffer is how many bytes may wait before notices and replies are refused.
	HardBuffer int
	// PingInterval is the least time between heartbeats; they come up to a fifth later.
	PingInterval time.Duration
	// DeadAfter is the time without any sign of life after which a connection is closed.
	DeadAfter time.Duration
	// StallTimeout closes a client that reads nothing at all while something waits for it.
	StallTimeout time.Duration
	// CompressAbove is the size in bytes above which messages are compressed for the
	// clients that negotiated permessage-deflate; 0 negotiates it with nobody.
	CompressAbove int
	// FrameTimeout bounds the time from the first byte of a command, its fragments
	// included, to its last.
	FrameTimeout time.Duration
	// ConnectTimeout bounds the wait for a connect command where one is needed.
	ConnectTimeout time.Duration
	// CommandTimeout bounds a publish, a history and an authentication.
	CommandTimeout time.Duration
	// CloseTimeout bounds the last write and the wait for the peer's close frame.
	CloseTimeout time.Duration
	// DrainWindow is the most time over which a drain spreads its disconnects, and
	// the clients their return: a hundred of them a second, few at once.
	DrainWindow time.Duration
	// FlushInterval is how often what was acknowledged in durable sessions is written: so
	// much, at most, is delivered again after a crash.
	FlushInterval time.Duration
	// Conflate is what subscriptions leave out that ask for no conflation, by namespace.
	Conflate map[string]fanout.Conflation
	// Origins that browsers may come from, beside the node's own host: "https://a.example",
	// "https://*.a.example", "http://localhost:*" (any port), or "*" for any.
	Origins []string
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Node:           "rivulet",
		MaxConnections: 100_000, MaxFrame: protocol.DefaultMaxFrame, MaxSubscriptions: 1000, MaxPublishes: 16,
		SoftBuffer: 64 << 10, HardBuffer: 1 << 20, CompressAbove: 1 << 10,
		PingInterval: 25 * time.Second, DeadAfter: 90 * time.Second, StallTimeout: time.Minute,
		FrameTimeout: time.Minute, ConnectTimeout: 10 * time.Second, CommandTimeout: 10 * time.Second, CloseTimeout: 5 * time.Second,
		DrainWindow: 10 * time.Second, FlushInterval: 2 * time.Second,
	}
}

// mostFlushInterval lets also a durable session without channels be written before it
// expires, in five minutes.
const mostFlushInterval = time.Minute

// Validate reports every value out of bounds, naming its key.
func (c Config) Validate() error {
	var errs []error
	for _, f := range []struct {
		key                string
		value, least, most int
		show               func(int) string
	}{
		{"max_connections", c.MaxConnections, 1, 10_000_000, strconv.Itoa},
		{"max_frame", c.MaxFrame, 256, 16 << 20, size},
		{"max_subscriptions", c.MaxSubscriptions, 1, 100_000, strconv.Itoa},
		{"max_publishes", c.MaxPublishes, 1, 1024, strconv.Itoa},
		{"soft_buffer", c.SoftBuffer, 1 << 10, 16 << 20, size},
		{"hard_buffer", c.HardBuffer, 4 << 10, 256 << 20, size},
		{"compress_above", c.CompressAbove, 0, 16 << 20, size},
	} {
		if f.value < f.least || f.value > f.most {
			errs = append(errs, fmt.Errorf("session.%s: %s must be from %s to %s", f.key, f.show(f.value), f.show(f.least), f.show(f.most)))
		}
	}
	for _, f := range []struct {
		key   string
		value time.Duration
	}{
		{"ping_interval", c.PingInterval},
		{"dead_after", c.DeadAfter},
		{"stall_timeout", c.StallTimeout},
		{"frame_timeout", c.FrameTimeout},
		{"connect_timeout", c.ConnectTimeout},
		{"command_timeout", c.CommandTimeout},
		{"close_timeout", c.CloseTimeout},
		{"drain_window", c.DrainWindow},
	} {
		if f.value < time.Millisecond || f.value > time.Hour {
			errs = append(errs, fmt.Errorf("session.%s: %v must be from 1ms to 1h", f.key, f.value))
		}
	}
	if c.FlushInterval < time.Millisecond || c.FlushInterval > mostFlushInterval {
		errs = append(errs, fmt.Errorf("session.flush_interval: %v must be from 1ms to %v", c.FlushInterval, mostFlushInterval))
	}
	if c.HardBuffer < 2*c.SoftBuffer {
		errs = append(errs, fmt.Errorf("session.hard_buffer: %s must be at least twice soft_buffer (%s)", size(c.HardBuffer), size(c.SoftBuffer)))
	}
	if c.DeadAfter < 2*c.PingInterval {
		errs = append(errs, fmt.Errorf("session.dead_after: %v must be at least twice ping_interval (%v)", c.DeadAfter, c.PingInterval))
	}
	if _, err := ParseOrigins(c.Origins); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// size writes a number of bytes as the configuration does, 16MiB for 16 << 20.
func size(n int) string {
	units := []string{"", "KiB", "MiB", "GiB"}
	i := 0
	for ; n != 0 && n%1024 == 0 && i < len(units)-1; i++ {
		n /= 1024
	}
	return strconv.Itoa(n) + units[i]
}
