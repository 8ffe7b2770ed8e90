package cmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
)

// tokenOptions are what rivulet token is given.
type tokenOptions struct {
	node      nodeFlags
	claims    auth.Claims
	allow     []string
	ttl       Duration
	keyFile   string
	algorithm string
	keyID     string
	issuer    string
	audience  string
}

func newToken(s Streams) *cobra.Command {
	o := tokenOptions{ttl: Duration(time.Hour)}
	cmd := &cobra.Command{
		Use:   "token --allow PATTERN=ACTIONS",
		Short: "Make a client token, signed with the configured secret or a private key",
		Long: `Makes a token (JWT) for a client and prints it. It is signed with auth.hmac.secret, or
with --key, a private key whose public one is under auth.tokens. Your application does
the same when a user logs in; this command is for trying out.

A pattern names channels: * stands for one segment, > for the rest, ${sub} for the
subject. Actions: subscribe, publish, history, presence, manage.

With --channel it is a subscription token, which allows one subscription where the
client's own token does not; --history and --presence allow these on the channel too.`,
		Example: `  rivulet token --sub ann --allow 'chat:>=subscribe,publish' --allow 'user:${sub}=subscribe'
  rivulet token --sub ann --allow 'user:${sub}=subscribe' --subscribe 'user:${sub}' --meta '{"name":"Ann"}'
  rivulet token --sub ann --channel chat:private --ttl 5m
  rivulet token --sub ann --allow 'chat:>=subscribe' --key issuer.pem --algorithm ES256 --issuer https://login.example
  rivulet subscribe chat:lobby --token "$(rivulet token --sub ann --allow 'chat:>=subscribe')"`,
		Args: arguments(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.read(cmd); err != nil {
				return err
			}
			cfg, err := o.node.load(cmd, s.Environ)
			if err != nil {
				return err
			}
			token, err := o.mint(cfg)
			if err != nil {
				return usagef("%w", err)
			}
			_, err = fmt.Fprintln(s.Out, token)
			return err
		},
	}
	o.node.add(cmd)
	hide(cmd, "listen", "data", "nats-url", "sync", "disk-budget", "log-format", "log-level", "dev")
	cmd.Flags().Lookup("set").Usage = "any other `key=value` of the configuration, e.g. --set auth.hmac.secret_file=FILE; may be repeated"
	o.add(cmd)
	return cmd
}

func (o *tokenOptions) add(cmd *cobra.Command) {
	f, c := cmd.Flags(), &o.claims
	f.StringVar(&c.Subject, "sub", "", "the `subject`: who the client is")
	f.StringVar(&c.Info, "meta", "", "what others see of the client where it is subscribed, any `JSON` of at most 1 KiB")
	f.StringVar(&c.Info, "info", "", "the same as --meta")
	f.Lookup("info").Hidden = true
	f.StringVar(&c.TokenID, "jti", "", "the `id` of the token, by which it alone can be revoked")
	f.StringArrayVar(&o.allow, "allow", nil, "what it may do, as `pattern=actions`; may be repeated")
	f.StringArrayVar(&c.Channels, "subscribe", nil, "a `channel` that the client is subscribed to when it connects; may be repeated")
	f.StringVar(&c.Channel, "channel", "", "make a subscription token for this `channel` or pattern")
	f.Bool("history", false, "with --channel, allow history on it")
	f.Bool("presence", false, "with --channel, allow presence on it")
	f.TextVar(&o.ttl, "ttl", o.ttl, "`time` that it is valid, e.g. 15m or 12h; at most auth.max_token_lifetime")
	f.IntVar(&c.Limits.Subscriptions, "max-subscriptions", 0, "the `most` subscriptions of the client; 0 leaves it to the node, as with those below")
	f.IntVar(&c.Limits.Commands, "max-commands", 0, "the `most` commands a second")
	f.IntVar(&c.Limits.Publishes, "max-publishes", 0, "the `most` publishes a second")
	f.Int64Var(&c.Limits.OutboundBytes, "max-outbound-bytes", 0, "the `most` bytes a second to the client")
	f.StringVar(&o.keyFile, "key", "", "sign with the private key in this `file` (PEM) instead of the secret")
	f.StringVar(&o.algorithm, "algorithm", "", "the `algorithm` of --key: RS256, PS256, ES256, EdDSA and so on; needed where the key does not say")
	f.StringVar(&o.keyID, "kid", "", "the `id` of --key in its issuer's key set")
	f.StringVar(&o.issuer, "issuer", "", "with --key, the token's `iss`")
	f.StringVar(&o.audience, "audience", "", "with --key, the token's `aud`")
}

// read turns the flags into claims.
func (o *tokenOptions) read(cmd *cobra.Command) error {
	var caps map[string][]auth.Action
	var err error
	switch c := o.claims.Channel; {
	case c == "" && (cmd.Flags().Changed("history") || cmd.Flags().Changed("presence")):
		return usagef("--history and --presence: are for --channel; write --allow 'PATTERN=subscribe,history,presence'")
	case c == "":
		if caps, err = parseAllow(o.allow); err != nil {
			return err
		}
	case len(o.allow) > 0 || len(o.claims.Channels) > 0 || o.claims.Info != "" || !o.claims.Limits.IsZero():
		return usagef("--channel: makes a token for one subscription, which has no --allow, --subscribe, --meta or --max-...")
	default:
		if !strings.Contains(c, ":") {
			o.claims.Channel = fanout.DefaultNamespace + ":" + c
		}
		caps = map[string][]auth.Action{c: {auth.Subscribe}}
		for flag, action := range map[string]auth.Action{"history": auth.History, "presence": auth.Presence} {
			if on, _ := cmd.Flags().GetBool(flag); on {
				caps[c] = append(caps[c], action)
			}
		}
	}
	if o.claims.Capabilities, err = auth.NewCapabilities(caps); err != nil {
		return usagef("--%s: %w", map[bool]string{true: "allow", false: "channel"}[o.claims.Channel == ""], err)
	}
	for name, n := range map[string]int64{
		"subscriptions": int64(o.claims.Limits.Subscriptions), "commands": int64(o.claims.Limits.Commands),
		"publishes": int64(o.claims.Limits.Publishes), "outbound-bytes": o.claims.Limits.OutboundBytes,
	} {
		if n < 0 {
			return usagef("--max-%s %d: must not be below 0", name, n)
		}
	}
	if o.ttl <= 0 {
		return usagef("--ttl %v: must be above 0; every token expires", o.ttl)
	}
	if o.keyFile == "" && (o.algorithm != "" || o.keyID != "" || o.issuer != "" || o.audience != "") {
		return usagef("--algorithm, --kid, --issuer and --audience: are for --key; with the secret, auth.hmac says them")
	}
	return nil
}

func (o *tokenOptions) mint(cfg Config) (string, error) {
	o.claims.ExpiresAt = time.Now().Add(time.Duration(o.ttl))
	if most := time.Duration(cfg.Auth.MaxTokenLifetime); most > 0 && time.Duration(o.ttl) > most {
		return "", fmt.Errorf("--ttl %v: a node refuses tokens that live longer than auth.max_token_lifetime, %v", o.ttl, Duration(most))
	}
	if o.keyFile != "" {
		return o.mintWithKey()
	}
	if cfg.Dev {
		return "", fmt.Errorf("a node that runs with --dev needs no token")
	}
	a, err := cfg.authConfig()
	if err != nil && !errors.Is(err, ErrNoAuth) {
		return "", err
	}
	if a.HMAC.Secret.IsZero() {
		return "", fmt.Errorf("auth.hmac.secret: is not set, and tokens are signed with it; give the node's --config or RIVULET_AUTH_HMAC_SECRET, or the issuer's private key with --key")
	}
	return auth.Mint(a.HMAC, o.claims)
}

func (o *tokenOptions) mintWithKey() (string, error) {
	text, err := readFile("--key", o.keyFile, maxKeyFile)
	if err != nil {
		return "", err
	}
	key, err := auth.ParsePrivateKey(text)
	if err != nil {
		return "", fmt.Errorf("--key: %w", err)
	}
	if o.algorithm == "" {
		if o.algorithm = auth.AlgorithmOf(key); o.algorithm == "" {
			return "", fmt.Errorf("--algorithm: is missing, and an RSA key signs with RS256 or PS256 and so on; say which one")
		}
	}
	return auth.Signer{Algorithm: o.algorithm, Key: key, KeyID: o.keyID, Issuer: o.issuer, Audience: o.audience}.Mint(o.claims)
}

// parseAllow reads "pattern=action,action" entries.
func parseAllow(entries []string) (map[string][]auth.Action, error) {
	if len(entries) == 0 {
		return nil, usagef("--allow: is missing, so nothing would be allowed; write for example --allow 'chat:>=subscribe,publish'")
	}
	caps := map[string][]auth.Action{}
	for _, entry := range entries {
		i := strings.LastIndex(entry, "=")
		if i < 1 {
			return nil, usagef("--allow %q: write pattern=actions, for example 'chat:>=subscribe,publish'", entry)
		}
		for action := range strings.SplitSeq(entry[i+1:], ",") {
			caps[entry[:i]] = append(caps[entry[:i]], auth.Action(strings.TrimSpace(action)))
		}
	}
	return caps, nil
}

func newKey(s Streams) *cobra.Command {
	var allow []string
	cmd := &cobra.Command{
		Use:   "key NAME --allow PATTERN=ACTIONS",
		Short: "Make, list and revoke API keys of publishers",
		Long: `Looks after API keys of back ends that publish. With create, list and revoke it is
about those that running nodes keep in the log.

With a NAME alone it speaks to no node: it makes a random key, prints it, which is shown
only here, and the entry for auth.keys of the configuration, which has only the key's
hash. Such a key has no limit and no end of its own, as keys that nodes keep may have.`,
		Example: `  rivulet key create --name shop --allow 'orders:>=publish'
  rivulet key list
  rivulet key revoke shop
  rivulet key shop --allow 'orders:>=publish'   # for the configuration`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && !cmd.Flags().Changed("allow") {
				return usagef("%w; a NAME, for a key of the configuration, needs --allow", noCommand(cmd, args[0]))
			}
			return arguments(1, 1, "the name of the key")(cmd, args)
		},
		RunE: func(_ *cobra.Command, args []string) error {
			caps, err := parseAllow(allow)
			if err != nil {
				return err
			}
			key := auth.NewKey()
			entry := auth.KeyConfig{Name: args[0], SHA256: auth.HashKey(key), Capabilities: caps}
			if err := entry.Validate(); err != nil {
				return usagef("%w", err)
			}
			return printKey(s.Out, key, entry)
		},
	}
	cmd.Flags().StringArrayVar(&allow, "allow", nil, "what it may do, as `pattern=actions`; may be repeated")
	cmd.AddCommand(keyCommands(s)...)
	return cmd
}

func printKey(w io.Writer, key auth.Secret, entry auth.KeyConfig) error {
	var caps strings.Builder
	enc := json.NewEncoder(&caps)
	enc.SetEscapeHTML(false) // > is all over patterns
	if err := enc.Encode(entry.Capabilities); err != nil {
		return fmt.Errorf("print the capabilities: %w", err)
	}
	_, err := fmt.Fprintf(w, "key: %s\n\nauth:\n  keys:\n    - name: %s\n      sha256: %s\n      capabilities: %s",
		key.Reveal(), entry.Name, entry.SHA256, caps.String())
	return err
}
