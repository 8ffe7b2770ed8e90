package webhook

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

// Hook is one webhook.
type Hook struct {
	// Name, of a-z, 0-9 and -, names its place in the log: under another name it begins anew.
	Name string
	URL  string
	// Secret signs the requests.
	Secret []byte
	Events []Type
	// Channels are the channels and patterns whose events it gets.
	Channels []fanout.Channel
	// Timeout of one request.
	Timeout time.Duration
	// MaxAge of an event until which it is sent again, at least LeastAttempts times.
	MaxAge time.Duration
	// Batch is how many events a request has at most.
	Batch int
	// Concurrency is how many requests of one node are under way at most.
	Concurrency int
	// DeadLetters is the channel of events that were given up; zero drops them.
	DeadLetters fanout.Channel
	// Insecure allows plain HTTP to other machines.
	Insecure bool
}

// Config configures an Engine.
type Config struct {
	// Node names this node among those that report to each other.
	Node  string
	Hooks []Hook
	// Undelivered has the namespaces whose channels are users' inboxes, and how long a
	// message may stay unacknowledged there.
	Undelivered map[string]time.Duration
	// VacatedAfter is how long a channel, or a member, must be gone to count as gone.
	VacatedAfter time.Duration
	// RetryLeast and RetryMost are the pauses after the first and after many failures.
	RetryLeast, RetryMost time.Duration
	// Grace is how long after it took over a partition a holder waits for the nodes to
	// tell what they have before it takes anybody for gone.
	Grace time.Duration
	// Alone says that there is no other node. Then the grace is for those alone who were
	// there before this process began, and may come back.
	Alone bool
}

// Bounds and defaults.
const (
	DefaultTimeout     = 10 * time.Second
	DefaultMaxAge      = 24 * time.Hour
	DefaultBatch       = 100
	DefaultConcurrency = 8
	// LeastAttempts is how often an event is sent at least before it is given up, and how
	// often one alone is that the receiver refuses for good.
	LeastAttempts = 3

	leastTimeout = 100 * time.Millisecond
	mostTimeout  = time.Minute
	leastAge     = time.Second
	// MostAge is below the time that a place in the log is kept without being read.
	MostAge = 72 * time.Hour
	// MostHooks is how many webhooks there may be.
	MostHooks       = 64
	mostBatch       = 1000
	mostConcurrency = 256
	mostPatterns    = 64
	leastSecret     = 16
	mostName        = 32
)

// DefaultConfig has no webhooks.
func DefaultConfig() Config {
	return Config{
		VacatedAfter: 5 * time.Second, RetryLeast: time.Second, RetryMost: 5 * time.Minute, Grace: 15 * time.Second,
	}
}

// WithDefaults fills in what is not set.
func (h Hook) WithDefaults() Hook {
	if h.Timeout == 0 {
		h.Timeout = DefaultTimeout
	}
	if h.MaxAge == 0 {
		h.MaxAge = DefaultMaxAge
	}
	if h.Batch == 0 {
		h.Batch = DefaultBatch
	}
	if h.Concurrency == 0 {
		h.Concurrency = DefaultConcurrency
	}
	return h
}

// Validate lists what is wrong with a webhook that has its defaults, each with the key,
// its value and what is right. It never shows the secret or the URL's.
func (h Hook) Validate() (errs []error) {
	check := func(ok bool, key string, value any, right string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s is %v, must be %s", key, value, right))
		}
	}
	check(validName(h.Name), "name", fmt.Sprintf("%q", h.Name), fmt.Sprintf("1 to %d characters of a-z, 0-9 and -", mostName))
	if err := checkURL(h.URL, h.Insecure); err != nil {
		errs = append(errs, fmt.Errorf("url %w", err))
	}
	switch {
	case len(h.Secret) == 0:
		errs = append(errs, errors.New("secret is not set; set secret or secret_file, for example to the output of: openssl rand -hex 32"))
	case len(h.Secret) < leastSecret:
		errs = append(errs, fmt.Errorf("secret has %d bytes, must have at least %d", len(h.Secret), leastSecret))
	}
	check(len(h.Events) > 0, "events", "empty", fmt.Sprintf("a list of some of %v", Types()))
	for i, t := range h.Events {
		check(slices.Contains(Types(), t), "events", fmt.Sprintf("%q", t), fmt.Sprintf("of %v", Types()))
		check(!slices.Contains(h.Events[:i], t), "events", fmt.Sprintf("%q twice", t), "each once")
	}
	check(len(h.Channels) > 0, "channels", "empty", `a list of channels and patterns, for example ["chat:>"]`)
	check(len(h.Channels) <= mostPatterns, "channels", fmt.Sprintf("%d patterns", len(h.Channels)), fmt.Sprintf("at most %d", mostPatterns))
	check(h.Timeout >= leastTimeout && h.Timeout <= mostTimeout, "timeout", h.Timeout, fmt.Sprintf("%v to %v", leastTimeout, mostTimeout))
	check(h.MaxAge >= leastAge && h.MaxAge <= MostAge, "max_age", h.MaxAge, fmt.Sprintf("%v to %v", leastAge, MostAge))
	check(h.Batch >= 1 && h.Batch <= mostBatch, "batch", h.Batch, fmt.Sprintf("1 to %d", mostBatch))
	check(h.Concurrency >= 1 && h.Concurrency <= mostConcurrency, "concurrency", h.Concurrency, fmt.Sprintf("1 to %d", mostConcurrency))
	check(!h.DeadLetters.IsPattern(), "dead_letters", h.DeadLetters, "one channel, without wildcards")
	return errs
}

// Validate lists what is wrong with all webhooks together, and with each.
func (c Config) Validate() error {
	var errs []error
	if len(c.Hooks) > MostHooks {
		errs = append(errs, fmt.Errorf("webhooks: there are %d, at most %d are allowed", len(c.Hooks), MostHooks))
	}
	seen := map[string]bool{}
	for _, h := range c.Hooks {
		for _, err := range h.Validate() {
			errs = append(errs, fmt.Errorf("webhooks: %s: %w", h.Name, err))
		}
		if seen[h.Name] {
			errs = append(errs, fmt.Errorf("webhooks: %s: name is used twice, must name one webhook", h.Name))
		}
		seen[h.Name] = true
	}
	return errors.Join(errs...)
}

func validName(name string) bool {
	for i := range len(name) {
		b := name[i]
		if (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '-' {
			return false
		}
	}
	return name != "" && len(name) <= mostName
}

// checkURL never repeats the URL as it is: it may hold a password.
func checkURL(s string, insecure bool) error {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return errors.New("is not set; write for example https://example.com/rivulet")
	case err != nil:
		return errors.New("is not a URL; write for example https://example.com/rivulet")
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return fmt.Errorf("is %q, must be like https://example.com/rivulet", shown(u))
	case u.Fragment != "":
		return fmt.Errorf("is %q with a fragment, which is never sent; leave out what follows #", shown(u))
	case u.Scheme == "http" && !insecure && !isLoopback(u.Hostname()):
		return fmt.Errorf("is %q, must be https: anybody on the way could read it; set insecure: true if that is meant", shown(u))
	}
	return nil
}

// shown is a URL without what may be secret in it.
func shown(u *url.URL) string {
	out := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	return out.String()
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// wants reports whether the webhook asks for any of the types.
func (h *Hook) wants(types ...Type) bool {
	return slices.ContainsFunc(types, func(t Type) bool { return slices.Contains(h.Events, t) })
}

// covers reports whether the channel is one of the webhook's.
func (h *Hook) covers(c fanout.Channel) bool {
	return slices.ContainsFunc(h.Channels, func(p fanout.Channel) bool { return p.Matches(c) })
}

// patterns are the webhook's of a namespace, by namespace.
func (h *Hook) patterns() map[string][]fanout.Channel {
	byName := map[string][]fanout.Channel{}
	for _, p := range h.Channels {
		byName[p.Namespace()] = append(byName[p.Namespace()], p)
	}
	return byName
}
