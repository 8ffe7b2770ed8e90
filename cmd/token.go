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
)

func newToken(s Streams) *cobra.Command {
	var (
		node  nodeFlags
		sub   string
		info  string
		allow []string
		ttl   = Duration(time.Hour)
	)
	cmd := &cobra.Command{
		Use:   "token --allow PATTERN=ACTIONS",
		Short: "Make a client token, signed with the configured secret",
		Long: `Makes a token (JWT) for a client, signed with auth.hmac.secret, and prints it.
Your application does the same when a user logs in; this command is for trying out.

A pattern names channels: * stands for one segment, > for the rest, ${sub} for the
subject. Actions: subscribe, publish, history, presence, manage.`,
		Example: `  rivulet token --sub ann --allow 'chat:>=subscribe,publish' --allow 'user:${sub}=subscribe'
  rivulet subscribe chat:lobby --token "$(rivulet token --sub ann --allow 'chat:>=subscribe')"`,
		Args: arguments(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			caps, err := parseAllow(allow)
			if err != nil {
				return err
			}
			capabilities, err := auth.NewCapabilities(caps)
			if err != nil {
				return usagef("--allow: %w", err)
			}
			if ttl <= 0 {
				return usagef("--ttl %v: must be above 0; every token expires", ttl)
			}
			cfg, err := node.load(cmd, s.Environ)
			if err != nil {
				return err
			}
			token, err := mint(cfg, auth.Claims{Subject: sub, Info: info, Capabilities: capabilities}, time.Duration(ttl))
			if err != nil {
				return usagef("%w", err)
			}
			_, err = fmt.Fprintln(s.Out, token)
			return err
		},
	}
	node.add(cmd)
	hide(cmd, "listen", "data", "nats-url", "sync", "disk-budget", "log-format", "log-level", "dev")
	cmd.Flags().Lookup("set").Usage = "any other `key=value` of the configuration, e.g. --set auth.hmac.secret_file=FILE; may be repeated"
	cmd.Flags().StringVar(&sub, "sub", "", "the `subject`: who the client is")
	cmd.Flags().StringVar(&info, "info", "", "what others see of the client where it is subscribed, any `JSON` of at most 1 KiB")
	cmd.Flags().StringArrayVar(&allow, "allow", nil, "what it may do, as `pattern=actions`; may be repeated")
	cmd.Flags().TextVar(&ttl, "ttl", ttl, "`time` that it is valid, e.g. 15m or 30d")
	return cmd
}

func mint(cfg Config, claims auth.Claims, ttl time.Duration) (string, error) {
	if cfg.Dev {
		return "", fmt.Errorf("a node that runs with --dev needs no token")
	}
	a, err := cfg.authConfig()
	if err != nil && !errors.Is(err, ErrNoAuth) {
		return "", err
	}
	if a.HMAC.Secret.IsZero() {
		return "", fmt.Errorf("auth.hmac.secret: is not set, and tokens are signed with it; give the node's --config or RIVULET_AUTH_HMAC_SECRET")
	}
	claims.ExpiresAt = time.Now().Add(ttl)
	return auth.Mint(a.HMAC, claims)
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
hash.`,
		Example: `  rivulet key create --name shop --allow 'orders:>=publish'
  rivulet key list
  rivulet key revoke shop
  rivulet key shop --allow 'orders:>=publish'   # for the configuration`,
		Args: arguments(1, 1, "the name of the key"),
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
