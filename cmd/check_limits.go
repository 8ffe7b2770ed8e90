package cmd

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/rivulet-rt/rivulet/auth"
)

// widest are the shortest prefixes of exempt that are still somebody's own network.
const (
	widestIPv4 = 8
	widestIPv6 = 16
)

// limitWarnings are the limits that hold nobody any more.
func (c Config) limitWarnings() []string {
	var list []string
	l, d := c.Limits, defaultLimits()
	for i, text := range l.Exempt {
		p, err := netip.ParsePrefix(text)
		if err == nil && (p.Addr().Is4() && p.Bits() < widestIPv4 || p.Addr().Is6() && p.Bits() < widestIPv6) {
			list = append(list, fmt.Sprintf("limits.exempt[%d]: %s are so many addresses that next to nobody is limited as one", i, text))
		}
	}
	for _, limit := range []struct {
		key          string
		value, usual int
		what         string
	}{
		{"handshakes_per_ip", l.HandshakesPerIP, d.HandshakesPerIP, "one address may connect as often as it can"},
		{"handshakes", l.Handshakes, d.Handshakes, "all who come back at once are let in at once"},
		{"connections_per_ip", l.ConnectionsPerIP, d.ConnectionsPerIP, "one address may take all connections"},
		{"connections_per_user", l.ConnectionsPerUser, d.ConnectionsPerUser, "one user may take all connections"},
		{"commands", l.Commands, d.Commands, "one client may send as much as it can"},
		{"publishes_per_user", l.PublishesPerUser, d.PublishesPerUser, "one user may publish as much as it can"},
		{"publishes_per_key", l.PublishesPerKey, d.PublishesPerKey, "one API key may publish as much as it can"},
		{"reads_per_caller", l.ReadsPerCaller, d.ReadsPerCaller, "one caller may read as much of the log as it can"},
	} {
		if limit.value == 0 && limit.usual != 0 {
			list = append(list, fmt.Sprintf("limits.%s: 0 is no limit: %s; the default is %d", limit.key, limit.what, limit.usual))
		}
	}
	return list
}

// everyChannel is the pattern of what operators may do.
const everyChannel = "*:>"

// operatorWarnings are those who may operate the whole node by what the configuration
// gives them, which few need.
func (c Config) operatorWarnings() []string {
	var list []string
	warn := func(key string, caps map[string][]auth.Action) {
		for pattern, actions := range caps {
			if pattern == everyChannel && slices.Contains(actions, auth.Manage) {
				list = append(list, fmt.Sprintf("%s: manage on %q may make API keys, revoke tokens and purge every channel; give it to operators alone", key, everyChannel))
			}
		}
	}
	for i, k := range c.Auth.Keys {
		warn(fmt.Sprintf("auth.keys[%d].capabilities", i), k.Capabilities)
	}
	for i, t := range c.Auth.Tokens {
		warn(fmt.Sprintf("auth.tokens[%d].capabilities", i), t.Capabilities)
	}
	for i, id := range c.Auth.Certificates {
		warn(fmt.Sprintf("auth.certificates[%d].capabilities", i), id.Capabilities)
	}
	warn("auth.connect_hook.grants", c.Auth.ConnectHook.Grants)
	return list
}

// secretsInside are the keys whose secrets are in the file itself.
func (c Config) secretsInside() []string {
	var keys []string
	look := func(key string, s auth.Secret) {
		head, _, _ := strings.Cut(key, ".")
		if !s.IsZero() && c.sources[key] == "" && c.sources[head] == "" {
			keys = append(keys, key)
		}
	}
	look("auth.hmac.secret", c.Auth.HMAC.Secret)
	look("auth.hmac.previous_secret", c.Auth.HMAC.PreviousSecret)
	for _, h := range c.hooks() {
		look(h.key+".secret", h.Secret)
	}
	for _, w := range c.Webhooks {
		look("webhooks."+w.Name+".secret", w.Secret)
	}
	return keys
}
