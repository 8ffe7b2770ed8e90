package cmd

import (
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"strings"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/cmd/edge"
)

// rightsInsecurities are credentials and hooks that allow more than anybody should have who
// can lose them.
func rightsInsecurities(a AuthConfig) []string {
	var list []string
	look := func(key string, caps map[string][]auth.Action, whose string) {
		// One that is not valid is a problem, and no warning.
		if c, err := auth.NewCapabilities(caps); err == nil && c.AllowsSome(auth.Manage) {
			list = append(list, key+": allows manage, "+whose+"; whoever has it can purge channels, and with it on all of them, *:>, make keys, revoke tokens and disconnect users")
		}
	}
	for i, k := range a.Keys {
		look(fmt.Sprintf("auth.keys[%d].capabilities", i), k.Capabilities, "to a key that no end is set for")
	}
	for i, t := range a.Tokens {
		look(fmt.Sprintf("auth.tokens[%d].capabilities", i), t.Capabilities, "to every token of the issuer that has no caps")
	}
	for i, c := range a.Certificates {
		look(fmt.Sprintf("auth.certificates[%d].capabilities", i), c.Capabilities, "to whoever has the certificate's key")
	}
	look("auth.connect_hook.grants", a.ConnectHook.Grants, "to whomever the hook likes")
	return list
}

// limitInsecurities are limits that are off.
func limitInsecurities(cfg Config) []string {
	var list []string
	have, usual := reflect.ValueOf(cfg.Limits), reflect.ValueOf(defaultLimits())
	for i := range have.NumField() {
		f := have.Type().Field(i)
		if have.Field(i).Kind() != reflect.Slice && have.Field(i).IsZero() && !usual.Field(i).IsZero() {
			list = append(list, fmt.Sprintf("limits.%s: is off, so that one caller can take what all others need; the default is %v", keyOf(f), usual.Field(i)))
		}
	}
	local := false
	for i, text := range cfg.Limits.Exempt {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			continue // a problem, and no warning
		}
		if p.Bits() == 0 {
			list = append(list, fmt.Sprintf("limits.exempt[%d]: %s is everybody, so that no address has a limit", i, text))
		}
		local = local || p.Contains(netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	}
	if l := cfg.Limits; l.IPv6Prefix > 64 {
		list = append(list, fmt.Sprintf("limits.ipv6_prefix: with %d, who has one network of IPv6 (/64, as everybody has) is as many callers as they like", l.IPv6Prefix))
	}
	if local && !cfg.Dev && !reachable(cfg.ListenAddress()) && len(cfg.Server.TrustedProxies) == 0 {
		list = append(list, "server.trusted_proxies: is empty, and only a proxy on this machine can forward others to "+cfg.ListenAddress()+
			"; their addresses are not known then, and all of them are limits.exempt. List 127.0.0.1 where there is one")
	}
	return list
}

// logInsecurities are those of where messages are kept.
func logInsecurities(b BrokerConfig) []string {
	var list []string
	if b.NATSURL != "" && b.NATSCredentials == "" && !strings.Contains(b.NATSURL, "@") {
		list = append(list, "broker.nats_url: has no user, and nats_credentials is not set; whoever reaches servers that ask for none can read and write all messages, keys and revocations")
	}
	if b.NATSURL == "" && readableByOthers(b.Data) {
		list = append(list, "broker.data: other users can look into "+b.Data+", where all messages are; chmod 700 it")
	}
	return list
}

// originInsecurities are sites that somebody else may speak for.
func originInsecurities(origins []string) []string {
	var list []string
	for i, entry := range origins {
		u, err := url.Parse(strings.Replace(strings.TrimSuffix(entry, ":*"), "://*.", "://", 1))
		if err != nil || u.Host == "" {
			continue // "*", or a problem
		}
		if u.Scheme == "http" && !isLoopback(u.Hostname()) {
			list = append(list, fmt.Sprintf("session.origins[%d]: %s is not encrypted; whoever is on the way to it can change its pages", i, entry))
		}
		if strings.Contains(entry, "://*.") && !strings.Contains(u.Hostname(), ".") {
			list = append(list, fmt.Sprintf("session.origins[%d]: %s is every site of a whole domain of others", i, entry))
		}
	}
	return list
}

// secretInsecurities are secrets of hooks and webhooks that can be guessed: what is signed
// with one tells whether a guess was right.
func secretInsecurities(cfg Config) []string {
	var list []string
	look := func(key string, secret auth.Secret, file string) {
		if file != "" {
			secret, _ = readSecret(key, file) // that it cannot be read is a problem, and no warning
		}
		if why := guessable(secret.Reveal()); why != "" && !secret.IsZero() {
			list = append(list, key+".secret: "+why+", and whoever sees one request can try out secrets at leisure; make one with: openssl rand -hex 32")
		}
	}
	for _, h := range cfg.hooks() {
		look(h.key, h.Secret, h.SecretFile)
	}
	for _, w := range cfg.Webhooks {
		look("webhooks."+w.Name, w.Secret, w.SecretFile)
	}
	return list
}

// shownSecrets are secrets where other users can see them: in the configuration's file, and on
// the command line.
func (c Config) shownSecrets() []string {
	var list []string
	if info, err := os.Stat(c.secretsIn); c.secretsIn != "" && err == nil && edge.Exposed(info) {
		list = append(list, c.secretsIn+": has secrets in it and can be read by other users; chmod 600 it, or put them into files of their own")
	}
	root := reflect.ValueOf(c)
	for _, key := range sortedKeys(c.sources) {
		if source := c.sources[key]; !strings.HasPrefix(source, "--") {
			continue
		}
		if v, ok := fieldAt(root, key); ok && (holdsSecret(v) || key == "broker.nats_url" && strings.Contains(v.String(), "@")) {
			list = append(list, key+": other users of this machine can see it in the list of processes; put it into a file or the environment")
		}
	}
	return list
}

// holdsSecret reports whether there is a secret in a value.
func holdsSecret(v reflect.Value) bool {
	if s, ok := reflect.TypeAssert[auth.Secret](v); ok {
		return !s.IsZero()
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() && holdsSecret(v.Field(i)) {
				return true
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if holdsSecret(v.Index(i)) {
				return true
			}
		}
	case reflect.Map:
		for _, value := range v.Seq2() {
			if holdsSecret(value) {
				return true
			}
		}
	default: // no value of another kind holds one
	}
	return false
}
