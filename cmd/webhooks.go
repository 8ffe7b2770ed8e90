package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/rivulet-rt/rivulet/api"
	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/broker/webhook"
	"github.com/rivulet-rt/rivulet/fanout"
)

// WebhookConfig is one service that is told of what happens; a zero field is the default.
type WebhookConfig struct {
	// Name names its place in the log: under another name it begins anew.
	Name string `yaml:"name"`
	URL  string `yaml:"url"`
	// Secret signs the requests; SecretFile holds it instead, a newline at its end does
	// not count.
	Secret     auth.Secret `yaml:"secret"`
	SecretFile string      `yaml:"secret_file"`
	Events     []string    `yaml:"events"`
	Channels   []string    `yaml:"channels"` // and patterns
	Timeout    Duration    `yaml:"timeout"`  // of one request
	// MaxAge of an event until which it is sent again.
	MaxAge      Duration `yaml:"max_age"`
	Batch       int      `yaml:"batch"`       // events of a request at most
	Concurrency int      `yaml:"concurrency"` // requests of a node at a time
	// DeadLetters is the channel of events that were given up, or "none".
	DeadLetters string `yaml:"dead_letters"`
	Insecure    bool   `yaml:"insecure"` // allows plain HTTP to other machines
}

// EventsConfig is about the events that wait for webhooks.
type EventsConfig struct {
	MaxAge   Duration `yaml:"max_age"`
	MaxBytes Bytes    `yaml:"max_bytes"` // reserved from the disk budget where there are webhooks
	// VacatedAfter is how long a channel, or a member, must be gone to count as gone.
	VacatedAfter Duration `yaml:"vacated_after"`
}

func defaultEvents() EventsConfig {
	e := broker.DefaultEventsConfig()
	return EventsConfig{
		MaxAge: Duration(e.MaxAge), MaxBytes: Bytes(e.MaxBytes), VacatedAfter: Duration(webhook.DefaultConfig().VacatedAfter),
	}
}

const (
	noDeadLetters = "none"
	// deadLetters is followed by the webhook's name.
	deadLetters = fanout.DefaultNamespace + ":webhook-dead-letters."

	leastEventsAge           = Duration(time.Minute)
	mostEventsAge            = 30 * Duration(day)
	leastEventsBytes   Bytes = 16 << 20
	mostVacatedAfter         = Duration(time.Hour)
	leastUndelivered         = Duration(time.Second)
	mostUndelivered          = 7 * Duration(day)
	undeliveredFlushes       = 2 // of session.flush_interval must fit into it
)

// hook makes the webhook, with its defaults, and lists what cannot be made of it. secret
// is what SecretFile holds.
func (w WebhookConfig) hook(secret []byte) (h webhook.Hook, errs []error) {
	h = webhook.Hook{
		Name: w.Name, URL: w.URL, Secret: secret, Timeout: time.Duration(w.Timeout), MaxAge: time.Duration(w.MaxAge),
		Batch: w.Batch, Concurrency: w.Concurrency, Insecure: w.Insecure,
	}.WithDefaults()
	for _, t := range w.Events {
		h.Events = append(h.Events, webhook.Type(t))
	}
	for _, text := range w.Channels {
		c, err := fanout.ParsePattern(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("channels: %w", err))
			continue
		}
		h.Channels = append(h.Channels, c)
	}
	letters := w.DeadLetters
	if letters == "" {
		letters = deadLetters + w.Name
	}
	if letters != noDeadLetters {
		c, err := fanout.ParsePattern(letters)
		if err != nil && w.DeadLetters != "" { // the default is wrong only if the name is
			errs = append(errs, fmt.Errorf("dead_letters: %w", err))
		}
		h.DeadLetters = c
	}
	return h, errs
}

// readSecret returns the secret, read from its file if that is where it is.
func (w WebhookConfig) readSecret() ([]byte, error) {
	if w.SecretFile == "" {
		return []byte(w.Secret.Reveal()), nil
	}
	text, err := os.ReadFile(w.SecretFile)
	if err != nil {
		return nil, fmt.Errorf("webhooks.%s.secret_file: %w", w.Name, err)
	}
	if len(text) > maxSecretFile {
		return nil, fmt.Errorf("webhooks.%s.secret_file: %s has %d bytes; a secret has at most %d", w.Name, w.SecretFile, len(text), maxSecretFile)
	}
	return bytes.TrimRight(text, "\r\n"), nil
}

// webhookProblems reads no files: secrets in them are checked when the node is made.
func (c Config) webhookProblems() []error {
	var errs []error
	names := map[string]bool{}
	for i, w := range c.Webhooks {
		name := w.Name
		if name == "" {
			name = fmt.Sprint(i)
		}
		for _, err := range c.problemsOf(w) {
			errs = append(errs, fmt.Errorf("webhooks.%s: %w", name, err))
		}
		if names[w.Name] {
			errs = append(errs, fmt.Errorf("webhooks.%s: the name is used twice", name))
		}
		names[w.Name] = true
	}
	e := c.Events
	if e.MaxAge < leastEventsAge || e.MaxAge > mostEventsAge {
		errs = append(errs, fmt.Errorf("events.max_age: %v must be from %v to %v", e.MaxAge, leastEventsAge, mostEventsAge))
	}
	if e.MaxBytes < leastEventsBytes {
		errs = append(errs, fmt.Errorf("events.max_bytes: %v must be at least %v", e.MaxBytes, leastEventsBytes))
	}
	if e.VacatedAfter < 0 || e.VacatedAfter > mostVacatedAfter {
		errs = append(errs, fmt.Errorf("events.vacated_after: %v must be from 0s to %v", e.VacatedAfter, mostVacatedAfter))
	}
	if most := len(c.Webhooks); most > webhook.MostHooks {
		errs = append(errs, fmt.Errorf("webhooks: there are %d, at most %d are allowed", most, webhook.MostHooks))
	}
	return errs
}

func (c Config) problemsOf(w WebhookConfig) []error {
	secret := []byte(w.Secret.Reveal())
	if w.SecretFile != "" {
		secret = bytes.Repeat([]byte{'x'}, maxSecretFile) // as good as any, until it is read
	}
	h, errs := w.hook(secret)
	if w.SecretFile != "" && !w.Secret.IsZero() {
		errs = append(errs, errors.New("secret_file: secret is set too; keep one"))
	}
	checked := h
	if len(h.Channels) < len(w.Channels) { // those that are missing were reported
		checked.Channels = make([]fanout.Channel, len(w.Channels))
	}
	errs = append(errs, checked.Validate()...)
	for _, p := range h.Channels {
		if !c.hasNamespace(p.Namespace()) {
			errs = append(errs, fmt.Errorf("channels: %s: the namespace %q is not configured under namespaces", p, p.Namespace()))
		}
	}
	if to := h.DeadLetters; !to.IsZero() && !c.hasNamespace(to.Namespace()) {
		errs = append(errs, fmt.Errorf("dead_letters: %s: the namespace %q is not configured; name a channel of one that is, or %s",
			to, to.Namespace(), noDeadLetters))
	}
	for _, t := range h.Events {
		if !c.Dev && t.Presence() && !slices.ContainsFunc(h.Channels, func(p fanout.Channel) bool { return c.Namespaces[p.Namespace()].Presence }) {
			errs = append(errs, fmt.Errorf("events: %s never happens in its channels; set presence: true in one of their namespaces", t))
		}
	}
	if slices.Contains(h.Events, webhook.MessageUndelivered) && !slices.ContainsFunc(h.Channels, func(p fanout.Channel) bool {
		return c.Namespaces[p.Namespace()].UndeliveredAfter > 0
	}) {
		errs = append(errs, fmt.Errorf("events: %s never happens in its channels; set undelivered_after in one of their namespaces", webhook.MessageUndelivered))
	}
	return errs
}

// hasNamespace reports whether channels of the namespace can exist.
func (c Config) hasNamespace(name string) bool {
	if _, ok := c.Namespaces[name]; ok || c.Dev {
		return true
	}
	return len(c.Namespaces) == 0 && name == fanout.DefaultNamespace
}

// undeliveredProblems: what was acknowledged must have been written when it is looked at.
func (n NamespaceConfig) undeliveredProblems(flush Duration) []error {
	after := n.UndeliveredAfter
	least := max(leastUndelivered, undeliveredFlushes*flush)
	switch {
	case after == 0:
		return nil
	case after < least || after > mostUndelivered:
		return []error{fmt.Errorf("undelivered_after: %v must be from %v (twice session.flush_interval, and a second) to %v, or 0 for off", after, least, mostUndelivered)}
	case n.MaxAge > 0 && after >= n.MaxAge:
		return []error{fmt.Errorf("undelivered_after: %v must be below max_age (%v)", after, n.MaxAge)}
	case n.SessionTTL > 0 && after > n.SessionTTL: // what a session acknowledged ends with it
		return []error{fmt.Errorf("undelivered_after: %v must be at most session_ttl (%v)", after, n.SessionTTL)}
	case n.SessionTTL == 0 && time.Duration(after) > broker.DefaultSessionTTL:
		return []error{fmt.Errorf("undelivered_after: %v must be at most session_ttl, which is %v where it is not set", after, Duration(broker.DefaultSessionTTL))}
	}
	return nil
}

// webhookConfig reads the files of the secrets.
func (c Config) webhookConfig(node string) (webhook.Config, error) {
	cfg := webhook.DefaultConfig()
	cfg.Node = node
	cfg.Alone = c.Broker.NATSURL == ""
	cfg.VacatedAfter = time.Duration(c.Events.VacatedAfter)
	cfg.Undelivered = map[string]time.Duration{}
	var errs []error
	for _, w := range c.Webhooks {
		secret, err := w.readSecret()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		h, _ := w.hook(secret) // was checked
		for _, err := range h.Validate() {
			errs = append(errs, fmt.Errorf("webhooks.%s: %w", w.Name, err))
		}
		cfg.Hooks = append(cfg.Hooks, h)
	}
	for name, n := range c.Namespaces {
		if n.UndeliveredAfter > 0 {
			cfg.Undelivered[name] = time.Duration(n.UndeliveredAfter)
		}
	}
	return cfg, errors.Join(errs...)
}

func (c Config) eventsConfig() broker.EventsConfig {
	cfg := broker.DefaultEventsConfig()
	cfg.MaxAge = time.Duration(c.Events.MaxAge)
	cfg.MaxBytes = int64(c.Events.MaxBytes)
	return cfg
}

// startWebhooks begins to deliver events; the engine is nil where there are no webhooks.
func (n *Node) startWebhooks(ctx context.Context, b *broker.Broker) (*webhook.Engine, error) {
	if len(n.webhooks.Hooks) == 0 {
		return nil, nil //nolint:nilnil // there is none
	}
	events, err := b.OpenEvents(ctx, n.cfg.eventsConfig())
	if err != nil {
		return nil, fmt.Errorf("open the events: %w", err)
	}
	engine := webhook.New(n.webhooks, webhook.Services{
		Log: events, Leases: events, Publisher: b, Acknowledged: b.Sessions(), Relay: events, Ledger: events,
	}, n.log, n.reg)
	engine.Start(ctx)
	n.undo.push("webhooks", engine.Stop)
	return engine, nil
}

// sessionEvents tells webhooks of durable sessions that have expired.
type sessionEvents struct{ engine *webhook.Engine }

func (s sessionEvents) SessionExpired(ctx context.Context, r *fanout.SessionRecord) error {
	return s.engine.SessionExpired(ctx, r.ID.User, r.ID.Name, r.Created, r.Names())
}

// sessionObserver is the webhooks', nil where there are none.
func sessionObserver(e *webhook.Engine) broker.SessionObserver {
	if e == nil {
		return nil
	}
	return sessionEvents{e}
}

// presenceEvents tells webhooks of who is subscribed.
type presenceEvents struct{ engine *webhook.Engine }

func (p presenceEvents) Occupied(c fanout.Channel) { p.engine.Occupied(c) }
func (p presenceEvents) Vacated(c fanout.Channel)  { p.engine.Vacated(c) }

func (p presenceEvents) MemberJoined(c fanout.Channel, m *fanout.Member) {
	p.engine.Joined(c, memberOf(m))
}

func (p presenceEvents) MemberLeft(c fanout.Channel, m *fanout.Member) {
	p.engine.Left(c, memberOf(m))
}

func memberOf(m *fanout.Member) webhook.Member {
	return webhook.Member{User: m.User, Client: m.Client.String(), Info: m.Info}
}

// presenceObserver is the webhooks', nil where none asks who is subscribed.
func (n *Node) presenceObserver(e *webhook.Engine) fanout.PresenceObserver {
	if e == nil || !n.webhooks.Wanted(webhook.ChannelOccupied, webhook.ChannelVacated, webhook.MemberJoined, webhook.MemberLeft) {
		return nil
	}
	return presenceEvents{e}
}

// webhookView shows the webhooks to the API.
type webhookView struct{ engine *webhook.Engine }

var _ api.Webhooks = webhookView{}

// Status implements api.Webhooks.
func (v webhookView) Status(ctx context.Context) ([]api.WebhookStatus, error) {
	if v.engine == nil {
		return nil, nil
	}
	list, err := v.engine.Status(ctx)
	out := make([]api.WebhookStatus, 0, len(list))
	for _, s := range list {
		events := make([]string, 0, len(s.Events))
		for _, t := range s.Events {
			events = append(events, string(t))
		}
		out = append(out, api.WebhookStatus{
			Name: s.Name, URL: s.URL, Events: events, Channels: s.Channels, State: string(s.State), Lag: s.Lag,
			LastError: s.LastError, LastErrorAt: s.LastErrorAt, NextRetry: s.NextRetry,
		})
	}
	return out, err
}

// Test implements api.Webhooks.
func (v webhookView) Test(ctx context.Context, name string) (api.WebhookTest, bool) {
	if v.engine == nil {
		return api.WebhookTest{}, false
	}
	r, ok := v.engine.Test(ctx, name)
	return api.WebhookTest(r), ok
}
