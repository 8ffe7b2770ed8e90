package cmd

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/auth/hook"
)

// HookConfig is one service that is asked; without a URL there is none. A zero field is
// the default.
type HookConfig struct {
	URL string `yaml:"url"`
	// Secret signs the requests; SecretFile holds it instead, a newline at its end does
	// not count.
	Secret     auth.Secret `yaml:"secret"`
	SecretFile string      `yaml:"secret_file"`
	Timeout    Duration    `yaml:"timeout"` // of a question, retries included
	// Retries after a connection that failed and 502 to 504; -1 is none.
	Retries     int           `yaml:"retries"`
	Concurrency int           `yaml:"concurrency"` // requests of a node at a time
	WhenOpen    string        `yaml:"when_open"`   // deny, or cached
	CacheTTL    Duration      `yaml:"cache_ttl"`
	Breaker     BreakerConfig `yaml:"breaker"`
	Insecure    bool          `yaml:"insecure"` // allows plain HTTP to other machines
}

// BreakerConfig says when a hook is left alone for a while.
type BreakerConfig struct {
	Window       Duration `yaml:"window"`
	MinRequests  int      `yaml:"min_requests"`
	FailureRatio float64  `yaml:"failure_ratio"`
	OpenFor      Duration `yaml:"open_for"`
	HalfOpen     int      `yaml:"half_open"`
}

// NamespaceHooks are the hooks of one namespace.
type NamespaceHooks struct {
	Subscribe HookConfig `yaml:"subscribe"`
	Publish   HookConfig `yaml:"publish"`
}

// ConnectHookConfig is the hook of connections.
type ConnectHookConfig struct {
	Hook HookConfig `yaml:"hook"`
	// InsteadOfToken gives the token to the hook as it is: only the hook judges it.
	InsteadOfToken bool `yaml:"instead_of_token"`
	// Headers of the handshake that the hook is told.
	Headers []string `yaml:"headers"`
	// Grants are what the hook may give beyond what the token has.
	Grants map[string][]auth.Action `yaml:"grants"`
}

const (
	connectHook    = "connect"
	subscribeHook  = "subscribe:" // the namespace follows, as below
	publishHook    = "publish:"
	noRetries      = -1
	mostHookHeader = 16
)

func defaultConnectHook() ConnectHookConfig {
	d := hook.Config{}.WithDefaults()
	return ConnectHookConfig{Hook: HookConfig{
		Timeout: Duration(d.Timeout), Retries: hook.DefaultRetries, Concurrency: d.Concurrency, WhenOpen: string(d.WhenOpen),
		CacheTTL: Duration(d.CacheTTL), Breaker: BreakerConfig{
			Window: Duration(d.Breaker.Window), MinRequests: d.Breaker.MinRequests, FailureRatio: d.Breaker.FailureRatio,
			OpenFor: Duration(d.Breaker.OpenFor), HalfOpen: d.Breaker.HalfOpen,
		},
	}}
}

// config is the hook with its defaults; secret is what SecretFile holds.
func (h HookConfig) config(name string, secret []byte) hook.Config {
	retries := h.Retries
	switch retries {
	case 0:
		retries = hook.DefaultRetries
	case noRetries:
		retries = 0
	}
	b := h.Breaker
	return hook.Config{
		Name: name, URL: h.URL, Secret: secret, Timeout: time.Duration(h.Timeout), Retries: retries,
		Concurrency: h.Concurrency, Insecure: h.Insecure, WhenOpen: hook.Policy(h.WhenOpen), CacheTTL: time.Duration(h.CacheTTL),
		Breaker: hook.Breaker{
			Window: time.Duration(b.Window), MinRequests: b.MinRequests, FailureRatio: b.FailureRatio,
			OpenFor: time.Duration(b.OpenFor), HalfOpen: b.HalfOpen,
		},
	}.WithDefaults()
}

// placedHook is a hook where it is configured.
type placedHook struct {
	key, name string
	HookConfig
}

// hooks lists those that have a URL, or anything else but no URL, which is a mistake.
func (c Config) hooks() []placedHook {
	list := []placedHook{{"auth.connect_hook.hook", connectHook, c.Auth.ConnectHook.Hook}}
	for _, name := range sortedKeys(c.Namespaces) {
		h := c.Namespaces[name].Hooks
		list = append(list, placedHook{"namespaces." + name + ".hooks.subscribe", subscribeHook + name, h.Subscribe},
			placedHook{"namespaces." + name + ".hooks.publish", publishHook + name, h.Publish})
	}
	var set []placedHook
	for _, h := range list {
		if h.HookConfig != (HookConfig{}) && h.HookConfig != defaultConnectHook().Hook {
			set = append(set, h)
		}
	}
	return set
}

// hookProblems reads no files.
func (c Config) hookProblems() []error {
	var errs []error
	for _, h := range c.hooks() {
		secret := []byte(h.Secret.Reveal())
		if h.SecretFile != "" {
			secret = bytes.Repeat([]byte{'x'}, maxSecretFile) // as good as any, until it is read
		}
		if h.SecretFile != "" && !h.Secret.IsZero() {
			errs = append(errs, fmt.Errorf("%s.secret_file: secret is set too; keep one", h.key))
		}
		for _, err := range h.config(h.name, secret).Validate() {
			if strings.HasPrefix(err.Error(), "retries:") {
				err = fmt.Errorf("retries: is %d, must be 1 to 3, or -1 for none", h.Retries)
			}
			errs = append(errs, fmt.Errorf("%s.%w", h.key, err))
		}
	}
	ch := c.Auth.ConnectHook
	if ch.Hook.URL == "" && (ch.InsteadOfToken || len(ch.Headers) > 0 || len(ch.Grants) > 0) {
		errs = append(errs, errors.New("auth.connect_hook.hook.url: is not set; set it, or leave out the rest of auth.connect_hook"))
	}
	if len(ch.Headers) > mostHookHeader {
		errs = append(errs, fmt.Errorf("auth.connect_hook.headers: are %d, at most %d are allowed", len(ch.Headers), mostHookHeader))
	}
	for _, name := range ch.Headers {
		if name == "" || strings.ContainsAny(name, " :\r\n") {
			errs = append(errs, fmt.Errorf("auth.connect_hook.headers: %q is not the name of a header", name))
		}
	}
	if _, err := auth.NewCapabilities(ch.Grants); err != nil {
		errs = append(errs, fmt.Errorf("auth.connect_hook.grants: %w", err))
	}
	return errs
}

// hookConfigs reads the files of the secrets.
func (c Config) hookConfigs() ([]hook.Config, error) {
	var list []hook.Config
	var errs []error
	for _, h := range c.hooks() {
		secret := []byte(h.Secret.Reveal())
		if h.SecretFile != "" {
			text, err := os.ReadFile(h.SecretFile)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s.secret_file: %w", h.key, err))
				continue
			}
			secret = bytes.TrimRight(text, "\r\n")
		}
		cfg := h.config(h.name, secret)
		for _, err := range cfg.Validate() {
			errs = append(errs, fmt.Errorf("%s.%w", h.key, err))
		}
		list = append(list, cfg)
	}
	return list, errors.Join(errs...)
}

// hookInsecurities says what should be known of hooks.
func (c Config) hookInsecurities() []string {
	var list []string
	for _, h := range c.hooks() {
		if h.Insecure && strings.HasPrefix(h.URL, "http:") {
			list = append(list, h.key+".insecure: anybody on the way can read what is asked, and answer it")
		}
		if readableByOthers(h.SecretFile) {
			list = append(list, h.key+".secret_file: "+h.SecretFile+" can be read by other users; chmod 600 it")
		}
		if h.WhenOpen == string(hook.Cached) && strings.HasPrefix(h.name, publishHook) {
			list = append(list, h.key+".when_open: cached answers are of the publisher and the channel, whatever the message says")
		}
	}
	ch := c.Auth.ConnectHook
	if ch.InsteadOfToken && len(ch.Grants) == 0 {
		list = append(list, "auth.connect_hook.grants: are empty, so that nobody whom the hook lets in may do anything")
	}
	if ch.InsteadOfToken {
		list = append(list, "auth.connect_hook.instead_of_token: the tokens of clients are checked by the hook alone")
	}
	for _, name := range ch.Headers {
		if n := http.CanonicalHeaderKey(name); n == "Authorization" || n == "Cookie" {
			list = append(list, "auth.connect_hook.headers: the hook is given "+n+", which is a credential")
		}
	}
	return list
}
