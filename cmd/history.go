package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rivulet-rt/rivulet/fanout"
)

// historyFlags are what `rivulet history` was told.
type historyFlags struct {
	client        clientFlags
	last          int
	since         string
	after, before string
	latest        bool
}

func newHistory(s Streams) *cobra.Command {
	var f historyFlags
	cmd := &cobra.Command{
		Use:   "history CHANNEL",
		Short: "Print the stored messages of a channel",
		Long: `Prints every stored message as one line of JSON, oldest first, page by page. With
--last, the newest ones only. What is gone of what was asked for is said on stderr.

With --latest there is one line for each message: its newest version, in the place of
the original.`,
		Example: `  rivulet history chat:lobby --last 20
  rivulet history chat:lobby --since 1h
  rivulet history chat:lobby --latest --last 50`,
		Args: arguments(1, 1, "a channel"),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := f.client.connect(s.Environ)
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("last") && f.last == 0 {
				return usagef("--last 0: must be from 1 to %d; without it, everything is printed", mostLast)
			}
			query, err := f.query(args[0])
			if err != nil {
				return err
			}
			return f.print(cmd.Context(), n, args[0], query, s)
		},
	}
	f.client.add(cmd)
	fs := cmd.Flags()
	fs.IntVar(&f.last, "last", 0, "print the newest `n` messages only; --limit is the same")
	fs.StringVar(&f.since, "since", "", "begin with the first message stored since this `time`: "+sinceForms)
	fs.StringVar(&f.after, "after", "", "begin after this `position`")
	fs.StringVar(&f.before, "before", "", "end before this `position`")
	fs.BoolVar(&f.latest, "latest", false, "print each message once, as its newest version")
	fs.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "limit" { // what the API has
			name = "last"
		}
		return pflag.NormalizedName(name)
	})
	return cmd
}

// mostLast bounds what --last holds in memory.
const mostLast = 100_000

func (f *historyFlags) query(channel string) (url.Values, error) {
	if _, err := fanout.ParseChannel(channel); err != nil {
		return nil, usagef("%w", err)
	}
	query := url.Values{"limit": {strconv.Itoa(fanout.MaxLast)}}
	if f.last < 0 || f.last > mostLast {
		return nil, usagef("--last %d: must be from 1 to %d", f.last, mostLast)
	}
	if f.last > 0 {
		query.Set("order", "desc")
	}
	if f.since != "" {
		at, err := parseSince(f.since, time.Now())
		if err != nil {
			return nil, err
		}
		query.Set("since", strconv.FormatInt(at.UnixMilli(), 10))
	}
	if f.after != "" {
		query.Set("after", f.after)
	}
	if f.before != "" {
		query.Set("before", f.before)
	}
	if f.latest {
		query.Set("fold", "latest")
	}
	return query, nil
}

// historyPage is a page as the node answers it.
type historyPage struct {
	Messages  []json.RawMessage `json:"messages"`
	Position  string            `json:"position"`
	More      bool              `json:"more"`
	Recovered bool              `json:"recovered"`
	Reason    string            `json:"reason"`
}

func (f *historyFlags) print(ctx context.Context, n *node, channel string, query url.Values, s Streams) error {
	var newest []json.RawMessage
	warned := false
	for more := true; more; {
		if f.last > 0 {
			query.Set("limit", strconv.Itoa(min(f.last-len(newest), fanout.MaxLast)))
		}
		var page historyPage
		if err := n.ask(ctx, http.MethodGet, messagesPath(channel), query, nil, &page); err != nil {
			return err
		}
		if !page.Recovered && !warned {
			warned = true
			fmt.Fprintf(s.Err, "messages that were asked for are gone (%s); this is what there is\n", page.Reason)
		}
		more = page.More
		if f.last > 0 {
			newest = append(newest, page.Messages...)
			more = more && len(newest) < f.last
			query.Set("before", page.Position)
			continue
		}
		if err := printAll(s.Out, page.Messages); err != nil {
			return err
		}
		query.Set("after", page.Position)
		query.Del("since")
	}
	slices.Reverse(newest)
	return printAll(s.Out, newest)
}

func printAll(out io.Writer, messages []json.RawMessage) error {
	for _, m := range messages {
		if _, err := fmt.Fprintf(out, "%s\n", m); err != nil {
			return err
		}
	}
	return nil
}
