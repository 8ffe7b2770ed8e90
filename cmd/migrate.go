package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/migrations"
)

func newMigrate(s Streams) *cobra.Command {
	var (
		node    nodeFlags
		status  bool
		timeout = Duration(time.Minute)
	)
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the log's streams and buckets up to date, or show where they stand",
		Long: `Applies the numbered changes of the log's streams and buckets that are not applied
yet, and makes the configured namespaces what the configuration says. Several may
run at once; each change is applied once. A node does the same when it starts, so
this is for those who want to do it before. Changes only go forward: a log that a
newer version has changed is refused.

The embedded log belongs to one process: stop the node first.`,
		Example: `  rivulet migrate --config rivulet.yaml --status
  rivulet migrate --nats-url nats://n1:4222`,
		Args: arguments(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := node.load(cmd, s.Environ)
			if err != nil {
				return err
			}
			if timeout <= 0 {
				return usagef("--timeout %v: must be above 0", timeout)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Duration(timeout))
			defer cancel()
			if status {
				return showTopology(ctx, s, cfg)
			}
			return migrate(ctx, s, cfg)
		},
	}
	node.add(cmd)
	hide(cmd, "listen")
	cmd.Flags().BoolVar(&status, "status", false, "change nothing, show what is applied and what is not")
	cmd.Flags().TextVar(&timeout, "timeout", timeout, "`time` to wait for the log")
	return cmd
}

func migrate(ctx context.Context, s Streams, cfg Config) error {
	report, err := broker.Migrate(ctx, cfg.brokerConfig(nodeName()), newLogger(cfg.Log, s.Err))
	printApplied(s.Out, report.Applied)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	fmt.Fprintf(s.Out, "The log is at version %d; %d changes were applied.\n", report.To, len(report.Applied))
	return nil
}

func showTopology(ctx context.Context, s Streams, cfg Config) error {
	if cfg.Broker.NATSURL == "" {
		// Opening the log would make it.
		if _, err := os.Stat(cfg.Broker.Data); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("no such data folder: %s; a node or migrate without --status makes it", cfg.Broker.Data)
		}
	}
	state, err := broker.Topology(ctx, cfg.brokerConfig(nodeName()), newLogger(cfg.Log, s.Err))
	if err != nil {
		return fmt.Errorf("read where the log stands: %w", err)
	}
	printApplied(s.Out, state.Applied)
	for _, step := range state.Pending {
		fmt.Fprintf(s.Out, "%4d  %-20s  not applied\n", step.Version, step.Name)
	}
	fmt.Fprintf(s.Out, "The log is at version %d; this program knows %d.\n", state.Version, state.Known)
	return nil
}

func printApplied(w io.Writer, steps []migrations.Applied) {
	for _, step := range steps {
		fmt.Fprintf(w, "%4d  %-20s  applied %s by %s\n", step.Version, step.Name, step.At.UTC().Format(time.RFC3339), step.By)
	}
}
