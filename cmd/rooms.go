package cmd

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rivulet-rt/rivulet/api"
	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/migrations"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
)

// What the configuration means to each room.

// ErrNoAuth says that a node that is not for development has no way to authenticate.
var ErrNoAuth = errors.New(`auth: nothing is configured, so nobody could be let in. Do one of:
- try it out, open to everybody on this machine:    rivulet serve --dev
- set a secret that your tokens are signed with:    RIVULET_AUTH_HMAC_SECRET=$(openssl rand -hex 32)
- name who issues your tokens under auth.tokens, or list API keys under auth.keys,
  in the file given by --config (a hook under auth.connect_hook needs one of them, too)`)

// errHookAlone: the hook is asked about connections, and not by the HTTP API.
var errHookAlone = errors.New("auth: the connect hook lets clients in, and nothing those who publish or operate over the HTTP API; " +
	"set auth.hmac.secret, or name issuers under auth.tokens or API keys under auth.keys, too")

// devOrigins are the pages of this machine, as those of a front end's development server.
// Under --dev all of the machine may do everything anyway; pages from elsewhere may not.
func devOrigins() []string {
	return []string{
		"http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*",
		"https://localhost:*", "https://127.0.0.1:*", "https://[::1]:*",
	}
}

// authConfig reads the files of secrets and keys. The error has every problem.
func (c Config) authConfig() (auth.Config, error) {
	if c.Dev {
		return auth.Config{Open: true}, nil
	}
	h := c.Auth.HMAC
	cfg := auth.Config{
		HMAC: auth.HMACConfig{
			Secret:         h.Secret,
			PreviousSecret: h.PreviousSecret,
			Algorithm:      h.Algorithm,
			Issuer:         h.Issuer,
			Audience:       h.Audience,
			Leeway:         time.Duration(h.Leeway),
		},
		MaxTokenLifetime: time.Duration(c.Auth.MaxTokenLifetime),
		IATOptional:      c.Auth.IATOptional,
	}
	for _, k := range c.Auth.Keys {
		cfg.Keys = append(cfg.Keys, auth.KeyConfig{Name: k.Name, SHA256: k.SHA256, Capabilities: k.Capabilities})
	}
	unread := h.readSecrets(&cfg.HMAC)
	var unreadKeys error
	var unreadIssuers map[int]bool
	cfg.Tokens, unreadIssuers, unreadKeys = c.Auth.issuers()
	checked := cfg
	if unread != nil && checked.HMAC.Secret.IsZero() {
		// The rest is checked with one that is as good as any.
		checked.HMAC.Secret = auth.NewSecret(strings.Repeat("x", 64))
	}
	errs := append(parts(unread), parts(unreadKeys)...)
	for _, err := range parts(checked.Validate()) {
		switch {
		case ofSource(err, unreadIssuers): // was said
		case !errors.Is(err, auth.ErrNotConfigured):
			errs = append(errs, h.ofFile(err))
		case len(errs) > 0: // something is, and cannot be read
		case c.Auth.ConnectHook.Hook.URL != "":
			errs = append(errs, errHookAlone)
		default:
			errs = append(errs, ErrNoAuth)
		}
	}
	return cfg, c.named(errors.Join(errs...))
}

// nodeConfig is Validate, authConfig and webhookConfig in one: everything that keeps a
// node from starting.
func (c Config) nodeConfig() (auth.Config, error) {
	a, err := c.authConfig()
	var hooks error
	if c.webhookProblems() == nil {
		_, hooks = c.webhookConfig("")
	}
	if c.hookProblems() == nil {
		_, asked := c.hookConfigs()
		hooks = errors.Join(hooks, asked)
	}
	_, files := c.fileProblems()
	if len(c.Server.ACME.Domains) > 0 {
		files = errors.Join(files, c.tlsConfig().ACME.Check())
	}
	return a, errors.Join(c.Validate(), err, hooks, files, c.named(errors.Join(c.shareProblems()...)))
}

func (c Config) sessionConfig(node string) session.Config {
	cfg := session.DefaultConfig()
	cfg.Node = node
	cfg.Origins = c.Session.Origins
	if c.Dev {
		cfg.Origins = slices.Concat(cfg.Origins, devOrigins())
	}
	cfg.MaxConnections = c.Session.MaxConnections
	cfg.MaxSubscriptions = c.Session.MaxSubscriptions
	cfg.MaxFrame = int(c.Session.MaxFrame)
	cfg.CompressAbove = int(c.Session.CompressAbove)
	cfg.FrameTimeout = time.Duration(c.Session.FrameTimeout)
	cfg.PingInterval = time.Duration(c.Session.PingInterval)
	cfg.DeadAfter = time.Duration(c.Session.DeadAfter)
	cfg.StallTimeout = time.Duration(c.Session.StallTimeout)
	cfg.DrainWindow = time.Duration(c.Session.DrainWindow)
	cfg.FlushInterval = time.Duration(c.Session.FlushInterval)
	cfg.Conflate = c.conflations()
	return cfg
}

// conflations are those of the namespaces that have one.
func (c Config) conflations() map[string]fanout.Conflation {
	out := make(map[string]fanout.Conflation)
	for name, n := range c.Namespaces {
		// namespaceProblems has what is wrong with it.
		if by, err := n.conflation(); err == nil && by.By != fanout.ConflateNone {
			out[name] = by
		}
	}
	return out
}

func (n NamespaceConfig) conflation() (fanout.Conflation, error) {
	return session.ParseConflation(&protocol.SubscribeCommand{Conflate: n.Conflate, MaxRate: n.MaxRate})
}

func (c Config) brokerConfig(node string) broker.Config {
	cfg := broker.DefaultConfig()
	cfg.Node = node
	cfg.Data = c.Broker.Data
	cfg.NATSURL = c.Broker.NATSURL
	cfg.Credentials = c.Broker.NATSCredentials
	cfg.CA = c.Broker.NATSCA
	cfg.Sync = broker.Sync(c.Broker.Sync)
	cfg.DiskBudget = int64(c.Broker.DiskBudget)
	cfg.Replicas = c.Broker.Replicas
	cfg.Open = c.Dev
	if c.Dev {
		// Somebody who tries things out makes many namespaces on a small disk, and each stream
		// costs memory and a file. Two are enough for nothing to depend on there being one.
		cfg.Defaults = migrations.Spec{Partitions: 2}
	}
	cfg.Namespaces = c.specs()
	cfg.Groups = make(map[string]broker.GroupConfig, len(c.Namespaces))
	for name, n := range c.Namespaces {
		cfg.Groups[name] = n.groups()
	}
	cfg.Sessions.Namespaces = map[string]broker.SessionPolicy{}
	for name, n := range c.Namespaces {
		cfg.Sessions.Namespaces[name] = n.sessionPolicy()
	}
	return cfg
}

func (c Config) presenceConfig(node string) fanout.PresenceConfig {
	cfg := fanout.DefaultPresenceConfig()
	cfg.Node = node
	cfg.MaxMembers = c.Presence.MaxMembers
	cfg.Interval = time.Duration(c.Presence.Interval)
	cfg.AnnounceInterval = cfg.Interval / 4
	namespaces := c.Namespaces
	cfg.Enabled = func(name string) bool { return c.Dev || namespaces[name].Presence }
	return cfg
}

func (c Config) presenceProblems() []error {
	var errs []error
	if n := c.Presence.MaxMembers; n < 0 || n > mostMembers {
		errs = append(errs, fmt.Errorf("presence.max_members: %d must be from 0 to %d", n, mostMembers))
	}
	if d := time.Duration(c.Presence.Interval); d < leastInterval || d > time.Minute {
		errs = append(errs, fmt.Errorf("presence.interval: %v must be from %v to 1m", d, leastInterval))
	}
	return errs
}

// Bounds of presence: who gets a roster of so many at every interval has enough to read.
const (
	mostMembers   = 1000
	leastInterval = 100 * time.Millisecond
)

// specs are the configured namespaces, or the default one where none is.
func (c Config) specs() []broker.NamespaceSpec {
	if len(c.Namespaces) == 0 && !c.Dev {
		return []broker.NamespaceSpec{{Name: fanout.DefaultNamespace}}
	}
	var specs []broker.NamespaceSpec
	for _, name := range sortedKeys(c.Namespaces) {
		specs = append(specs, c.Namespaces[name].spec(name))
	}
	return specs
}

func (n NamespaceConfig) sessionPolicy() broker.SessionPolicy {
	return broker.SessionPolicy{
		Store:       broker.SessionStore(n.SessionStore),
		TTL:         time.Duration(n.SessionTTL),
		MaxSessions: n.MaxSessions,
		MaxChannels: n.MaxSessionChannels,
	}
}

func (n NamespaceConfig) groups() broker.GroupConfig {
	g := broker.GroupConfig{
		AckWait:     time.Duration(n.GroupAckWait),
		MaxDeliver:  n.GroupMaxDeliver,
		MaxInFlight: n.GroupMaxInFlight,
		Expire:      time.Duration(n.GroupExpire),
		Max:         n.MaxGroups,
	}
	for _, d := range n.GroupBackoff {
		g.Backoff = append(g.Backoff, time.Duration(d))
	}
	return g
}

func (n NamespaceConfig) spec(name string) broker.NamespaceSpec {
	return broker.NamespaceSpec{
		Name:            name,
		Partitions:      n.Partitions,
		Replicas:        n.Replicas,
		MaxAge:          time.Duration(n.MaxAge),
		MaxPerChannel:   n.MaxPerChannel,
		MaxBytes:        int64(n.MaxBytes),
		MaxMessageBytes: int(n.MaxMessageBytes),
		DuplicateWindow: time.Duration(n.DuplicateWindow),
	}
}

// apiConfig is the HTTP API's. Under --dev the demo's page reports.
func (c Config) apiConfig() api.Config {
	cfg := api.DefaultConfig()
	cfg.Telemetry = c.Server.Telemetry || c.Dev
	return cfg
}
