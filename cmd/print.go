package cmd

import (
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// printConfig writes the configuration as it is in effect, as a file for --config could
// have it, without what is secret.
func printConfig(w io.Writer, cfg Config) error {
	cfg.Broker.NATSURL = redactURLs(cfg.Broker.NATSURL)
	if cfg.Broker.NATSURLFile != "" {
		cfg.Broker.NATSURL = "" // one of them is all that may be set
	}
	cfg.Webhooks = slices.Clone(cfg.Webhooks)
	for i := range cfg.Webhooks {
		cfg.Webhooks[i].URL = redactURLs(cfg.Webhooks[i].URL)
	}
	cfg.Auth.ConnectHook.Hook.URL = redactURLs(cfg.Auth.ConnectHook.Hook.URL)
	cfg.Namespaces = maps.Clone(cfg.Namespaces)
	for name, n := range cfg.Namespaces {
		n.Hooks.Subscribe.URL = redactURLs(n.Hooks.Subscribe.URL)
		n.Hooks.Publish.URL = redactURLs(n.Hooks.Publish.URL)
		cfg.Namespaces[name] = n
	}
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(cfg); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	return enc.Close()
}

// redactURLs takes out of addresses, separated by commas, who they are for: the user as
// well, as a token may be in its place, and the query.
func redactURLs(list string) string {
	if list == "" {
		return ""
	}
	urls := strings.Split(list, ",")
	for i, s := range urls {
		u, err := url.Parse(strings.TrimSpace(s))
		if err != nil {
			urls[i] = "[redacted]"
			continue
		}
		if u.User != nil {
			u.User = url.User("redacted")
		}
		if u.RawQuery != "" {
			u.RawQuery = "redacted"
		}
		urls[i] = u.String()
	}
	return strings.Join(urls, ",")
}
