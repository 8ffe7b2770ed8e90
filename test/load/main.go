//go:build linux

package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/rivulet-rt/rivulet/test/load/internal/scenario"
)

// options are the command line's.
type options struct {
	scenarios string
	runs      int
	json      bool
	cfg       scenario.Config
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM) //nolint:forbidigo // the process's context begins here
	defer stop()
	var o options
	o.cfg = scenario.Config{Log: os.Stderr, Sizes: scenario.DefaultSizes()}
	flag.StringVar(&o.scenarios, "scenario", "all", "`names`, separated by commas: "+strings.Join(scenario.Names(), ", ")+"; all leaves out the last four, which take minutes")
	flag.IntVar(&o.runs, "runs", 1, "how often; medians are printed")
	flag.BoolVar(&o.json, "json", false, "print JSON, with the figures of every run")
	flag.StringVar(&o.cfg.URL, "url", "", "a node with --dev that runs already, as http://127.0.0.1:8080, instead of one started here")
	flag.StringVar(&o.cfg.Node, "binary", "", "`path` of the rivulet binary instead of one built here")
	flag.StringVar(&o.cfg.Limit, "limit", "", "`path` of the test/limit binary instead of one built here")
	flag.StringVar(&o.cfg.NATS, "nats", "", "`path` of a nats-server binary instead of one built here")
	flag.StringVar(&o.cfg.Sync, "sync", "", "the node's --sync: interval (its default) or always")
	flag.StringVar(&o.cfg.Events, "events", "test/testdata/commits-sample.ndjson.gz", "gzipped `file` of events that messages are made of")
	flag.DurationVar(&o.cfg.Sizes.IdleSettle, "settle", o.cfg.Sizes.IdleSettle, "how long idle waits for memory to settle")
	flag.Func("ways", "`names` of the ways of the abuse and bulkhead scenarios, separated by commas, instead of all", func(list string) (err error) {
		o.cfg.Ways, err = scenario.ParseWays(list)
		return err
	})
	worker := flag.String("worker", "", "be a generator process of the crowd scenario, for the node at this `address`")
	connections := flag.Int("connections", 1, "of -worker")
	messages := flag.Int("messages", 1, "that -worker waits for")
	way := flag.String("abuse", "", "be the abusive client of the abuse scenario, in this `way`, of the node at the address of -worker")
	ns := flag.String("namespace", "", "of -abuse")
	token := flag.String("token", "", "of -abuse")
	flag.Parse()
	debug.SetGCPercent(400) // the generator keeps little, and its collector would compete with the node
	if *way != "" {
		if err := beAbusive(ctx, *way, *worker, *ns, *token); err != nil {
			fmt.Fprintln(os.Stderr, "load abuser:", err)
			os.Exit(1) //nolint:gocritic // nothing is left to stop
		}
		return
	}
	if *worker != "" {
		if err := work(ctx, *worker, *connections, *messages); err != nil {
			fmt.Fprintln(os.Stderr, "load worker:", err)
			os.Exit(1) //nolint:gocritic // nothing is left to stop
		}
		return
	}
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to stop
	}
}

func work(ctx context.Context, address string, connections, messages int) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("-worker: %w", err)
	}
	return scenario.Worker(ctx, to, connections, messages, os.Stdout)
}

// beAbusive works until its parent closes its input, or ends.
func beAbusive(ctx context.Context, way, address, ns, token string) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("-worker: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // it ends with the parent
		cancel()
	}()
	return scenario.Abuse(ctx, way, to, ns, token, os.Stdout)
}

// report is what -json prints.
type report struct {
	Date     string         `json:"date"`
	Machine  string         `json:"machine"`
	Command  string         `json:"command"`
	Medians  []scenario.Row `json:"medians"`
	EveryRun []scenario.Row `json:"every_run"`
}

func run(ctx context.Context, o options, out io.Writer) error {
	names := strings.Split(o.scenarios, ",")
	if o.scenarios == "all" {
		names = scenario.Usual()
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	o.cfg.Self = []string{self}
	dir, err := os.MkdirTemp("", "rivulet-load-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // in the temporary folder anyway
	if err := build(ctx, &o.cfg, dir); err != nil {
		return err
	}
	r := report{
		Date: time.Now().Format(time.DateOnly), Machine: scenario.Machine(),
		Command: strings.Join(append([]string{"go run ./test/load"}, os.Args[1:]...), " "),
	}
	for i := range o.runs {
		for _, name := range names {
			fmt.Fprintf(o.cfg.Log, "run %d of %d: %s\n", i+1, o.runs, name)
			rows, err := scenario.Run(ctx, name, o.cfg)
			r.EveryRun = append(r.EveryRun, rows...)
			if err != nil {
				return fmt.Errorf("run %d: %w", i+1, err)
			}
		}
	}
	// Rows of a scenario belong together, whichever run they are of.
	var sorted []scenario.Row
	for _, name := range names {
		for _, row := range r.EveryRun {
			if row.Scenario == name {
				sorted = append(sorted, row)
			}
		}
	}
	r.Medians = scenario.Medians(sorted)
	if o.json {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "\t")
		return enc.Encode(r)
	}
	fmt.Fprintf(out, "Medians of %d runs of `%s` on %s: %s.\n", o.runs, r.Command, r.Date, r.Machine)
	scenario.WriteTables(out, r.Medians)
	return nil
}

// build makes the binaries that are not given.
func build(ctx context.Context, cfg *scenario.Config, dir string) error {
	for _, b := range []struct {
		path    *string
		program string
	}{
		{&cfg.Node, "./cmd/rivulet"}, {&cfg.Limit, "./test/limit"}, {&cfg.NATS, "github.com/nats-io/nats-server/v2"},
	} {
		if *b.path != "" {
			continue
		}
		*b.path = filepath.Join(dir, filepath.Base(strings.TrimSuffix(b.program, "/v2")))
		cmd := exec.CommandContext(ctx, "go", "build", "-o", *b.path, b.program) //nolint:gosec // both are constants
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("build %s: %w; run this from the repository's root", b.program, err)
		}
	}
	return nil
}
