package cmd

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// sessionsFlags are what `rivulet sessions …` was told.
type sessionsFlags struct {
	client   clientFlags
	limit    int
	after    uint64
	channel  string
	position string
	offset   uint64
	to       string
}

func newSessions(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "List, show, reset and delete durable sessions",
		Long: `Looks after durable sessions: the positions that nodes keep for clients. The token
needs the action manage on "*:>". A USER is a token's subject; "key:" and the name
of an API key; or "-" on a node that runs --dev.`,
		Args: commandsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSessionsList(s), newSessionsShow(s), newSessionsReset(s), newSessionsDelete(s))
	return cmd
}

func newSessionsList(s Streams) *cobra.Command {
	var f sessionsFlags
	cmd := &cobra.Command{
		Use: "list [USER]", Short: "List the durable sessions of a user, or of all",
		Args: arguments(0, 1, "at most one user"),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := f.client.connect(s.Environ)
			if err != nil {
				return err
			}
			return f.list(cmd.Context(), n, s.Out, args)
		},
	}
	f.client.add(cmd)
	cmd.Flags().IntVar(&f.limit, "limit", 0, "stop after `n` sessions; 0 lists all")
	return cmd
}

func newSessionsShow(s Streams) *cobra.Command {
	var f sessionsFlags
	cmd := &cobra.Command{
		Use: "show USER SESSION", Short: "Show a durable session, its positions and how far it lags",
		Args: arguments(2, 2, "a user and a session"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.one(cmd.Context(), s, http.MethodGet, args, "", nil)
		},
	}
	f.client.add(cmd)
	return cmd
}

func newSessionsDelete(s Streams) *cobra.Command {
	var f sessionsFlags
	cmd := &cobra.Command{
		Use: "delete USER SESSION", Short: "Delete a durable session, and close its connection",
		Args: arguments(2, 2, "a user and a session"),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := f.client.connect(s.Environ)
			if err != nil {
				return err
			}
			if err := n.ask(cmd.Context(), http.MethodDelete, sessionPath(args), nil, nil, nil); err != nil {
				return err
			}
			fmt.Fprintln(s.Out, "deleted")
			return nil
		},
	}
	f.client.add(cmd)
	return cmd
}

func newSessionsReset(s Streams) *cobra.Command {
	var f sessionsFlags
	cmd := &cobra.Command{
		Use: "reset USER SESSION", Short: "Put a durable session to another place",
		Long: `Moves a durable session to another place in one channel, or with --to in all of
them. A connected client is disconnected, comes back, and is told that it does not
go on where it stopped.`,
		Example: `  rivulet sessions reset alice phone-1 --to now
  rivulet sessions reset alice phone-1 --channel chat:lobby --offset 1043`,
		Args: arguments(2, 2, "a user and a session"),
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]any{}
			for name, value := range map[string]string{"channel": f.channel, "position": f.position, "to": f.to} {
				if value != "" {
					body[name] = value
				}
			}
			if cmd.Flags().Changed("offset") {
				body["offset"] = f.offset
			}
			return f.one(cmd.Context(), s, http.MethodPost, args, "/reset", body)
		},
	}
	f.client.add(cmd)
	fs := cmd.Flags()
	fs.StringVar(&f.channel, "channel", "", "the `channel`; with --to, all channels of the session without it")
	fs.StringVar(&f.position, "position", "", "after this `position`")
	fs.Uint64Var(&f.offset, "offset", 0, "after the message with this `offset`")
	fs.StringVar(&f.to, "to", "", "`now` or start: behind the newest message, or before the oldest")
	return cmd
}

// sessionAnswer is a durable session as the API shows it.
type sessionAnswer struct {
	User      string
	Session   string
	Connected bool
	Node      string
	Client    string
	Created   int64
	Seen      int64
	Expires   int64
	Channels  []struct {
		Channel  string
		Position string
		Offset   uint64
		Lag      *uint64
	}
}

func sessionPath(args []string) string {
	return "/v1/users/" + url.PathEscape(args[0]) + "/sessions/" + url.PathEscape(args[1])
}

// mostSessionsPage is what the API gives at most.
const mostSessionsPage = 1000

func (f *sessionsFlags) list(ctx context.Context, n *node, out io.Writer, args []string) error {
	path := "/v1/sessions"
	if len(args) == 1 {
		path = "/v1/users/" + url.PathEscape(args[0]) + "/sessions"
	}
	if f.limit < 0 {
		return usagef("--limit %d: must not be negative", f.limit)
	}
	table := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "USER\tSESSION\tCONNECTED\tEXPIRES\tCHANNELS")
	for left := f.limit; ; {
		var page struct {
			Sessions []sessionAnswer
			Next     uint64
		}
		most := mostSessionsPage
		if f.limit > 0 {
			most = min(most, left)
		}
		query := url.Values{"limit": {strconv.Itoa(most)}, "after": {strconv.FormatUint(f.after, 10)}}
		if err := n.ask(ctx, http.MethodGet, path, query, nil, &page); err != nil {
			return err
		}
		for _, r := range page.Sessions {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\n", r.User, r.Session, yesNo(r.Connected), moment(r.Expires), len(r.Channels))
		}
		f.after = page.Next
		if left -= len(page.Sessions); f.after == 0 || f.limit > 0 && left <= 0 {
			return table.Flush()
		}
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func moment(millis int64) string { return time.UnixMilli(millis).UTC().Format(time.RFC3339) }

// one asks for one session, or changes it, and prints what it is then.
func (f *sessionsFlags) one(ctx context.Context, s Streams, method string, args []string, action string, body any) error {
	n, err := f.client.connect(s.Environ)
	if err != nil {
		return err
	}
	var r sessionAnswer
	if err := n.ask(ctx, method, sessionPath(args)+action, nil, body, &r); err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "%s of %s, made %s, seen %s, expires %s\n", r.Session, r.User, moment(r.Created), moment(r.Seen), moment(r.Expires))
	if r.Connected {
		fmt.Fprintf(s.Out, "connected to %s as %s\n", r.Node, r.Client)
	}
	table := tabwriter.NewWriter(s.Out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "CHANNEL\tOFFSET\tLAG\tPOSITION")
	for _, c := range r.Channels {
		lag, position := "unknown", c.Position
		if c.Lag != nil {
			lag = strconv.FormatUint(*c.Lag, 10)
		}
		if position == "" {
			position = "lost"
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\n", c.Channel, c.Offset, lag, position)
	}
	return table.Flush()
}
