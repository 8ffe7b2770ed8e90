package cmd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

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
- list API keys under auth.keys in the file given by --config`)

const maxSecretFile = 4 << 10

// authConfig reads the secret's file if there is one. The error has every problem.
func (c Config) authConfig() (auth.Config, error) {
	if c.Dev {
		return auth.Config{Open: true}, nil
	}
	h := c.Auth.HMAC
	cfg := auth.Config{HMAC: auth.HMACConfig{
		Secret:    h.Secret,
		Algorithm: h.Algorithm,
		Issuer:    h.Issuer,
		Audience:  h.Audience,
		Leeway:    time.Duration(h.Leeway),
	}}
	for _, k := range c.Auth.Keys {
		cfg.Keys = append(cfg.Keys, auth.KeyConfig{Name: k.Name, SHA256: k.SHA256, Capabilities: k.Capabilities})
	}
	checked := cfg
	if h.SecretFile != "" && h.Secret.IsZero() {
		secret, err := readSecret("auth.hmac.secret_file", h.SecretFile)
		if err != nil {
			// The rest is checked with one that is as good as any.
			checked.HMAC.Secret = auth.NewSecret(strings.Repeat("x", 64))
			return cfg, c.named(errors.Join(err, checked.Validate()))
		}
		cfg.HMAC.Secret, checked.HMAC.Secret = secret, secret
	}
	errs := parts(checked.Validate())
	for i, err := range errs {
		if errors.Is(err, auth.ErrNotConfigured) {
			errs[i] = ErrNoAuth
		}
	}
	return cfg, c.named(errors.Join(errs...))
}

// readSecret reads the file that a key names. A newline at its end does not count.
func readSecret(key, file string) (auth.Secret, error) {
	text, err := os.ReadFile(file) //nolint:gosec // the operator names the file
	if err != nil {
		return auth.Secret{}, fmt.Errorf("%s: %w", key, err)
	}
	if len(text) > maxSecretFile {
		return auth.Secret{}, fmt.Errorf("%s: %s has %d bytes; a secret has at most %d", key, file, len(text), maxSecretFile)
	}
	return auth.NewSecret(string(bytes.TrimRight(text, "\r\n"))), nil
}

// nodeConfig is Validate, authConfig and webhookConfig in one: everything that keeps a
// node from starting.
func (c Config) nodeConfig() (auth.Config, error) {
	a, err := c.authConfig()
	var hooks error
	if c.webhookProblems() == nil {
		_, hooks = c.webhookConfig("")
	}
	_, files := c.fileProblems()
	return a, errors.Join(c.Validate(), err, hooks, files)
}

func (c Config) sessionConfig(node string) session.Config {
	cfg := session.DefaultConfig()
	cfg.Node = node
	cfg.Origins = c.Session.Origins
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
		// Somebody who tries things out makes many namespaces on a small disk.
		cfg.Defaults = migrations.Spec{MaxBytes: int64(devNamespaceBytes)}
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

// devNamespaceBytes is what a namespace that development makes on the fly reserves.
const devNamespaceBytes Bytes = 256 << 20

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
