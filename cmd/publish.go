package cmd

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// publishFlags are what `rivulet publish` was told.
type publishFlags struct {
	client  clientFlags
	key     string
	headers []string
	raw     bool
	timeout Duration
	waits   bool // timeout was given
	batch   int
	delay   Duration
	ttl     Duration

	conflationKey string
	updates       uint64
	expected      uint64
	expects       bool // expected was given: 0 is an empty channel
	exclude       string
}

func newPublish(s Streams) *cobra.Command {
	f := publishFlags{timeout: Duration(30 * time.Second), batch: rivulet.MaxBatch}
	cmd := &cobra.Command{
		Use:   "publish CHANNEL [JSON]",
		Short: "Store one message, or each line of stdin",
		Long: `Stores the JSON value given as the second argument, and prints where it was stored.
Without it, every line of stdin is one JSON value; they are stored in their order,
in batches, and what was done is said on stderr at the end. A line that is wrong
ends it, with its number.

Every message has an idempotency key, so that a retry after a lost answer stores
it once. With --key, the line number is added for stdin: an import that was cut
short can be run again within the namespace's window and stores nothing twice.`,
		Example: `  rivulet publish chat:lobby '{"text":"hello"}'
  rivulet publish chat:lobby --raw 'hello, as a JSON string'
  rivulet publish orders:eu.de '{"id":4711}' --key order-4711 --header source=shop
  rivulet publish chat:lobby '{"text":"time for lunch"}' --delay 30m
  rivulet publish chat:lobby '{"text":"hullo"}' --updates 1
  rivulet publish readings < readings.jsonl
  tail -f app.log | rivulet publish logs:app --raw`,
		Args: arguments(1, 2, "a channel and at most one JSON value (quote it for the shell)"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.expects, f.waits = cmd.Flags().Changed("expected-offset"), cmd.Flags().Changed("timeout")
			p, err := f.publisher(s, args[0])
			if err != nil {
				return err
			}
			switch {
			case len(args) == 2 && f.optioned():
				n, err := f.client.connect(s.Environ)
				if err != nil {
					return err
				}
				n.http = p.http
				return f.later(cmd.Context(), n, p, s.Out, args[1])
			case f.optioned():
				return usagef("--delay, --ttl, --conflation-key, --updates, --expected-offset and --exclude are for one message; give it as the second argument")
			case len(args) == 2:
				return p.one(cmd.Context(), s.Out, args[1])
			}
			return p.lines(cmd.Context(), s)
		},
	}
	f.client.add(cmd)
	fs := cmd.Flags()
	fs.StringVar(&f.key, "key", "", "idempotency `key`; generated if empty")
	fs.StringArrayVar(&f.headers, "header", nil, "header stored with every message, as `name=value`; may be repeated")
	fs.BoolVar(&f.raw, "raw", false, "the argument, or each line, is text and not JSON: store it as a JSON string")
	fs.TextVar(&f.timeout, "timeout", f.timeout, "`time` to try for one message or batch while the node is away; without it, 5s where nobody listens at the port from the start")
	fs.TextVar(&f.delay, "delay", f.delay, "store the message in the channel after this `time`, at most a year; see: rivulet schedule")
	fs.TextVar(&f.ttl, "ttl", f.ttl, "have the message gone after this `time`")
	fs.StringVar(&f.conflationKey, "conflation-key", "", "`key` of which this is the newest message, for those who subscribe with --conflate key")
	fs.Uint64Var(&f.updates, "updates", 0, "`offset` of the message of which this is a new version")
	fs.Uint64Var(&f.expected, "expected-offset", 0, "store the message only if the channel's last one has this `offset`; 0: if the channel is empty")
	fs.StringVar(&f.exclude, "exclude", "", "`client` that does not get the message, a connection as presence lists it")
	fs.IntVar(&f.batch, "batch", f.batch, "send at most `n` lines in one request; with 1, order is kept even while the node refuses some for a moment")
	return cmd
}

// interruptGrace is how long a batch may still take after an interrupt.
const interruptGrace = 2 * time.Second

// publishing is one run of the command.
type publishing struct {
	publisher *rivulet.Publisher
	channel   string
	headers   map[string]string
	key       string
	raw       bool
	timeout   time.Duration
	batch     int
	http      *http.Client
}

func (f *publishFlags) publisher(s Streams, channel string) (*publishing, error) {
	if err := f.client.resolve(s.Environ); err != nil {
		return nil, err
	}
	if _, err := fanout.ParseChannel(channel); err != nil {
		return nil, usagef("%w", err)
	}
	p := &publishing{channel: channel, key: f.key, raw: f.raw, timeout: time.Duration(f.timeout), batch: f.batch}
	if f.batch < 1 || f.batch > rivulet.MaxBatch {
		return nil, usagef("--batch %d: must be from 1 to %d", f.batch, rivulet.MaxBatch)
	}
	if err := f.checkOptions(); err != nil {
		return nil, err
	}
	if f.timeout <= 0 {
		return nil, usagef("--timeout %v: must be above 0", f.timeout)
	}
	for _, header := range f.headers {
		name, value, ok := strings.Cut(header, "=")
		if !ok || name == "" {
			return nil, usagef("--header %q: write name=value", header)
		}
		if p.headers == nil {
			p.headers = map[string]string{}
		}
		p.headers[name] = value
	}
	p.http = &http.Client{Timeout: requestTimeout, Transport: &patience{next: f.client.transport(), err: s.Err, timeout: p.timeout, waits: f.waits}}
	// Somebody waits for it, and no crowd of others asks at the same moment.
	opts := rivulet.PublisherOptions{Token: f.client.token, Client: p.http, Backoff: rivulet.Backoff{Max: 2 * time.Second}}
	var err error
	if p.publisher, err = rivulet.NewPublisher(f.client.url, opts); err != nil {
		return nil, usagef("%w", err)
	}
	return p, nil
}

// data turns what the user wrote into what is published.
func (p *publishing) data(text []byte) (json.RawMessage, error) {
	if p.raw {
		return json.Marshal(string(text))
	}
	compact, err := protocol.CompactData(text)
	if err != nil {
		return nil, fmt.Errorf("%w; write JSON, or give --raw for text", err)
	}
	return compact, nil
}

func (p *publishing) one(ctx context.Context, out io.Writer, text string) error {
	data, err := p.data([]byte(text))
	if err != nil {
		return usagef("%w", err)
	}
	ctx, stop := stoppable(ctx)
	defer stop(nil)
	tried, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	stored, err := p.publisher.Publish(tried, p.channel, data, rivulet.PublishOptions{IdempotencyKey: p.key, Headers: p.headers})
	if lasting := stopped(ctx); lasting != nil {
		return lasting
	}
	if errors.Is(tried.Err(), context.DeadlineExceeded) && err != nil {
		return errors.New(strings.ReplaceAll(err.Error(), tried.Err().Error(), fmt.Sprintf("no answer within %v", p.timeout)))
	}
	if err != nil {
		return err // it names the key with which it is safely sent again
	}
	return printStored(out, stored)
}

func printStored(out io.Writer, stored rivulet.Published) error {
	line, err := json.Marshal(struct {
		Channel   string `json:"channel"`
		Offset    uint64 `json:"offset"`
		Position  string `json:"position"`
		Time      int64  `json:"time"`
		Duplicate bool   `json:"duplicate"`
	}{stored.Channel, stored.Offset, stored.Position, stored.Time.UnixMilli(), stored.Duplicate})
	if err != nil {
		return fmt.Errorf("print the answer: %w", err)
	}
	_, err = fmt.Fprintf(out, "%s\n", line)
	return err
}

// lines publishes every line of stdin.
func (p *publishing) lines(ctx context.Context, s Streams) error {
	if p.key == "" {
		p.key = rand.Text()
	}
	in := newLineReader(ctx, s.In, p.batch)
	progress := newProgress(s.In, s.Err)
	sum := summary{channel: p.channel, began: time.Now()}
	var failure error
	for failure == nil {
		batch, err := in.next()
		bad, badErr := p.publishLines(ctx, batch, &sum)
		switch {
		case badErr != nil:
			failure = fmt.Errorf("line %d: %s", bad, present(badErr))
		case errors.Is(err, io.EOF):
			progress.finish()
			sum.print(s.Err)
			return nil
		case ctx.Err() != nil:
			failure = errors.New("interrupted")
		case err != nil:
			failure = fmt.Errorf("line %d: %w", in.number, err)
		}
		progress.at(in.read, sum.stored)
	}
	progress.finish()
	sum.print(s.Err)
	return failure
}

// publishLines stores the lines up to the first that is not JSON, and returns
// the number of the first line that was not stored, and why.
func (p *publishing) publishLines(ctx context.Context, lines []line, sum *summary) (bad int, badErr error) {
	batch := make([]rivulet.Outgoing, 0, len(lines))
	for _, l := range lines {
		data, err := p.data(l.text)
		if err != nil {
			bad, badErr = l.number, err
			break
		}
		batch = append(batch, rivulet.Outgoing{Channel: p.channel, Data: data, PublishOptions: rivulet.PublishOptions{
			IdempotencyKey: fmt.Sprintf("%s-%d", p.key, l.number), Headers: p.headers,
		}})
	}
	if len(batch) == 0 {
		return bad, badErr
	}
	// What is under way when the user interrupts may finish, so that the summary
	// knows what became of it.
	life, stop := stoppable(context.WithoutCancel(ctx))
	defer stop(nil)
	work, cancel := context.WithTimeout(life, p.timeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(interruptGrace, cancel) })()
	outcomes, err := p.publisher.PublishBatch(work, batch)
	if lasting := stopped(life); lasting != nil {
		return lines[0].number, lasting
	}
	if err != nil {
		return lines[0].number, err
	}
	for i, o := range outcomes {
		if o.Err != nil {
			sum.failed++
			if sum.failed == 1 {
				bad, badErr = lines[i].number, o.Err
			}
			continue
		}
		sum.add(o.Published)
	}
	return bad, badErr
}

// summary is what a run on stdin has done.
type summary struct {
	channel    string
	began      time.Time
	stored     int
	duplicates int
	failed     int
	last       string // position
}

func (s *summary) add(p rivulet.Published) {
	s.stored++
	if p.Duplicate {
		s.duplicates++
	} else {
		s.last = p.Position
	}
}

func (s *summary) print(w io.Writer) {
	took := time.Since(s.began)
	fmt.Fprintf(w, "stored %s in %s in %v (%.0f per second)", plural(s.stored, "message"), s.channel, took.Round(time.Millisecond), float64(s.stored)/took.Seconds())
	if s.duplicates > 0 {
		fmt.Fprintf(w, ", %d of them were stored before", s.duplicates)
	}
	if s.failed > 0 {
		fmt.Fprintf(w, ", %d failed", s.failed)
	}
	if s.last != "" {
		fmt.Fprintf(w, "; last position %s", s.last)
	}
	fmt.Fprintln(w)
}
