package cmd

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/cmd/edge"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/session"
)

// Config is everything a node can be told, one group per room. docs/configuration.md
// explains every key. Build it with DefaultConfig or Load.
type Config struct {
	// Dev runs the node open to everybody, on loopback only.
	Dev     bool          `yaml:"dev"`
	Server  ServerConfig  `yaml:"server"`
	Broker  BrokerConfig  `yaml:"broker"`
	Session SessionConfig `yaml:"session"`
	Auth    AuthConfig    `yaml:"auth"`
	// Namespaces by name. Empty means one, "default", with all defaults.
	Namespaces map[string]NamespaceConfig `yaml:"namespaces"`
	Presence   PresenceConfig             `yaml:"presence"`
	Limits     LimitsConfig               `yaml:"limits"`
	// Webhooks are services that are told of what happens in channels.
	Webhooks []WebhookConfig `yaml:"webhooks"`
	Events   EventsConfig    `yaml:"events"`
	Log      LogConfig       `yaml:"log"`

	// sources is what has set a key, where it has another name: --sync, or
	// environment: RIVULET_SYNC.
	sources map[string]string
	// secretsIn is the file, where it has secrets.
	secretsIn string
}

// ServerConfig is about the HTTP listener.
type ServerConfig struct {
	// Listen is host:port; port 0 takes a free one. Empty means DefaultListen, or
	// DevListen with Dev.
	Listen string `yaml:"listen"`
	// StopTimeout bounds a clean stop; what is not finished then is cut.
	StopTimeout Duration `yaml:"stop_timeout"`
	// TrustedProxies are the addresses and ranges of proxies whose word on the client's
	// address counts, which they give in ForwardedHeader: X-Forwarded-For or Forwarded.
	TrustedProxies  []string `yaml:"trusted_proxies"`
	ForwardedHeader string   `yaml:"forwarded_header"`
	// ProxyProtocol takes only connections that begin with a PROXY header of a trusted proxy.
	ProxyProtocol bool       `yaml:"proxy_protocol"`
	TLS           TLSConfig  `yaml:"tls"`
	ACME          ACMEConfig `yaml:"acme"`
	// AdminListen is host:port of a listener of its own for metrics, profiles and what
	// operates the node; empty leaves them, without the profiles, on Listen.
	AdminListen string `yaml:"admin_listen"`
	// Telemetry takes what the monitors of browsers report, and shows it as metrics.
	Telemetry bool `yaml:"telemetry"`
	// EchoEndpoint serves /test/echo, for conformance suites; it has no key.
	EchoEndpoint bool `yaml:"-"`
}

// BrokerConfig is about the log.
type BrokerConfig struct {
	// Data is the folder of the embedded log; unused with NATSURL.
	Data string `yaml:"data"`
	// NATSURL names NATS servers, separated by commas; empty embeds one.
	NATSURL string `yaml:"nats_url"`
	// NATSURLFile holds NATSURL instead, where that has a password; Load reads it.
	NATSURLFile string `yaml:"nats_url_file"`
	// NATSCredentials is a credentials file for NATSURL.
	NATSCredentials string `yaml:"nats_credentials"`
	// NATSCA is a file of certificates that sign the servers of NATSURL.
	NATSCA string `yaml:"nats_ca"`
	// Sync is "interval" (fsync every second) or "always" (before every answer).
	Sync string `yaml:"sync"`
	// DiskBudget bounds the embedded log; 0 takes half of the free disk, at most 16 GiB.
	DiskBudget Bytes `yaml:"disk_budget"`
	// Replicas of each stream where the namespace does not say: 1, 3 or 5.
	Replicas int `yaml:"replicas"`
}

// SessionConfig bounds the connections of clients.
type SessionConfig struct {
	// Origins that browsers may come from besides the node's own host:
	// "https://a.example", "https://*.a.example", "http://localhost:*" (any port), or "*" for any.
	Origins          []string `yaml:"origins"`
	MaxConnections   int      `yaml:"max_connections"`
	MaxSubscriptions int      `yaml:"max_subscriptions"` // of one connection
	MaxFrame         Bytes    `yaml:"max_frame"`         // of a command
	// CompressAbove is the size from which on messages are compressed for clients that
	// negotiated it; 0 compresses nothing.
	CompressAbove Bytes    `yaml:"compress_above"`
	PingInterval  Duration `yaml:"ping_interval"`
	// DeadAfter is the time without a sign of life after which a connection is closed.
	DeadAfter Duration `yaml:"dead_after"`
	// StallTimeout closes a client that reads nothing at all while something waits for it.
	StallTimeout Duration `yaml:"stall_timeout"`
	// FrameTimeout bounds the time from a command's first byte to its last.
	FrameTimeout Duration `yaml:"frame_timeout"`
	// DrainWindow is the time over which a stop spreads its disconnects.
	DrainWindow Duration `yaml:"drain_window"`
	// FlushInterval is how often what durable sessions acknowledged is written.
	FlushInterval Duration `yaml:"flush_interval"`
}

// AuthConfig says how callers authenticate.
type AuthConfig struct {
	HMAC HMACConfig `yaml:"hmac"`
	// Tokens are issuers that sign with private keys, as OIDC providers do.
	Tokens []IssuerConfig `yaml:"tokens"`
	Keys   []KeyConfig    `yaml:"keys"`
	// MaxTokenLifetime refuses tokens that live longer.
	MaxTokenLifetime Duration `yaml:"max_token_lifetime"`
	// IATOptional takes tokens that do not say when they were issued.
	IATOptional bool `yaml:"iat_optional"`
	// ConnectHook is asked about every connection of a client.
	ConnectHook ConnectHookConfig `yaml:"connect_hook"`
	// Certificates are publishers known by their client certificates.
	Certificates []CertificateConfig `yaml:"certificates"`
}

// KeyConfig is one API key.
type KeyConfig struct {
	Name         string                   `yaml:"name"`
	SHA256       string                   `yaml:"sha256"`
	Capabilities map[string][]auth.Action `yaml:"capabilities"`
}

// NamespaceConfig is about one namespace; a zero field is the default.
type NamespaceConfig struct {
	Partitions int `yaml:"partitions"` // fixed when the namespace is created
	Replicas   int `yaml:"replicas"`
	// MaxAge of a message; "unlimited" keeps it until another limit is reached.
	MaxAge Duration `yaml:"max_age"`
	// MaxPerChannel is how many messages of one channel are kept; -1 is unlimited.
	MaxPerChannel int64 `yaml:"max_per_channel"`
	// MaxBytes of the whole namespace, reserved from the disk budget.
	MaxBytes        Bytes `yaml:"max_bytes"`
	MaxMessageBytes Bytes `yaml:"max_message_bytes"`
	// Conflate leaves out what is outdated, by "key" or all but the "last", for
	// subscriptions that do not say themselves; MaxRate bounds their messages a second.
	Conflate string `yaml:"conflate"`
	MaxRate  int    `yaml:"max_rate"`
	// DuplicateWindow is how long an idempotency key is remembered.
	DuplicateWindow Duration `yaml:"duplicate_window"`
	// UndeliveredAfter makes the channels inboxes, each of the user of its name: webhooks
	// are told of a message that no durable session of the user has acknowledged in this
	// time; 0 is off.
	UndeliveredAfter Duration `yaml:"undelivered_after"`
	// GroupAckWait is how long a member of a durable group may take over a message,
	// GroupMaxDeliver how many attempts it has, GroupBackoff the waits between them.
	GroupAckWait    Duration   `yaml:"group_ack_wait"`
	GroupMaxDeliver int        `yaml:"group_max_deliver"`
	GroupBackoff    []Duration `yaml:"group_backoff"`
	// GroupMaxInFlight bounds the messages of one group that are not settled.
	GroupMaxInFlight int `yaml:"group_max_in_flight"`
	// GroupExpire removes a group that nobody was a member of for so long.
	GroupExpire Duration `yaml:"group_expire"`
	// MaxGroups is how many groups one partition may have.
	MaxGroups int `yaml:"max_groups"`
	// SessionStore keeps the positions of durable sessions: consumer, kv or off; empty is
	// consumer with the embedded log, else kv.
	SessionStore string `yaml:"session_store"`
	// SessionTTL is how long a durable session lives without a connection.
	SessionTTL Duration `yaml:"session_ttl"`
	// MaxSessions are durable sessions with a channel of the namespace, MaxSessionChannels
	// the channels of one.
	MaxSessions        int `yaml:"max_sessions"`
	MaxSessionChannels int `yaml:"max_session_channels"`
	// Presence keeps who is subscribed to the namespace's channels; with Dev every
	// namespace has it.
	Presence bool `yaml:"presence"`
	// Hooks are asked before something is done in the namespace.
	Hooks NamespaceHooks `yaml:"hooks"`
	// PublishRate is how many publishes a second the namespace takes on one node,
	// ChannelPublishRate one of its channels; 0 leaves it to limits.
	PublishRate        int `yaml:"publish_rate"`
	ChannelPublishRate int `yaml:"channel_publish_rate"`
}

// PresenceConfig bounds what is told of who is subscribed.
type PresenceConfig struct {
	// MaxMembers is up to how many members of a channel its watchers are told who they
	// are; above, they are told counts only.
	MaxMembers int `yaml:"max_members"`
	// Interval is the least time between two events of a channel to a watcher.
	Interval Duration `yaml:"interval"`
}

// LogConfig is about what the node writes to stderr.
type LogConfig struct {
	Format string `yaml:"format"` // auto, text or json
	Level  string `yaml:"level"`  // debug, info, warn or error
}

// Listen addresses where none is configured.
const (
	DefaultListen = ":8080"
	DevListen     = "127.0.0.1:8080"
)

// DefaultConfig is what a node runs with where nothing is configured. It does
// not validate: a way to authenticate is missing.
func DefaultConfig() Config {
	a, s, p := auth.DefaultConfig(), session.DefaultConfig(), fanout.DefaultPresenceConfig()
	return Config{
		Server: ServerConfig{StopTimeout: Duration(30 * time.Second), ForwardedHeader: edge.XForwardedFor, TLS: TLSConfig{MinVersion: "1.2"}},
		Broker: BrokerConfig{Data: "rivulet-data", Sync: "interval", Replicas: 1},
		Session: SessionConfig{
			MaxConnections:   s.MaxConnections,
			MaxSubscriptions: s.MaxSubscriptions,
			MaxFrame:         Bytes(s.MaxFrame),
			CompressAbove:    Bytes(s.CompressAbove),
			PingInterval:     Duration(s.PingInterval),
			DeadAfter:        Duration(s.DeadAfter),
			StallTimeout:     Duration(s.StallTimeout),
			FrameTimeout:     Duration(s.FrameTimeout),
			DrainWindow:      Duration(s.DrainWindow),
			FlushInterval:    Duration(s.FlushInterval),
		},
		Auth: AuthConfig{
			HMAC:             HMACConfig{Algorithm: a.HMAC.Algorithm, Leeway: Duration(a.HMAC.Leeway)},
			MaxTokenLifetime: Duration(defaultTokenLifetime),
			ConnectHook:      defaultConnectHook(),
		},
		Presence: PresenceConfig{MaxMembers: p.MaxMembers, Interval: Duration(p.Interval)},
		Limits:   defaultLimits(),
		Events:   defaultEvents(),
		Log:      LogConfig{Format: "auto", Level: "info"},
	}
}

// Validate reports every problem at once, each naming its key, the bad value and
// what is right.
func (c Config) Validate() error {
	return c.named(errors.Join(slices.Concat(
		c.serverProblems(),
		c.edgeProblems(),
		c.brokerProblems(),
		[]error{c.sessionConfig("").Validate()},
		c.authProblems(),
		c.namespaceProblems(),
		c.webhookProblems(),
		c.hookProblems(),
		c.presenceProblems(),
		c.limitProblems(),
		c.logProblems(),
	)...))
}

// named puts what the user typed before each problem with a key that it has set.
func (c Config) named(problems error) error {
	errs := parts(problems)
	for i, err := range errs {
		for key, source := range c.sources {
			if rest, ok := strings.CutPrefix(err.Error(), key); ok && strings.ContainsAny(rest[:min(len(rest), 1)], ":.[") {
				errs[i] = fmt.Errorf("%s: %w", source, err)
			}
		}
	}
	return errors.Join(errs...)
}

// ListenAddress is where the node listens.
func (c Config) ListenAddress() string {
	switch {
	case c.Server.Listen != "":
		return c.Server.Listen
	case c.Dev:
		return DevListen
	}
	return DefaultListen
}

func (c Config) serverProblems() []error {
	var errs []error
	host, port, err := net.SplitHostPort(c.ListenAddress())
	switch {
	case err != nil:
		errs = append(errs, fmt.Errorf("server.listen: %q is not host:port; write for example :8080 or 127.0.0.1:8080", c.Server.Listen))
	case !validPort(port):
		errs = append(errs, fmt.Errorf("server.listen: %q has the port %q; it must be 0 to 65535", c.Server.Listen, port))
	case c.Dev && !isLoopback(host):
		errs = append(errs, fmt.Errorf("server.listen: %q can be reached from other machines and dev lets everybody in; "+
			"listen on 127.0.0.1, or drop --dev and configure auth", c.Server.Listen))
	}
	if c.Server.StopTimeout <= c.Session.DrainWindow {
		errs = append(errs, fmt.Errorf("server.stop_timeout: %v must be above session.drain_window (%v)", c.Server.StopTimeout, c.Session.DrainWindow))
	}
	return errs
}

func validPort(port string) bool {
	_, err := netip.ParseAddrPort("127.0.0.1:" + port)
	return err == nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

func (c Config) brokerProblems() []error {
	b, errs := c.Broker, []error(nil)
	if b.NATSURL == "" && b.Data == "" {
		errs = append(errs, errors.New("broker.data: is empty; name the folder of the log, or set broker.nats_url"))
	}
	if b.Sync != "interval" && b.Sync != "always" {
		errs = append(errs, fmt.Errorf("broker.sync: %q is not one of interval, always", b.Sync))
	}
	if b.DiskBudget < 0 {
		errs = append(errs, fmt.Errorf("broker.disk_budget: %v must not be negative; 0 takes half of the free disk, at most 16GiB", b.DiskBudget))
	}
	if !validReplicas(b.Replicas) {
		errs = append(errs, fmt.Errorf("broker.replicas: %d is not one of 1, 3, 5", b.Replicas))
	} else if b.Replicas > 1 && b.NATSURL == "" {
		errs = append(errs, fmt.Errorf("broker.replicas: %d needs a NATS cluster; set broker.nats_url, or 1 replica for the embedded log", b.Replicas))
	}
	if b.NATSURL == "" && b.NATSCredentials != "" {
		errs = append(errs, errors.New("broker.nats_credentials: is only for broker.nats_url, which is not set"))
	}
	if b.NATSURL == "" && b.NATSCA != "" {
		errs = append(errs, errors.New("broker.nats_ca: is only for broker.nats_url, which is not set"))
	}
	return append(errs, natsURLProblems(b.NATSURL)...)
}

func natsURLProblems(list string) []error {
	if list == "" {
		return nil
	}
	var errs []error
	for s := range strings.SplitSeq(list, ",") {
		u, err := url.Parse(strings.TrimSpace(s))
		if err != nil || u.Host == "" || !slices.Contains([]string{"nats", "tls"}, u.Scheme) {
			// Not repeated: it may hold a password.
			errs = append(errs, errors.New("broker.nats_url: one of its addresses is not like nats://host:4222 or tls://host:4222"))
		}
	}
	return errs
}

func validReplicas(n int) bool { return n == 1 || n == 3 || n == 5 }

func (c Config) authProblems() []error {
	var errs []error
	h := c.Auth.HMAC
	if !h.Secret.IsZero() && h.SecretFile != "" {
		errs = append(errs, fmt.Errorf("auth.hmac.secret_file: auth.hmac.secret is set too%s; keep one", c.by("auth.hmac.secret")))
	}
	if !h.PreviousSecret.IsZero() && h.PreviousSecretFile != "" {
		errs = append(errs, fmt.Errorf("auth.hmac.previous_secret_file: auth.hmac.previous_secret is set too%s; keep one", c.by("auth.hmac.previous_secret")))
	}
	if c.Auth.MaxTokenLifetime <= 0 {
		errs = append(errs, fmt.Errorf("auth.max_token_lifetime: %v must be above 0", c.Auth.MaxTokenLifetime))
	}
	configured := !h.Secret.IsZero() || h.SecretFile != "" || len(c.Auth.Tokens) > 0 || len(c.Auth.Keys) > 0
	if c.Dev && configured {
		return append(errs, errors.New("dev: lets everybody in, and auth is configured; drop --dev or the keys under auth"))
	}
	return errs
}

func (c Config) logProblems() []error {
	var errs []error
	if !slices.Contains([]string{"auto", "text", "json"}, c.Log.Format) {
		errs = append(errs, fmt.Errorf("log.format: %q is not one of auto, text, json", c.Log.Format))
	}
	if _, err := parseLevel(c.Log.Level); err != nil {
		errs = append(errs, fmt.Errorf("log.level: %q is not one of debug, info, warn, error", c.Log.Level))
	}
	return errs
}

func parseLevel(s string) (slog.Level, error) {
	switch s {
	case "debug", "info", "warn", "error":
		var l slog.Level
		err := l.UnmarshalText([]byte(s))
		return l, err
	}
	return 0, errors.New("unknown level")
}
