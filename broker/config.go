package broker

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/rivulet-rt/rivulet/migrations"
)

// NamespaceSpec is what the configuration says of a namespace.
type NamespaceSpec = migrations.Spec

// Sync is when the log reaches the disk.
type Sync string

// The levels. With a remote server they are only declared.
const (
	SyncInterval Sync = "interval" // every second; acknowledged before
	SyncAlways   Sync = "always"   // before every acknowledgement
)

// Config configures a broker.
type Config struct {
	// Node names this node, in NATS and in what it records; required.
	Node string
	// Data is the directory of the embedded server; required unless NATSURL is set.
	Data string
	// NATSURL, comma-separated, uses a remote NATS instead of the embedded one.
	NATSURL string
	// Credentials and CA are files for NATSURL: a NATS .creds file, and certificates
	// that sign the server's. Both may be empty.
	Credentials, CA string
	// Sync is the durability of the embedded server, or declared of the remote one.
	Sync Sync
	// DiskBudget in bytes of the embedded server, see the function of that name. Where the
	// streams that are there reserve more, they keep it, and none can be added.
	DiskBudget int64
	// Replicas of the buckets and of namespaces that do not say: 1, 3 or 5.
	Replicas int
	// Open creates any namespace at its first use, with Defaults, as long as the disk
	// budget has room for it. One that is there stays as it was made. Of Defaults the name
	// is ignored, and a MaxBytes of 0 is a small part of the budget, 16 MiB to 256 MiB.
	Open     bool
	Defaults NamespaceSpec
	// Namespaces are created, or changed to be so, by Open.
	Namespaces []NamespaceSpec
	// Groups bounds the durable groups of namespaces; one that is not named has the
	// defaults.
	Groups map[string]GroupConfig
	// PublishTimeout is how long an acknowledgement is awaited.
	PublishTimeout time.Duration
	// InFlight is how many publishes may await their acknowledgement at once; more
	// wait for their turn.
	InFlight int
	// FeedBuffer is how many live messages may wait for the hub; an overflow is a
	// loss that the hub is told of.
	FeedBuffer int

	// Sessions says how durable sessions are kept.
	Sessions SessionsConfig
}

// Bounds of the configuration.
const (
	mostInFlight  = 1 << 16
	mostFeed      = 1 << 20
	defaultBudget = 16 << 30
	leastBudget   = 120 << 20 // what is not a namespace reserves 97 MiB
)

// DefaultConfig is an embedded broker without namespaces.
func DefaultConfig() Config {
	return Config{
		Node:           "rivulet",
		Data:           "data",
		Sync:           SyncInterval,
		Replicas:       1,
		PublishTimeout: 5 * time.Second,
		// 64 in flight already saturate a server; more only serve slow links.
		InFlight:   1024,
		FeedBuffer: 65_536,
	}
}

// Validate reports everything that is wrong, each with the field, its value and
// what is right.
func (c Config) Validate() error {
	var errs []error
	bad := func(field string, value any, right string) {
		errs = append(errs, fmt.Errorf("broker: %s is %v, must be %s", field, value, right))
	}
	if c.Node == "" || strings.ContainsAny(c.Node, " .*>\r\n\t") {
		bad("node", fmt.Sprintf("%q", c.Node), "a name without spaces, dots and wildcards")
	}
	if c.NATSURL == "" && c.Data == "" {
		bad("data", `""`, "a directory, unless nats_url is set")
	}
	if err := checkURLs(c.NATSURL); err != nil {
		bad("nats_url", err, "nats://host:port or tls://host:port, separated by commas")
	}
	if c.Sync != SyncInterval && c.Sync != SyncAlways {
		bad("sync", fmt.Sprintf("%q", c.Sync), "interval or always")
	}
	if c.DiskBudget != 0 && c.DiskBudget < leastBudget {
		bad("disk_budget", c.DiskBudget, fmt.Sprintf("0 or at least %d bytes", leastBudget))
	}
	if c.Replicas != 1 && c.Replicas != 3 && c.Replicas != 5 {
		bad("replicas", c.Replicas, "1, 3 or 5")
	}
	if c.Replicas > 1 && c.NATSURL == "" {
		bad("replicas", c.Replicas, "1 without nats_url: the embedded server is alone")
	}
	if c.PublishTimeout < 100*time.Millisecond || c.PublishTimeout > time.Minute {
		bad("publish_timeout", c.PublishTimeout, "100ms to 1m")
	}
	if c.InFlight < 1 || c.InFlight > mostInFlight {
		bad("in_flight", c.InFlight, fmt.Sprintf("1 to %d", mostInFlight))
	}
	if c.FeedBuffer < 16 || c.FeedBuffer > mostFeed {
		bad("feed_buffer", c.FeedBuffer, fmt.Sprintf("16 to %d", mostFeed))
	}
	for _, err := range c.Sessions.Default.Validate() {
		errs = append(errs, fmt.Errorf("broker: sessions: %w", err))
	}
	for name, p := range c.Sessions.Namespaces {
		for _, err := range p.Validate() {
			errs = append(errs, fmt.Errorf("broker: sessions of %s: %w", name, err))
		}
	}
	return errors.Join(append(errs, c.checkNamespaces()...)...)
}

func (c Config) checkNamespaces() (errs []error) {
	seen := map[string]bool{}
	for _, spec := range c.Namespaces {
		spec = c.fill(spec)
		if err := spec.Validate(); err != nil {
			errs = append(errs, err)
		}
		if seen[spec.Name] {
			errs = append(errs, fmt.Errorf("broker: namespaces has %q twice, must name each once", spec.Name))
		}
		seen[spec.Name] = true
	}
	return errs
}

// fill gives a spec the broker's replicas and every other default.
func (c Config) fill(spec NamespaceSpec) NamespaceSpec {
	if spec.Replicas == 0 {
		spec.Replicas = c.Replicas
	}
	return spec.WithDefaults()
}

func checkURLs(list string) error {
	if list == "" {
		return nil
	}
	for one := range strings.SplitSeq(list, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil {
			return errors.New("not a URL") // the parser's error would repeat a password
		}
		if u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls" {
			return errors.New(u.Redacted())
		}
	}
	return nil
}
