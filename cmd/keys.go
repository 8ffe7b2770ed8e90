package cmd

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/rivulet-rt/rivulet/auth"
)

// keyCommands are the commands for the API keys that nodes keep in the log.
func keyCommands(s Streams) []*cobra.Command {
	return []*cobra.Command{newKeyCreate(s), newKeyList(s), newKeyRevoke(s)}
}

// storedKey is an API key as a node shows it.
type storedKey struct {
	Name         string                   `json:"name"`
	Capabilities map[string][]auth.Action `json:"capabilities"`
	Publishes    int                      `json:"publishes,omitempty"`
	Expires      int64                    `json:"expires,omitempty"`
	Created      int64                    `json:"created,omitempty"`
	CreatedBy    string                   `json:"created_by,omitempty"`
	LastUsed     int64                    `json:"last_used,omitempty"`
	Key          string                   `json:"key,omitempty"`
}

func newKeyCreate(s Streams) *cobra.Command {
	var (
		client    clientFlags
		name      string
		allow     []string
		publishes int
		expires   Duration
	)
	cmd := &cobra.Command{
		Use: "create --name NAME --allow PATTERN=ACTIONS", Short: "Have the nodes make and keep an API key, and print it once",
		Long: `Has a node make an API key, which all nodes accept within a second, and prints it. It is
not shown again: nodes keep its hash alone. The token needs the action manage on "*:>",
and every action that the key is given, on the same channels.`,
		Example: `  rivulet key create --name ci --allow 'builds:>=publish' --publishes 100 --expires 90d`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && name == "" {
				return usagef("create takes the name as a flag: --name %s; see: %s --help", args[0], cmd.CommandPath())
			}
			return arguments(0, 0, "no arguments")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			caps, err := parseAllow(allow)
			switch {
			case err != nil:
				return err
			case name == "":
				return usagef("--name: is missing; it says who publishes, for example --name ci")
			case publishes < 0:
				return usagef("--publishes %d: must not be negative", publishes)
			case expires < 0:
				return usagef("--expires %v: must be above 0; leave it out for a key that does not expire", expires)
			}
			n, err := client.connect(s.Environ)
			if err != nil {
				return err
			}
			req := storedKey{Name: name, Capabilities: caps, Publishes: publishes}
			if expires > 0 {
				req.Expires = time.Now().Add(time.Duration(expires)).UnixMilli()
			}
			var made storedKey
			if err := n.ask(cmd.Context(), http.MethodPost, "/v1/keys", nil, req, &made); err != nil {
				return err
			}
			fmt.Fprintln(s.Err, "this is the only time that the key is shown:")
			_, err = fmt.Fprintln(s.Out, made.Key)
			return err
		},
	}
	client.add(cmd)
	fs := cmd.Flags()
	fs.StringVar(&name, "name", "", "the key's `name`, also who it publishes as: 1 to 64 of A-Z, a-z, 0-9, _ and -")
	fs.StringArrayVar(&allow, "allow", nil, "what it may do, as `pattern=actions`; may be repeated")
	fs.IntVar(&publishes, "publishes", 0, "publish at most so `many` messages a second; 0 leaves it to the configuration")
	fs.TextVar(&expires, "expires", expires, "`time` until it ends, e.g. 90d; 0s is never")
	return cmd
}

func newKeyList(s Streams) *cobra.Command {
	var client clientFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List the API keys that the nodes keep",
		Long: `Lists the API keys that are kept in the log; those of the configuration are not among
them. LAST USED is what the node that is asked knows since its start, to the minute. The
token needs the action manage on "*:>".`,
		Example: "  rivulet key list",
		Args:    arguments(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := client.connect(s.Environ)
			if err != nil {
				return err
			}
			var page struct{ Keys []storedKey }
			if err := n.ask(cmd.Context(), http.MethodGet, "/v1/keys", nil, nil, &page); err != nil {
				return err
			}
			return printKeys(s.Out, page.Keys)
		},
	}
	client.add(cmd)
	return cmd
}

func printKeys(out io.Writer, keys []storedKey) error {
	table := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tALLOWED\tPUBLISHES\tCREATED\tBY\tEXPIRES\tLAST USED")
	for _, k := range keys {
		limit := "-"
		if k.Publishes > 0 {
			limit = fmt.Sprintf("%d/s", k.Publishes)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.Name, allowed(k.Capabilities), limit,
			moment(k.Created), orDash(k.CreatedBy), expiry(k.Expires, time.Now()), momentOrDash(k.LastUsed))
	}
	return table.Flush()
}

// allowed writes capabilities as --allow reads them.
func allowed(caps map[string][]auth.Action) string {
	var list []string
	for pattern, actions := range caps {
		names := make([]string, len(actions))
		for i, a := range actions {
			names[i] = string(a)
		}
		list = append(list, pattern+"="+strings.Join(names, ","))
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func momentOrDash(millis int64) string {
	if millis == 0 {
		return "-"
	}
	return moment(millis)
}

// expiry is when a key ends, and that it has where it has: such a key is listed for a day.
func expiry(millis int64, now time.Time) string {
	if millis != 0 && millis <= now.UnixMilli() {
		return moment(millis) + " (ended)"
	}
	return momentOrDash(millis)
}

func newKeyRevoke(s Streams) *cobra.Command {
	var client clientFlags
	cmd := &cobra.Command{
		Use: "revoke NAME", Short: "Revoke an API key that the nodes keep",
		Long: `Revokes an API key: it is refused from now on, on all nodes within a second, and the
connections that use it are closed. A key of the configuration is removed there. The
token needs the action manage on "*:>".`,
		Example: "  rivulet key revoke ci",
		Args:    arguments(1, 1, "the name of a key"),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := client.connect(s.Environ)
			if err != nil {
				return err
			}
			var done json.RawMessage
			if err := n.ask(cmd.Context(), http.MethodDelete, "/v1/keys/"+url.PathEscape(args[0]), nil, nil, &done); err != nil {
				return err
			}
			return printLine(s.Out, done)
		},
	}
	client.add(cmd)
	return cmd
}

// revokeFlags are what `rivulet revoke` was told.
type revokeFlags struct {
	client       clientFlags
	user         string
	tokenID      string
	issuedBefore string
	everybody    bool
	expires      Duration
	reason       string
	undo         bool
}

// revocation is one as a node shows it, and takes it.
type revocation struct {
	TokenID      string `json:"token_id,omitempty"`
	User         string `json:"user,omitempty"`
	IssuedBefore int64  `json:"issued_before,omitempty"`
	Expires      int64  `json:"expires,omitempty"`
	Reason       string `json:"reason,omitempty"`
	Created      int64  `json:"created,omitempty"`
	RevokedBy    string `json:"revoked_by,omitempty"`
}

func newRevoke(s Streams) *cobra.Command {
	var f revokeFlags
	cmd := &cobra.Command{
		Use:   "revoke (--user USER | --token-id ID | --issued-before TIME | --everybody)",
		Short: "Revoke tokens before they expire, and close their connections",
		Long: `Revokes one token, by its "jti"; those of a user that were issued until now, or before
--issued-before; or with --issued-before alone, or --everybody, everybody's. Within a second all nodes
refuse them and close the connections that use them. It is remembered until the last of
these tokens has expired. With --undo it is taken back.

API keys are not affected: see rivulet key revoke. The token needs the action manage on
"*:>"; one that was itself issued before the time is revoked with the others.`,
		Example: `  rivulet revoke --user ann --reason 'laptop stolen'
  rivulet revoke --token-id 7f3a
  rivulet revoke --issued-before 2026-01-31T12:00:00Z
  rivulet revoke --undo --user ann
  rivulet revoke --undo --everybody`,
		Args: arguments(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := f.revocation(time.Now())
			if err != nil {
				return err
			}
			n, err := f.client.connect(s.Environ)
			if err != nil {
				return err
			}
			var done json.RawMessage
			if f.undo {
				err = n.ask(cmd.Context(), http.MethodDelete, "/v1/revocations", f.query(), nil, &done)
			} else {
				err = n.ask(cmd.Context(), http.MethodPost, "/v1/revocations", nil, body, &done)
			}
			if err != nil {
				return err
			}
			if f.expires > 0 && f.expires < Duration(defaultTokenLifetime) && !f.undo {
				fmt.Fprintf(s.Err, "mind that in %v these tokens are good again, as far as they have not expired by then; without --expires none is\n", f.expires)
			}
			return printLine(s.Out, done)
		},
	}
	f.client.add(cmd)
	fs := cmd.Flags()
	fs.StringVar(&f.user, "user", "", "the `user` whose tokens are revoked: their subject")
	fs.StringVar(&f.tokenID, "token-id", "", "the `id` of the one token: its \"jti\"")
	fs.StringVar(&f.issuedBefore, "issued-before", "", "a `time`: now, how long ago like 1h, or like 2026-01-31T12:00:00Z")
	fs.TextVar(&f.expires, "expires", f.expires, "`time` after which it is forgotten, and tokens that have not expired are good again; 0s is when all have")
	fs.BoolVar(&f.everybody, "everybody", false, "the tokens of all users, issued until now or before --issued-before")
	fs.StringVar(&f.reason, "reason", "", "why, for `people`, at most 256 bytes")
	fs.BoolVar(&f.undo, "undo", false, "take back what was revoked of the user, the token or everybody")
	return cmd
}

func (f *revokeFlags) revocation(now time.Time) (revocation, error) {
	r := revocation{TokenID: f.tokenID, User: f.user, Reason: f.reason}
	switch {
	case f.tokenID != "" && (f.user != "" || f.issuedBefore != "" || f.everybody):
		return r, usagef("--token-id: is for one token; give it alone")
	case f.user != "" && f.everybody:
		return r, usagef("--user and --everybody exclude each other")
	case f.tokenID == "" && f.user == "" && f.issuedBefore == "" && !f.everybody:
		return r, usagef("give --user, --token-id, --issued-before or --everybody, to say which tokens are meant")
	case f.expires < 0:
		return r, usagef("--expires %v: must be above 0", f.expires)
	}
	if f.expires > 0 {
		r.Expires = now.Add(time.Duration(f.expires)).UnixMilli()
	}
	if f.issuedBefore == "" && !f.everybody {
		return r, nil
	}
	before := now
	if f.issuedBefore != "now" && f.issuedBefore != "" {
		var ago Duration
		at, err := time.Parse(time.RFC3339, f.issuedBefore)
		switch {
		case err == nil:
			before = at
		case ago.UnmarshalText([]byte(f.issuedBefore)) == nil && ago > 0:
			before = now.Add(-time.Duration(ago))
		default:
			return r, usagef("--issued-before %q: write now, how long ago like 90s, 1h or 7d, or a time like 2026-01-31T12:00:00Z", f.issuedBefore)
		}
	}
	// Tokens are issued in whole seconds: one of the second that has begun is revoked too.
	r.IssuedBefore = before.Add(time.Second - 1).Unix()
	return r, nil
}

// query says what is taken back.
func (f *revokeFlags) query() url.Values {
	switch {
	case f.tokenID != "":
		return url.Values{"token_id": {f.tokenID}}
	case f.user != "":
		return url.Values{"user": {f.user}}
	}
	return url.Values{"everybody": {"true"}}
}

func newRevocations(s Streams) *cobra.Command {
	var client clientFlags
	cmd := &cobra.Command{
		Use: "revocations", Short: "List the revocations in force",
		Long: `Prints what is revoked, one line of JSON each: that of everybody first, then by user, then
by token. The token needs the action manage on "*:>".`,
		Example: "  rivulet revocations",
		Args:    arguments(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := client.connect(s.Environ)
			if err != nil {
				return err
			}
			for after := 0; ; {
				var page struct {
					Revocations []json.RawMessage
					Next        int
				}
				query := url.Values{"after": {fmt.Sprint(after)}}
				if err := n.ask(cmd.Context(), http.MethodGet, "/v1/revocations", query, nil, &page); err != nil {
					return err
				}
				if err := printAll(s.Out, page.Revocations); err != nil {
					return err
				}
				if after = page.Next; after == 0 {
					return nil
				}
			}
		},
	}
	client.add(cmd)
	return cmd
}
