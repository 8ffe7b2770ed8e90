package cmd

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/api"
	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/auth/hook"
	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/broker/webhook"
	"github.com/rivulet-rt/rivulet/cmd/demo"
	"github.com/rivulet-rt/rivulet/cmd/edge"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/limit"
	"github.com/rivulet-rt/rivulet/session/sse"
	"github.com/rivulet-rt/rivulet/session/websocket"
)

// What starting and stopping can answer.
var (
	// ErrStarted: a node is started once.
	ErrStarted = errors.New("cmd: node was started already")
	// ErrStopped: a node that was stopped stays so; make a new one.
	ErrStopped = errors.New("cmd: node was stopped")
	// ErrPortInUse: another process listens there.
	ErrPortInUse = errors.New("cmd: port in use")
)

// Node is one running Rivulet. Its methods may be called concurrently.
type Node struct {
	// Static after New.
	cfg  Config
	name string
	auth auth.Config
	// identities are of publishers with client certificates.
	identities edge.Identities
	webhooks   webhook.Config
	asks       []hook.Config
	log        *slog.Logger
	reg        *prometheus.Registry

	draining atomic.Bool // readiness is off
	failed   chan error  // size 1: why serving ended by itself

	// Owned by Start until started is closed, then by the first Stop.
	undo  cleanups
	addr  net.Addr
	admin net.Addr
	// handshakes are those of TLS that failed; nil without TLS.
	handshakes *edge.Handshakes
	page       *demo.Site // nil without Dev

	started chan struct{} // closed when Start has ended
	stopped chan struct{} // closed when the first Stop has ended
	stopErr error         // of the first Stop; read after stopped

	mu          sync.Mutex // guards the following
	starting    bool       // Start was called
	stopping    bool       // Stop was called
	cancelStart context.CancelFunc
}

// New prepares a node and touches nothing yet but the file of the secret. The
// error has every problem of cfg.
func New(cfg Config, logger *slog.Logger, reg *prometheus.Registry) (*Node, error) {
	authCfg, err := cfg.nodeConfig()
	if err != nil {
		return nil, err
	}
	name := nodeName()
	hooks, err := cfg.webhookConfig(name)
	if err != nil {
		return nil, err
	}
	identities, err := cfg.identities()
	if err != nil {
		return nil, err
	}
	asks, err := cfg.hookConfigs()
	if err != nil {
		return nil, err
	}
	return &Node{
		cfg: cfg, name: name, auth: authCfg, identities: identities, webhooks: hooks, asks: asks, reg: reg,
		log:     logger.With(slog.String("node", name)),
		failed:  make(chan error, 1),
		started: make(chan struct{}),
		stopped: make(chan struct{}),
	}, nil
}

// nodeName tells the nodes of a cluster apart, also two on one machine.
func nodeName() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "rivulet"
	}
	host = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, host)
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails, by its contract
	return host[:min(len(host), 40)] + "-" + hex.EncodeToString(b[:])
}

// Start opens the log and begins to serve; when it returns nil, Addr accepts
// connections. ctx bounds the start alone. If a step fails, those before it are
// undone.
func (n *Node) Start(ctx context.Context) error {
	ctx, err := n.begin(ctx)
	if err != nil {
		return err
	}
	defer close(n.started)
	if err := n.setup(ctx); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(n.cfg.Server.StopTimeout))
		defer cancel()
		return errors.Join(err, n.undo.run(ctx, n.log))
	}
	where := []any{slog.String("address", n.addr.String())}
	if n.admin != nil {
		where = append(where, slog.String("admin_address", n.admin.String()))
	}
	n.log.Info("started", where...)
	return nil
}

func (n *Node) begin(ctx context.Context) (context.Context, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.stopping:
		return nil, ErrStopped
	case n.starting:
		return nil, ErrStarted
	}
	n.starting = true
	ctx, n.cancelStart = context.WithCancel(ctx)
	return ctx, nil
}

// setup is one straight line, so that the order of starting, and with it the
// order of stopping, can be read off.
func (n *Node) setup(ctx context.Context) error {
	doors, err := n.openDoors(ctx)
	if err != nil {
		return err
	}
	b, hub, err := n.openLog(ctx)
	if err != nil {
		return err
	}
	hooks, err := n.startWebhooks(ctx, b)
	if err != nil {
		return err
	}
	control := b.NewControl()
	presence := n.startPresence(hub, control, hooks)
	trust, verifier, err := n.startAuth(ctx, b)
	if err != nil {
		return err
	}
	callers, err := n.startCallers(verifier, trust.store)
	if err != nil {
		return err
	}
	limits, err := n.newLimiter()
	if err != nil {
		return err
	}
	gates, err := n.newGates(callers)
	if err != nil {
		return err
	}
	publisher, reader := limit.NewPublisher(gates.publisher(b), limits), limit.NewReader(hub, limits)
	registry, err := n.newRegistry(session.Services{
		NewClient: func(sink fanout.Sink) session.Subscriber { return hub.NewClient(sink) },
		History:   reader, Publisher: publisher, Limits: limits, Auth: callers, Subscriptions: verifier, Revocations: trust.store,
		Connect: gates.connect(), Subscribe: gates.subscribe(), Slow: gates.slow(),
		Durable: b.Sessions(), Presence: presence, Others: control, Groups: b,
	})
	if err != nil {
		return err
	}
	if err := b.Sessions().Serve(registry, sessionObserver(hooks)); err != nil {
		return fmt.Errorf("serve durable sessions: %w", err)
	}
	if err := control.Start(presence, answerers(presence, registry)); err != nil {
		return fmt.Errorf("start the control bus: %w", err)
	}
	registry.Start(ctx)
	n.undo.push("sessions", registry.Drain)
	n.undo.push("revocations", trust.enforce(ctx, registry))
	if err := n.startFeed(ctx, presence, publisher); err != nil {
		return err
	}

	n.serveAPI(ctx, doors, api.Deps{
		Publisher: publisher,
		Purger:    b,
		Scheduler: b,
		Groups:    b,
		History:   reader,
		Presence:  presence,
		Tail:      hub,
		Users:     registry,
		Readiness: readiness{&n.draining, b},
		Auth:      callers,
		Metrics:   n.reg,
		Limits:    limits,
		Tries:     limits,
		WebSocket: websocket.New(registry, n.log),
		Events:    sse.New(registry, n.log),
		Poll:      sse.NewPoller(registry, n.log),
		Origins:   registry.Origins(),
		Echo:      n.echo(registry),

		Sessions:       b.Sessions(),
		SessionControl: b.Sessions(),
		Webhooks:       webhookView{hooks},
		Trust:          trust,
	}, limits)
	n.undo.push("requests that wait", registry.Finish) // before the server waits for them
	return nil
}

// openLog opens it, and begins to hand what is stored to the hub.
func (n *Node) openLog(ctx context.Context) (*broker.Broker, *fanout.Hub, error) {
	b, err := broker.Open(ctx, n.cfg.brokerConfig(n.name), n.log, n.reg)
	if err != nil {
		return nil, nil, fmt.Errorf("open the log: %w", err)
	}
	n.undo.push("broker", b.Close)
	hub := fanout.NewHub(fanout.DefaultHubConfig(), b, b, b, n.log, n.reg)
	n.undo.push("hub", hub.Stop)
	if err := b.Start(hub); err != nil {
		return nil, nil, fmt.Errorf("start the live feed: %w", err)
	}
	return b, hub, nil
}

// Limits of the HTTP server. Bodies and answers have theirs in api, sockets in session.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 32 << 10
)

// serve without a config is without TLS. watch may be nil.
func (n *Node) serve(
	ctx context.Context, name string, listener net.Listener, config *tls.Config, watch func(net.Conn, http.ConnState), handler http.Handler,
) {
	base := context.WithoutCancel(ctx)
	server := &http.Server{
		Handler:           handler,
		TLSConfig:         config,
		ConnState:         watch,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(n.complaints(config != nil), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return base },
	}
	run := server.Serve
	if config != nil {
		run = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := run(listener); !errors.Is(err, http.ErrServerClosed) {
			select {
			case n.failed <- fmt.Errorf("serve %s: %w", name, err):
			default: // one reason is enough
			}
		}
	})
	n.undo.push(name, func(ctx context.Context) error {
		defer serving.Wait()
		// The sockets, which Shutdown does not touch, need the rest of the time.
		ctx, cancel := portion(ctx, 3)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			return errors.Join(fmt.Errorf("requests were cut: %w", err), server.Close())
		}
		return nil
	})
}

// portion is ctx with one part in so many of the time it has left.
func portion(ctx context.Context, parts int) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(deadline)/time.Duration(parts))
}

// Addr is where the node listens, nil before it does.
func (n *Node) Addr() net.Addr {
	select {
	case <-n.started:
		return n.addr
	default:
		return nil
	}
}

// URL is the address of the node's HTTP API for clients on this machine, "" before Start.
func (n *Node) URL() string {
	addr, ok := n.Addr().(*net.TCPAddr)
	if !ok {
		return ""
	}
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "http://"
	if n.cfg.Server.encrypted() {
		scheme = "https://"
	}
	return scheme + net.JoinHostPort(host, fmt.Sprint(addr.Port))
}

// Wait returns nil when ctx ends, or why the node can serve no longer.
func (n *Node) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-n.failed:
		return err
	}
}

// Stop ends the node: readiness goes off, requests finish, clients are told to
// go elsewhere, and the log is closed. ctx bounds it; what is not finished then
// is cut. Every call waits for the first one's work and returns its error.
func (n *Node) Stop(ctx context.Context) error {
	n.mu.Lock()
	first := !n.stopping
	n.stopping = true
	starting := n.starting
	if starting {
		n.cancelStart()
	}
	n.mu.Unlock()
	if !first {
		select {
		case <-n.stopped:
			return n.stopErr
		case <-ctx.Done():
			return fmt.Errorf("wait for the node to stop: %w", ctx.Err())
		}
	}
	defer close(n.stopped)
	if !starting {
		return nil
	}
	n.draining.Store(true)
	<-n.started
	n.stopErr = n.undo.run(ctx, n.log)
	n.log.Info("stopped")
	return n.stopErr
}

// readiness is the broker's, until the node begins to stop.
type readiness struct {
	draining *atomic.Bool
	api.Readiness
}

var errDraining = errors.New("the node is stopping")

func (r readiness) Ready(ctx context.Context) error {
	if r.draining.Load() {
		return errDraining
	}
	return r.Readiness.Ready(ctx)
}
