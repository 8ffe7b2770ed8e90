package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"github.com/rivulet-rt/rivulet/session/limit"
)

func newServe(s Streams) *cobra.Command {
	var node nodeFlags
	var echo bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a node",
		Long: `Runs a node until it gets SIGTERM or SIGINT; then it tells its clients to go
elsewhere, closes the log and exits. A second signal ends it at once.

Without --nats-url the log is embedded, in the folder --data. Without --dev a way
to authenticate is needed: auth.hmac.secret, auth.tokens or auth.keys. See
docs/configuration.md for every key, and rivulet check to try a configuration.`,
		Example: `  rivulet serve --dev
  rivulet serve --config /etc/rivulet.yaml
  RIVULET_AUTH_HMAC_SECRET=... rivulet serve --listen :8080 --data /var/lib/rivulet --sync always
  rivulet serve --nats-url nats://n1:4222,nats://n2:4222 --set broker.replicas=3`,
		Args: arguments(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := node.read(cmd, s.Environ)
			if err != nil {
				return err
			}
			cfg.Server.EchoEndpoint = echo
			defer collectOften(cmd.Context(), s.Environ)()
			limit.Collect(cfg.ceiling())
			return serve(cmd.Context(), cfg, s.Err)
		},
	}
	node.add(cmd)
	cmd.Flags().BoolVar(&echo, "echo-endpoint", false, "serve /test/echo, which sends every WebSocket message back; for conformance suites")
	_ = cmd.Flags().MarkHidden("echo-endpoint") // fails only for a flag that is not there
	return cmd
}

// serve runs a node until ctx ends.
func serve(ctx context.Context, cfg Config, stderr io.Writer) error {
	logger := newLogger(cfg.Log, stderr)
	reg, err := newMetrics()
	if err != nil {
		return err
	}
	n, err := New(cfg, logger, reg)
	if err != nil {
		return usagef("%w", err)
	}
	if err := n.Start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // told to stop before it was up
		}
		return err
	}
	switch {
	case cfg.Dev && isTerminal(stderr):
		printDevNotice(stderr, n.URL(), cfg.Broker)
	case cfg.Dev: // whatever reads the log takes it line by line
		logger.Warn("development mode: every program on this machine may read, publish and purge everything", slog.String("url", n.URL()), slog.String("demo", n.URL()+"/"))
	}
	if plaintext(cfg) {
		logger.Warn("other machines can reach this node, and neither tokens nor messages are encrypted: set server.tls, name the proxy "+
			"with TLS that is before it in server.trusted_proxies, or listen on 127.0.0.1; rivulet check says what else is insecure",
			slog.String("address", n.Addr().String()))
	}
	failure := n.Wait(ctx)
	if failure != nil {
		logger.Error("cannot go on", slog.Any("err", failure))
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(cfg.Server.StopTimeout))
	defer cancel()
	return errors.Join(failure, n.Stop(stopCtx))
}

// plaintext reports whether a node sends everything unencrypted to whoever can reach it,
// and has not been told of a proxy before it.
func plaintext(cfg Config) bool {
	return reachable(cfg.ListenAddress()) && !cfg.Server.encrypted() && len(cfg.Server.TrustedProxies) == 0
}

func newMetrics() (*prometheus.Registry, error) {
	reg := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return reg, nil
}

func printDevNotice(w io.Writer, url string, b BrokerConfig) {
	where := b.Data
	if b.NATSURL != "" {
		where = "the NATS servers of --nats-url"
	}
	fmt.Fprintf(w, `
  *************************************************************************
  *  DEVELOPMENT MODE: no tokens, no keys. Every program on this machine  *
  *  may read, publish and purge everything. Never run it in production.  *
  *************************************************************************

  node      %[1]s
  log       %[2]s
  demo      %[1]s/

  try       curl -d '{"data":{"text":"hello"}}' -H 'Content-Type: application/json' %[1]s/v1/channels/chat:lobby/messages
            rivulet subscribe chat:lobby --last 10 --url %[1]s

`, url, where)
}
