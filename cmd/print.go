package cmd

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
)

// printConfig writes the configuration as it is in effect, as a file for --config could
// have it, without what is secret.
func printConfig(w io.Writer, cfg Config) error {
	cfg.Broker.NATSURL = redactURLs(cfg.Broker.NATSURL)
	if cfg.Broker.NATSURLFile != "" {
		cfg.Broker.NATSURL = "" // one of them is all that may be set
	}
	cfg.fillIn() // copies what is changed here
	for i := range cfg.Webhooks {
		cfg.Webhooks[i].URL = auth.RedactURL(cfg.Webhooks[i].URL)
	}
	for i := range cfg.Auth.Tokens {
		cfg.Auth.Tokens[i].JWKSURL = auth.RedactURL(cfg.Auth.Tokens[i].JWKSURL)
	}
	cfg.Auth.ConnectHook.Hook.URL = auth.RedactURL(cfg.Auth.ConnectHook.Hook.URL)
	for name, n := range cfg.Namespaces {
		n.Hooks.Subscribe.URL = auth.RedactURL(n.Hooks.Subscribe.URL)
		n.Hooks.Publish.URL = auth.RedactURL(n.Hooks.Publish.URL)
		cfg.Namespaces[name] = n
	}
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(cfg); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	return enc.Close()
}

// fillIn writes out what a node does where nothing is configured, and the file has a zero.
func (c *Config) fillIn() {
	c.Server.Listen = c.ListenAddress()
	c.Limits.Handshakes = c.Limits.handshakes()
	c.Webhooks = slices.Clone(c.Webhooks)
	for i := range c.Webhooks {
		c.Webhooks[i] = c.Webhooks[i].filledIn()
	}
	c.Auth.ConnectHook.Hook = c.Auth.ConnectHook.Hook.filledIn()
	c.Auth.Tokens = slices.Clone(c.Auth.Tokens)
	for i := range c.Auth.Tokens {
		setDefault(&c.Auth.Tokens[i].Leeway, DefaultConfig().Auth.HMAC.Leeway)
	}
	all := maps.Clone(c.Namespaces)
	if len(all) == 0 && !c.Dev {
		all = map[string]NamespaceConfig{fanout.DefaultNamespace: {}}
	}
	for name, n := range all {
		all[name] = n.filledIn(name, *c)
	}
	c.Namespaces = all
}

// filledIn is the namespace as a node has it.
func (n NamespaceConfig) filledIn(name string, c Config) NamespaceConfig {
	setDefault(&n.Replicas, c.Broker.Replicas)
	spec := n.spec(name).WithDefaults()
	n.Partitions, n.MaxAge, n.MaxPerChannel = spec.Partitions, Duration(spec.MaxAge), spec.MaxPerChannel
	n.MaxBytes, n.MaxMessageBytes, n.DuplicateWindow = Bytes(spec.MaxBytes), Bytes(spec.MaxMessageBytes), Duration(spec.DuplicateWindow)
	g := n.groups().WithDefaults()
	n.GroupAckWait, n.GroupMaxDeliver, n.GroupMaxInFlight = Duration(g.AckWait), g.MaxDeliver, g.MaxInFlight
	n.GroupExpire, n.MaxGroups, n.GroupBackoff = Duration(g.Expire), g.Max, nil
	for _, d := range g.Backoff {
		n.GroupBackoff = append(n.GroupBackoff, Duration(d))
	}
	p := n.sessionPolicy().WithDefaults(c.Broker.NATSURL == "" && c.Broker.NATSURLFile == "")
	n.SessionStore, n.SessionTTL, n.MaxSessions, n.MaxSessionChannels = string(p.Store), Duration(p.TTL), p.MaxSessions, p.MaxChannels
	n.Presence = n.Presence || c.Dev
	setDefault(&n.PublishRate, c.Limits.PublishesPerNamespace)
	setDefault(&n.ChannelPublishRate, c.Limits.PublishesPerChannel)
	n.Hooks.Subscribe, n.Hooks.Publish = n.Hooks.Subscribe.filledIn(), n.Hooks.Publish.filledIn()
	return n
}

// filledIn is the hook with its defaults, also where there is none.
func (h HookConfig) filledIn() HookConfig {
	d := h.config("", nil)
	if h.Retries != noRetries {
		h.Retries = d.Retries
	}
	h.Timeout, h.Concurrency, h.WhenOpen, h.CacheTTL = Duration(d.Timeout), d.Concurrency, string(d.WhenOpen), Duration(d.CacheTTL)
	h.Breaker = BreakerConfig{
		Window: Duration(d.Breaker.Window), MinRequests: d.Breaker.MinRequests, FailureRatio: d.Breaker.FailureRatio,
		OpenFor: Duration(d.Breaker.OpenFor), HalfOpen: d.Breaker.HalfOpen,
	}
	return h
}

// filledIn is the webhook with its defaults.
func (w WebhookConfig) filledIn() WebhookConfig {
	h, _ := w.hook(nil) // what is wrong with it is said elsewhere
	w.Timeout, w.MaxAge, w.Batch, w.Concurrency = Duration(h.Timeout), Duration(h.MaxAge), h.Batch, h.Concurrency
	setDefault(&w.DeadLetters, deadLetters+w.Name)
	return w
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// redactURLs is auth.RedactURL of each of several addresses, separated by commas.
func redactURLs(list string) string {
	urls := strings.Split(list, ",")
	for i, s := range urls {
		urls[i] = auth.RedactURL(strings.TrimSpace(s))
	}
	return strings.Join(urls, ",")
}
