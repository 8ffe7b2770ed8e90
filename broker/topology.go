package broker

import (
	"context"
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/migrations"
)

// Migrate brings the topology up to date and makes the configured namespaces,
// without serving anything. With an embedded log no other process may run on it:
// the error then wraps ErrDataDirInUse. It waits for a remote server until ctx
// ends.
func Migrate(ctx context.Context, cfg Config, log *slog.Logger) (rep migrations.Report, err error) {
	err = withControl(ctx, cfg, log, func(b *Broker) error {
		if rep, err = b.apply(ctx); err != nil {
			return err
		}
		for _, spec := range cfg.Namespaces {
			if _, err := migrations.EnsureNamespace(ctx, b.js, cfg.fill(spec), cfg.Node); err != nil {
				return err
			}
		}
		return nil
	})
	return rep, err
}

// Topology reads where the topology stands, and changes nothing.
func Topology(ctx context.Context, cfg Config, log *slog.Logger) (state migrations.State, err error) {
	err = withControl(ctx, cfg, log, func(b *Broker) error {
		state, err = migrations.Status(ctx, b.js)
		return err
	})
	return state, err
}

// withControl runs f with a control link and, if the log is embedded, its server.
func withControl(ctx context.Context, cfg Config, log *slog.Logger, f func(*Broker) error) error {
	b, err := newBroker(ctx, cfg, log, prometheus.NewRegistry())
	if err != nil {
		return err
	}
	if err = b.openServer(); err == nil {
		err = b.connectControl(ctx)
	}
	if err == nil {
		err = f(b)
	}
	return errors.Join(err, b.Close(context.WithoutCancel(ctx)))
}
