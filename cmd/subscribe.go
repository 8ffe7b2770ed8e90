package cmd

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// subscribeFlags are what `rivulet subscribe` was told.
type subscribeFlags struct {
	client    clientFlags
	last      int
	since     string
	positions []string
	filter    string
	conflate  string
	maxRate   int
	count     int
	dataOnly  bool
	quiet     bool
	durable   bool
	session   string
	token     string // of the subscription alone

	mu sync.Mutex // guards stderr: the client's callback and the printing tell things
}

func newSubscribe(s Streams) *cobra.Command {
	var f subscribeFlags
	cmd := &cobra.Command{
		Use:   "subscribe CHANNEL",
		Short: "Print the messages of a channel or a pattern, one line each",
		Long: `Prints every message as one line of JSON on stdout, and what else happens on
stderr. It reconnects for ever and misses nothing; if history is gone, it says so.
When it ends, by Ctrl-C or --count, it prints the position to go on from.

A channel is namespace:name; without a colon the namespace is "default". In a
pattern * stands for one segment and > for the rest, within one namespace: a
pattern takes --since and --position, but not --last.`,
		Example: `  rivulet subscribe chat:lobby                    from now on
  rivulet subscribe chat:lobby --last 50          the last 50, then live
  rivulet subscribe chat:lobby --since 10m        the last ten minutes, then live
  rivulet subscribe 'orders:eu.>' --data          a pattern, data only
  rivulet subscribe chat:lobby --durable --session laptop
                                                  go on where the last run of it stopped
  rivulet subscribe prices:eu --conflate key      the newest of each key, then live
  rivulet subscribe chat:lobby --last 1 --count 1 print the newest message and exit`,
		Args: arguments(1, 1, "one channel or pattern"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.client.resolve(s.Environ); err != nil {
				return err
			}
			if cmd.Flags().Changed("last") && f.last == 0 {
				return usagef("--last 0: must be from 1 to %d; without it, delivery begins now", protocol.MaxLast)
			}
			opts, err := f.options(args[0], time.Now())
			if err != nil {
				return err
			}
			return f.run(cmd.Context(), s, args[0], opts)
		},
	}
	f.client.add(cmd)
	fs := cmd.Flags()
	fs.IntVar(&f.last, "last", 0, "start with the newest `n` messages, 1 to 1000; of one channel, not of a pattern")
	fs.StringVar(&f.since, "since", "", "start with what was stored since this `time`: "+sinceForms)
	fs.StringArrayVar(&f.positions, "position", nil, "go on after this `position`, as it was printed; may be repeated for a pattern")
	fs.StringVar(&f.filter, "filter", "", "only messages for which this `expression` is true, over headers, user and client: headers.kind == 'alert'")
	fs.StringVar(&f.conflate, "conflate", "", "leave out what is outdated: only the newest `of` each conflation key (key), or the newest alone (last)")
	fs.IntVar(&f.maxRate, "max-rate", 0, "with --conflate, at most `n` messages a second, 1 to 1000")
	fs.IntVar(&f.count, "count", 0, "exit after `n` messages")
	fs.BoolVar(&f.durable, "durable", false, "have the node keep the position, under --session: each message is printed once, however often this is run")
	fs.StringVar(&f.session, "session", "", "`name` of the durable session, one of the token's user")
	fs.StringVar(&f.token, "subscription-token", "", "a `token` for this subscription alone, as rivulet token --channel makes it, beside the client's own")
	fs.BoolVar(&f.dataOnly, "data", false, "print only the data of each message")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "print nothing on stderr but lost history and errors")
	return cmd
}

// options checks what the node would refuse anyway, but in terms of the flags.
func (f *subscribeFlags) options(channel string, now time.Time) (rivulet.SubscribeOptions, error) {
	opts := rivulet.SubscribeOptions{Last: f.last, Durable: f.durable, ManualAck: f.durable, Filter: f.filter, Conflate: f.conflate, MaxRate: f.maxRate}
	if f.token != "" {
		opts.TokenFunc = func(context.Context, string) (string, error) { return f.token, nil }
	}
	c, err := fanout.ParsePattern(channel)
	if err != nil {
		return opts, usagef("%w", err)
	}
	given := 0
	for _, set := range []bool{f.last != 0, f.since != "", len(f.positions) > 0} {
		if set {
			given++
		}
	}
	switch {
	case f.durable != (f.session != ""):
		return opts, usagef("--durable and --session go together, as in --durable --session laptop")
	case f.durable && c.IsPattern():
		return opts, usagef("--durable: is for one channel and %s is a pattern", channel)
	case given > 1:
		return opts, usagef("give only one of --last, --since and --position")
	case f.last < 0 || f.last > protocol.MaxLast:
		return opts, usagef("--last %d: must be from 1 to %d", f.last, protocol.MaxLast)
	case f.last != 0 && c.IsPattern():
		return opts, usagef("--last: is for one channel and %s is a pattern; give --since or --position", channel)
	case f.conflate != "" && f.conflate != rivulet.ConflateKey && f.conflate != rivulet.ConflateLast:
		return opts, usagef("--conflate %q: must be key or last", f.conflate)
	case f.maxRate < 0 || f.maxRate > protocol.MaxRate:
		return opts, usagef("--max-rate %d: must be from 1 to %d", f.maxRate, protocol.MaxRate)
	case f.maxRate != 0 && f.conflate == "":
		return opts, usagef("--max-rate: needs --conflate; messages above a rate are left out only where newer ones outdate them")
	case len(f.filter) > protocol.MaxFilterBytes:
		return opts, usagef("--filter: has %d bytes, at most %d are allowed", len(f.filter), protocol.MaxFilterBytes)
	case f.count < 0:
		return opts, usagef("--count %d: must not be negative", f.count)
	case !c.IsPattern() && len(f.positions) > 1:
		return opts, usagef("--position: a channel has one; only a pattern has several")
	case c.IsPattern():
		opts.Positions = f.positions
	case len(f.positions) == 1:
		opts.Position = f.positions[0]
	}
	if f.since != "" {
		opts.Since, err = parseSince(f.since, now)
	}
	return opts, err
}

// sinceForms says what parseSince reads.
const sinceForms = "a span back like 10m or 7d, 2006-01-02T15:04:05Z, or Unix milliseconds"

// leastMillis is what the milliseconds of a time have at least, 2001-09-09: less is
// seconds, in a year of this century.
const leastMillis = 1e12

func parseSince(s string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil && ms >= leastMillis && ms <= math.MaxInt64/int64(time.Millisecond) {
		return time.UnixMilli(ms), nil
	}
	var d Duration
	if err := d.UnmarshalText([]byte(s)); err != nil || d <= 0 {
		return time.Time{}, usagef("--since %q: write a span like 10m or 7d, a time like %s, or one in Unix milliseconds, like %d",
			s, now.UTC().Format(time.RFC3339), now.UnixMilli())
	}
	return now.Add(-time.Duration(d)), nil
}

// run prints until ctx ends, --count is reached, or the node refuses for good.
func (f *subscribeFlags) run(ctx context.Context, s Streams, channel string, opts rivulet.SubscribeOptions) error {
	connecting, stop := stoppable(ctx)
	defer stop(nil)
	client, err := rivulet.New(f.client.url, rivulet.Options{
		Token:   f.client.token,
		Name:    "rivulet-cli",
		Session: f.session,
		TLS:     f.client.tls,
		OnState: func(change rivulet.StateChange) {
			// Once connected, it is better to wait: a certificate is replaced in time.
			if lasting := lastingTLS(change.Reason); lasting != nil {
				stop(lasting)
			}
			f.tellState(s.Err, change)
		},
	})
	if err != nil {
		return usagef("%w", err)
	}
	defer client.Close()
	if err := client.Connect(connecting); err != nil {
		if lasting := stopped(connecting); lasting != nil {
			return lasting
		}
		return unlessEnded(ctx, err)
	}
	sub, err := client.Subscribe(ctx, channel, opts)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	err = unlessEnded(ctx, f.print(ctx, s, sub))
	if err == nil { // else the last message may not have been printed
		f.tellPosition(s.Err, sub)
	}
	return err
}

// unlessEnded hides the errors that come from the end of ctx: the user asked for it.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

func (f *subscribeFlags) print(ctx context.Context, s Streams, sub *rivulet.Subscription) error {
	printed := 0
	var line []byte
	for update, err := range sub.Updates(ctx) {
		if err != nil {
			return err
		}
		if update.Kind != rivulet.KindMessage {
			f.tellUpdate(s.Err, update)
			continue
		}
		line = append(f.line(line[:0], update.Message), '\n')
		if _, err := s.Out.Write(line); err != nil {
			return fmt.Errorf("print a message: %w", err)
		}
		printed++
		if err := f.printed(ctx, sub, update.Message, printed == f.count); err != nil || printed == f.count {
			return err
		}
	}
	return errors.New("the subscription has ended")
}

// printed acknowledges a message of a durable subscription, and after the last one waits
// until the node has that.
func (f *subscribeFlags) printed(ctx context.Context, sub *rivulet.Subscription, m *rivulet.Message, last bool) error {
	if !f.durable {
		return nil
	}
	if err := sub.Ack(m); err != nil || !last {
		return err
	}
	return sub.Flush(ctx)
}

func (f *subscribeFlags) line(dst []byte, m *rivulet.Message) []byte {
	switch {
	case f.dataOnly && m.Data == nil:
		return append(dst, m.Bytes...)
	case f.dataOnly:
		return append(dst, m.Data...)
	}
	event := protocol.MessageEvent{
		Channel: m.Channel, Offset: m.Offset, Position: m.Position, Time: m.Time.UnixMilli(),
		ID: m.ID, User: m.User, Client: m.Client, Headers: m.Headers, Data: m.Data,
		ConflationKey: m.ConflationKey, Updates: m.Updates,
	}
	if m.Data == nil {
		event.DataBase64 = new(base64.StdEncoding.EncodeToString(m.Bytes))
	}
	return protocol.AppendMessage(dst, &event)
}

// tell writes one line on stderr.
func (f *subscribeFlags) tell(w io.Writer, format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fmt.Fprintf(w, format+"\n", args...)
}

func (f *subscribeFlags) tellState(w io.Writer, change rivulet.StateChange) {
	switch {
	case f.quiet:
	case change.State == rivulet.StateConnected:
		f.tell(w, "connected to %s (node %s)", f.client.url, change.Node)
	case change.State == rivulet.StateRetrying:
		f.tell(w, "not connected: %v; trying again in %v", change.Reason, change.RetryIn.Round(time.Millisecond))
	}
}

func (f *subscribeFlags) tellUpdate(w io.Writer, u rivulet.Update) {
	gap := u.Gap()
	switch {
	case gap != nil && gap.Reason == protocol.ReasonReset:
		f.tell(w, "reset: the durable session was put to another place in %s; delivery goes on there", gap.Channel)
	case gap != nil:
		f.tell(w, "gap: messages of %s are gone (%s); delivery goes on after them", gap.Channel, gap.Reason)
	case f.quiet:
	case u.Kind == rivulet.KindSubscribed:
		f.tell(w, "subscribed to %s", u.Channel)
	case u.Kind == rivulet.KindDeleted:
		f.tell(w, "deleted: message %d of %s", u.Offset, u.Channel)
	}
}

func (f *subscribeFlags) tellPosition(w io.Writer, sub *rivulet.Subscription) {
	positions := sub.Positions()
	if f.quiet || len(positions) == 0 {
		return
	}
	where := " --position " + strings.Join(positions, " --position ")
	if f.durable {
		where = " --durable --session " + f.session
	}
	f.tell(w, "go on with: rivulet subscribe %s%s%s", shellQuote(sub.Channel()), where, f.refinements())
}

// refinements are the flags that a subscription has to give again to go on as it was.
func (f *subscribeFlags) refinements() string {
	flags := ""
	if f.filter != "" {
		flags += " --filter " + shellQuote(f.filter)
	}
	if f.conflate != "" {
		flags += " --conflate " + f.conflate
	}
	if f.maxRate != 0 {
		flags += " --max-rate " + strconv.Itoa(f.maxRate)
	}
	return flags
}

// shellQuote has a shell take s as one word.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
