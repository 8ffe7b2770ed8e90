package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/migrations"
)

// replayLinks is how many connections read the log: a server answers the
// requests of one connection one after the other.
const replayLinks = 4

var (
	errStarted = errors.New("broker: already started")
	errWatched = errors.New("broker: already watched")

	_ fanout.Log    = (*Broker)(nil)
	_ fanout.Feed   = (*Broker)(nil)
	_ fanout.Epochs = (*Broker)(nil)
)

// Broker is the log and the live feed. Open makes one, Start connects it with
// the hub, Close ends it.
type Broker struct {
	// Static after Open.
	cfg      Config
	log      *slog.Logger
	met      *metrics
	srv      *embedded // nil with a remote server
	links    []*link   // all of them
	live     *link
	ctl      *link
	replay   []*mux
	js       jetstream.JetStream
	epochs   *migrations.Epochs
	pub      *publisher
	reg      *registry
	dec      *decoder
	feed     *feed
	keep     *keeper
	sessions *Sessions
	disk     *disk // nil with a remote server
	timer    *timer
	trust    *Trust

	// ctx ends the broker's own goroutines, which wg counts.
	ctx    context.Context //nolint:containedctx // the lifetime of the broker's goroutines, not of a call
	cancel context.CancelFunc
	wg     sync.WaitGroup

	exact   atomic.Bool
	ready   readiness
	control atomic.Pointer[Control] // nil before Control.Start and on a node that is alone

	groups   *groups
	erasures erasures

	closing sync.Once
	ended   error // of the first Close
}

// Open starts the embedded server, or connects to the remote one, brings the
// topology up to date and makes the configured namespaces. It waits for a remote
// server until ctx ends; ctx does not bound the broker's life. Errors wrap
// ErrDataDirInUse, migrations.ErrNewerTopology, migrations.ErrNoRoom or what went
// wrong.
func Open(ctx context.Context, cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Broker, error) {
	b, err := newBroker(ctx, cfg, log, reg)
	if err != nil {
		return nil, err
	}
	if err := b.open(ctx); err != nil {
		return nil, errors.Join(err, b.Close(context.WithoutCancel(ctx)))
	}
	return b, nil
}

func newBroker(ctx context.Context, cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Broker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	b := &Broker{cfg: cfg, log: log, met: newMetrics(reg), reg: newRegistry(), dec: newDecoder()}
	b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	b.keep = newKeeper(b)
	b.groups = newGroups(b)
	b.sessions = newSessions(b)
	b.timer = newTimer(b)
	b.trust = newTrust(b)
	return b, nil
}

func (b *Broker) open(ctx context.Context) error {
	if err := b.openServer(); err != nil {
		return err
	}
	if err := b.connect(ctx); err != nil {
		return err
	}
	if err := b.setUp(ctx); err != nil {
		return err
	}
	if err := b.timer.open(ctx); err != nil {
		return err
	}
	b.wg.Go(func() { b.keep.run(b.ctx) })
	b.wg.Go(func() { b.timer.run(b.ctx) })
	return nil
}

// openServer starts the embedded server, if there is to be one.
func (b *Broker) openServer() error {
	if b.cfg.NATSURL != "" {
		return nil
	}
	srv, err := openEmbedded(b.cfg, b.log)
	if err != nil {
		return err
	}
	b.srv = srv
	b.met.diskBudget.Set(float64(srv.budget))
	b.disk = &disk{dir: b.cfg.Data, srv: srv, log: b.log, met: b.met}
	b.disk.least.Store(min(leastFree, srv.opts.JetStreamMaxStore/8))
	b.disk.look()
	return nil
}

// connect opens the links. Each has its own purpose.
func (b *Broker) connect(ctx context.Context) error {
	var err error
	if b.live, err = b.open1(ctx, "live", func(l *link) {
		b.feed = newFeed(b, l, b.cfg.FeedBuffer)
		l.up, l.bad = b.keep.liveBack, b.feed.lossy
	}); err != nil {
		return err
	}
	if err := b.connectControl(ctx); err != nil {
		return err
	}
	pub, err := b.openMux(ctx, "publish")
	if err != nil {
		return err
	}
	b.pub = &publisher{mux: pub, window: newWindow(b.cfg.InFlight, b.cfg.share())}
	for i := range replayLinks {
		m, err := b.openMux(ctx, fmt.Sprintf("replay-%d", i))
		if err != nil {
			return err
		}
		b.replay = append(b.replay, m)
	}
	// A revocation must not wait behind what clients read that catch up.
	b.trust.mux, err = b.openMux(ctx, "trust")
	return err
}

func (b *Broker) connectControl(ctx context.Context) (err error) {
	if b.ctl, err = b.open1(ctx, "control", func(l *link) {
		l.bad = func(err error) {
			if c := b.control.Load(); c != nil {
				c.bad(err)
			}
		}
	}); err != nil {
		return err
	}
	b.js, err = jetstream.New(b.ctl.nc)
	return err
}

func (b *Broker) open1(ctx context.Context, name string, prepare func(*link)) (*link, error) {
	l := &link{name: name, log: b.log, met: b.met}
	if prepare != nil {
		prepare(l)
	}
	if err := l.connect(ctx, b.cfg, b.srv); err != nil {
		return nil, err
	}
	b.links = append(b.links, l)
	return l, nil
}

func (b *Broker) openMux(ctx context.Context, name string) (*mux, error) {
	l, err := b.open1(ctx, name, nil)
	if err != nil {
		return nil, err
	}
	m, err := newMux(l)
	if err != nil {
		return nil, fmt.Errorf("broker: %s link: %w", name, err)
	}
	return m, nil
}

// setUp brings topology and namespaces to where the configuration wants them.
func (b *Broker) setUp(ctx context.Context) error {
	rep, err := b.apply(ctx)
	if err != nil {
		return err
	}
	if len(rep.Applied) > 0 {
		b.log.Info("topology brought up to date", slog.Int("from", rep.From), slog.Int("to", rep.To))
	}
	for _, step := range rep.Applied {
		b.log.Debug("topology step applied", slog.Int("version", step.Version), slog.String("name", step.Name))
	}
	if b.epochs, err = migrations.OpenEpochs(ctx, b.js); err != nil {
		return err
	}
	if b.srv != nil && b.srv.doubt != "" {
		n, err := b.epochs.RaiseAll(ctx)
		if err != nil {
			return fmt.Errorf("broker: raise epochs, as %s: %w", b.srv.doubt, err)
		}
		b.log.Warn("messages may be gone, every epoch was raised", slog.String("cause", b.srv.doubt), slog.Int("streams", n))
		if err := b.srv.settled(); err != nil {
			return err
		}
	}
	if err := b.ensureAll(ctx); err != nil {
		return err
	}
	return b.detectExact(ctx)
}

// apply waits for a JetStream that is still electing its leader.
func (b *Broker) apply(ctx context.Context) (migrations.Report, error) {
	for {
		rep, err := migrations.Apply(ctx, b.js, b.applyOptions())
		if err == nil || errors.Is(err, migrations.ErrNewerTopology) || b.srv != nil {
			return rep, err
		}
		b.log.Info("waiting for jetstream", slog.Any("err", err))
		if perr := pause(ctx, keepRetry); perr != nil {
			return rep, errors.Join(err, perr)
		}
	}
}

func (b *Broker) applyOptions() migrations.Options {
	opts := migrations.Options{Replicas: b.cfg.Replicas, By: b.cfg.Node}
	if b.srv == nil {
		opts.SessionBytes = remoteSessionBytes
	}
	return opts
}

// Sync is the durability of what is acknowledged; with a remote server, as
// declared.
func (b *Broker) Sync() Sync { return b.cfg.Sync }

// Embedded reports whether the server is in this process.
func (b *Broker) Embedded() bool { return b.srv != nil }

// DataDir is the absolute directory of the embedded server, "" with a remote one.
func (b *Broker) DataDir() string {
	if b.srv == nil {
		return ""
	}
	dir, err := filepath.Abs(b.srv.dir)
	if err != nil {
		return b.srv.dir
	}
	return dir
}

// Close refuses further publishes, waits until those under way are acknowledged
// or ctx ends, and stops everything, at the latest some seconds later. Calls
// after the first return the same.
func (b *Broker) Close(ctx context.Context) error {
	b.closing.Do(func() { b.ended = b.close(ctx) })
	return b.ended
}

func (b *Broker) close(ctx context.Context) error {
	var errs []error
	if b.pub != nil {
		b.pub.closed.Store(true)
		if err := b.pub.window.drained(ctx); err != nil {
			errs = append(errs, fmt.Errorf("broker: publishes were under way at the end: %w", err))
		}
	}
	// No namespace is created any more, nor a goroutine begun for one.
	if err := b.reg.creating.Acquire(ctx, 1); err != nil {
		errs = append(errs, err)
	}
	b.groups.close()
	b.erasures.close()
	b.cancel()
	b.wg.Wait()
	for _, l := range b.links {
		l.close()
	}
	if b.srv != nil {
		errs = append(errs, b.srv.stop(context.WithoutCancel(ctx)))
	}
	return errors.Join(errs...)
}
