package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rivulet-rt/rivulet/cmd/bench"
)

// benchFlags are what `rivulet bench` was told.
type benchFlags struct {
	client   clientFlags
	options  bench.Options
	urls     []string
	scenario string
	duration Duration
	payload  typedBytes
	json     bool
	worker   bool
}

func newBenchFlags() *benchFlags {
	f := &benchFlags{scenario: string(bench.Rooms)}
	f.options = bench.Defaults(bench.Rooms)
	f.duration, f.payload.Bytes = Duration(f.options.Duration), Bytes(f.options.Payload)
	return f
}

func newBench(s Streams) *cobra.Command {
	f := newBenchFlags()
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Put a load on nodes and measure them",
		Long: `Connects clients, publishes numbered messages, checks that every subscriber gets
every one of them once and in order, and says how fast that was and what it cost
the node. The node is one that runs already; the channels are new in every run, and
what is published stays there until the namespace's limits take it.

Scenarios, and the sizes they have where no flag says otherwise:
  fanout   1 channel, 1,000 subscribers, 10 messages/s
  rooms    100 channels with 10 subscribers each, 500 messages/s
  publish  1,000 channels without subscribers, 16 publishers as fast as they go
  replay   1,000 clients come back at once, each missed 100 messages
  connect  1,000 clients connect at once; --rate spreads them, so many a second
           (of these and of replay's, 1,024 handshakes at most are under way)
  idle     1,000 connections that receive nothing

Exits with 1 if a message was lost, came twice or out of order, or if a connection
or a publish failed. Ctrl-C ends a run early and prints what it has. Needs Linux.`,
		Example: `  rivulet bench --scenario rooms --connections 5000 --channels 500 --rate 2000
  rivulet bench --scenario fanout --connections 10000 --rate 0 --duration 30s
  rivulet bench --scenario idle --connections 100000 --processes 4 --own-channels
  rivulet bench --scenario replay --missed 1000 --json > replay.json
  rivulet bench --url http://10.0.0.1:8080 --url http://10.0.0.2:8080 --token-secret "$SECRET"`,
		Args: arguments(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.worker {
				return bench.Work(cmd.Context(), s.In, s.Out)
			}
			if err := f.resolve(cmd, s.Environ); err != nil {
				return err
			}
			return f.run(cmd.Context(), s)
		},
	}
	f.add(cmd)
	return cmd
}

func (f *benchFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	o := &f.options
	fs.StringArrayVar(&f.urls, "url", nil, "`address` of a node; may be repeated, the connections are spread over all (env RIVULET_URL; default "+defaultURL+")")
	fs.StringVar(&f.client.token, "token", "", "`token` or API key of all connections (env RIVULET_TOKEN)")
	fs.StringVar(&f.client.tokenFile, "token-file", "", "`file` with the token, which other users' ps cannot see")
	fs.StringVar(&o.TokenSecret, "token-secret", "", "sign a token for every connection, each another user, with this `secret` (env RIVULET_AUTH_HMAC_SECRET)")
	fs.StringVar(&f.scenario, "scenario", f.scenario, "what to do, by `name`: fanout, rooms, publish, replay, connect or idle")
	fs.IntVar(&o.Connections, "connections", 0, "`number` of subscribers, each a connection")
	fs.IntVar(&o.Channels, "channels", 0, "`number` of channels that they are spread over")
	fs.BoolVar(&o.OwnChannels, "own-channels", false, "every connection has a channel of its own")
	fs.Float64Var(&o.Rate, "rate", 0, "`number` a second: messages over all channels, or connections that connect; 0 is as fast as possible")
	fs.IntVar(&o.Publishers, "publishers", 0, "`number` of HTTP connections that publish, at most one per channel")
	fs.TextVar(&f.payload, "payload", f.payload, "size of each message's data, in `bytes`")
	fs.StringVar(&o.Events, "events", "", "take the data from this `file`, a JSON value per line, plain or gzipped")
	fs.TextVar(&f.duration, "duration", f.duration, "`time` to publish, or to stay connected")
	fs.IntVar(&o.Missed, "missed", o.Missed, "`number` of messages that each client of a replay has missed")
	fs.IntVar(&o.Processes, "processes", o.Processes, "share the load between `n` processes, where one is busy all of the time")
	fs.StringVar(&o.Namespace, "namespace", o.Namespace, "`name` of the namespace of the channels")
	fs.IntVar(&o.PID, "pid", 0, "process `id` of the node, where it is not found by its port")
	fs.BoolVar(&f.json, "json", false, "print the result as JSON")
	fs.BoolVar(&f.worker, "worker", false, "")
	_ = fs.MarkHidden("worker") // fails only for a flag that is not there
}

// resolve completes the options by the scenario's defaults and the environment.
func (f *benchFlags) resolve(cmd *cobra.Command, environ []string) error {
	chosen := cmd.Flags().Changed
	o := &f.options
	o.Scenario = bench.Scenario(f.scenario)
	if !slices.Contains(bench.Scenarios(), o.Scenario) {
		return usagef("--scenario %q: must be fanout, rooms, publish, replay, connect or idle", f.scenario)
	}
	if err := o.Chosen(chosen); err != nil {
		return benchError(err)
	}
	f.fill(chosen)
	if err := f.resolveClient(chosen, environ); err != nil {
		return err
	}
	o.Fit(chosen)
	if err := o.Validate(); err != nil {
		return benchError(err)
	}
	if o.Processes > 1 {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this program, to run it %d times: %w", o.Processes, err)
		}
		o.Worker = []string{self, "bench", "--worker"}
	}
	return nil
}

func (f *benchFlags) fill(chosen func(string) bool) {
	o, d := &f.options, bench.Defaults(f.options.Scenario)
	if !chosen("connections") {
		o.Connections = d.Connections
	}
	if !chosen("channels") {
		o.Channels = d.Channels
	}
	if !chosen("rate") {
		o.Rate = d.Rate
	}
	if !chosen("publishers") {
		o.Publishers = d.Publishers
	}
	o.Duration, o.Payload, o.PayloadText = time.Duration(f.duration), int(f.payload.Bytes), f.payload.text
}

// typedBytes remembers how an amount was written, for whoever complains about it.
type typedBytes struct {
	Bytes

	text string // "" is as String writes it
}

// UnmarshalText reads an amount.
func (b *typedBytes) UnmarshalText(text []byte) error {
	b.text = string(text)
	return b.Bytes.UnmarshalText(text)
}

// resolveClient finds out which nodes are meant and what they are told.
func (f *benchFlags) resolveClient(chosen func(string) bool, environ []string) error {
	if chosen("token-secret") && (chosen("token") || chosen("token-file")) {
		return usagef("--token-secret and --token exclude each other: one token for each connection, or one for all")
	}
	if len(f.urls) == 0 {
		f.urls = []string{""}
	}
	for _, u := range f.urls {
		c := f.client
		c.url = u
		if err := c.resolve(environ); err != nil {
			return err
		}
		f.options.URLs = append(f.options.URLs, c.url)
		f.options.Token = c.token
	}
	switch {
	case chosen("token-secret"):
		f.options.Token = ""
	case f.options.Token == "":
		f.options.TokenSecret = lookup(environ, envPrefix+"AUTH_HMAC_SECRET")
	}
	return nil
}

func (f *benchFlags) run(ctx context.Context, s Streams) error {
	line := newLiveLine(s.Err)
	f.options.Stderr = s.Err
	f.options.OnProgress = func(p bench.Progress) { line.show(p.String()) }
	result, err := bench.Run(ctx, f.options)
	line.clear()
	if err != nil {
		return benchError(err)
	}
	if f.json {
		err = printBenchJSON(s.Out, &result)
	} else {
		err = result.Print(s.Out)
	}
	return errors.Join(err, benchError(result.Err()))
}

func printBenchJSON(w io.Writer, r *bench.Result) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("print the result: %w", err)
	}
	return nil
}

// benchError takes the sentinels' texts, which are for programs, off.
func benchError(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, bench.ErrOptions) {
		return usagef("%s", trimSentinel(err, bench.ErrOptions))
	}
	return errors.New(trimSentinel(err, bench.ErrFaults))
}

func trimSentinel(err, sentinel error) string {
	text := strings.TrimPrefix(err.Error(), sentinel.Error()+": ")
	return strings.TrimPrefix(text, "bench: ")
}
