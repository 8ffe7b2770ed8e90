package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	lockName      = "LOCK"
	storeName     = "nats"
	startupWait   = 30 * time.Second
	shutdownWait  = 5 * time.Second
	streamWait    = 15 * time.Millisecond // the server stops one after the other, in 10 ms each
	memoryBudget  = 64 << 20              // no stream of ours is in memory
	maxPayload    = 8 << 20
	serverPending = 256 << 20
	writeDeadline = 10 * time.Second
)

// errNoServer: the embedded server is stopped. The client tries again.
var errNoServer = errors.New("broker: embedded server is not running")

// embedded is the NATS server in this process, and the owner of its directory.
type embedded struct {
	dir    string
	root   *os.Root // of dir
	log    *slog.Logger
	opts   *server.Options
	lock   *os.File
	folder string // fileID of the lock
	budget int64  // bytes that may be reserved; what was reserved before may be above it
	// doubt is why acknowledged messages may be gone, while no epoch was raised for
	// it; "" if they are not. Only Open and Close touch it.
	doubt string

	srv atomic.Pointer[server.Server]
}

// openEmbedded locks the data directory and starts the server on it.
func openEmbedded(cfg Config, log *slog.Logger) (*embedded, error) {
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fmt.Errorf("broker: data directory: %w", err)
	}
	root, err := os.OpenRoot(cfg.Data)
	if err != nil {
		return nil, fmt.Errorf("broker: data directory: %w", err)
	}
	lock, err := lockDir(root)
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	e := &embedded{dir: cfg.Data, root: root, log: log, lock: lock, folder: fileID(lock)}
	if err := e.open(cfg); err != nil {
		return nil, errors.Join(err, lock.Close(), root.Close())
	}
	return e, nil
}

func (e *embedded) open(cfg Config) error {
	before, known, err := readMarker(e.root)
	if err != nil {
		return err
	}
	switch {
	case known && before.lostWrites(bootID()):
		e.doubt = doubtCrash
	case known && before.copied(e.folder):
		e.doubt = doubtCopy
	}
	if e.budget, err = DiskBudget(cfg.Data, cfg.DiskBudget); err != nil {
		return err
	}
	have, err := ReadReserved(cfg.Data)
	if err != nil {
		return err
	}
	if e.budget < have.Total() {
		e.log.Warn("the disk budget is below what the namespaces there are reserve: they keep that, and the log may take it; none can be added",
			slog.Int64("budget", e.budget), slog.Int64("reserved", have.Total()), slog.String("raise", "--disk-budget or broker.disk_budget"))
	}
	e.opts = serverOptions(cfg, max(e.budget, have.Floor()))
	if e.doubt != "" {
		// The marker stays as it is until the epochs are raised: see settled.
		return e.start()
	}
	if err := e.mark(false); err != nil {
		return err
	}
	return e.start()
}

// Why acknowledged messages may be gone.
const (
	doubtCrash = "the machine stopped without a sync"
	doubtCopy  = "the data directory is a copy"
)

// settled records that the epochs were raised.
func (e *embedded) settled() error {
	e.doubt = ""
	return e.mark(false)
}

func (e *embedded) mark(clean bool) error {
	return writeMarker(e.root, marker{BootID: bootID(), Clean: clean, Folder: e.folder})
}

func lockDir(dir *os.Root) (*os.File, error) {
	f, err := dir.OpenFile(lockName, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("broker: lock data directory: %w", err)
	}
	held, err := lockFile(f)
	if err == nil && !held {
		err = fmt.Errorf("%w: %s is locked by another process; stop it, or give this one its own directory", ErrDataDirInUse, dir.Name())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func serverOptions(cfg Config, budget int64) *server.Options {
	o := &server.Options{
		ServerName: cfg.Node,
		DontListen: true,
		NoSigs:     true,
		JetStream:  true,
		StoreDir:   filepath.Join(cfg.Data, storeName),
		// Explicit: what the server would choose by itself is most of the disk.
		JetStreamMaxMemory: memoryBudget,
		JetStreamMaxStore:  budget,
		SyncInterval:       time.Second, // the default of two minutes buys nothing
		SyncAlways:         cfg.Sync == SyncAlways,
		MaxPayload:         maxPayload,
		MaxPending:         serverPending,
		WriteDeadline:      writeDeadline,
	}
	o.JetStreamLimits.DefaultMaxConsumers = -1 // every stream sets its own
	return o
}

func (e *embedded) start() error {
	srv, err := server.NewServer(e.opts.Clone())
	if err != nil {
		return fmt.Errorf("broker: embedded server: %w", err)
	}
	srv.SetLoggerV2(&serverLog{log: e.log}, false, false, false)
	srv.Start() // returns once started, as it does not listen
	if !srv.ReadyForConnections(startupWait) || !srv.JetStreamEnabled() {
		srv.Shutdown()
		srv.WaitForShutdown()
		return fmt.Errorf("broker: embedded server on %s did not start; its log says why", e.dir)
	}
	e.srv.Store(srv)
	return nil
}

func (e *embedded) dial() (net.Conn, error) {
	srv := e.srv.Load()
	if srv == nil || !srv.Running() {
		return nil, errNoServer
	}
	return srv.InProcessConn()
}

// stopWait is how long the server may take to stop: what matters is on disk by then, only
// the files of many consumers take longer.
func (e *embedded) stopWait() time.Duration {
	wait := shutdownWait
	if srv := e.srv.Load(); srv != nil {
		if info, err := srv.Jsz(nil); err == nil { // else it is being stopped
			wait += time.Duration(info.Streams) * streamWait
		}
	}
	return wait
}

// stop shuts the server down, at most until ctx ends or stopWait has passed.
// The marker says clean, and the lock is released, only if it came to its end.
func (e *embedded) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, e.stopWait())
	defer cancel()
	ended := make(chan error, 1)
	srv := e.srv.Swap(nil)
	// Not waited for where the server or the disk hangs: the process is about to end,
	// and the lock, kept until then, keeps others out.
	go func() {
		if srv != nil {
			srv.Shutdown()
			srv.WaitForShutdown()
		}
		ended <- syncTree(e.root) // the server does not, when it is stopped
	}()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		return fmt.Errorf("broker: embedded server on %s did not stop in time: %w", e.dir, ctx.Err())
	}
	switch {
	case err != nil:
		// The system tells of lost data once: the next start takes the machine for crashed.
		err = errors.Join(err, writeMarker(e.root, marker{Folder: e.folder}))
	case e.doubt == "":
		err = e.mark(true)
	}
	return errors.Join(err, e.lock.Close(), e.root.Close())
}

// serverLog hands the server's log on. Its notices are of no interest to an
// operator of this service, its warnings and errors are.
type serverLog struct{ log *slog.Logger }

func (s *serverLog) Noticef(f string, v ...any) {
	s.log.Debug("nats server", slog.String("text", fmt.Sprintf(f, v...)))
}

func (s *serverLog) Warnf(f string, v ...any) {
	if text := fmt.Sprintf(f, v...); strings.Contains(text, "state is outdated; attempting to recover") {
		// An index that is behind the messages, which are all there.
		s.log.Info("recovering after an unclean stop", slog.String("text", text))
		return
	}
	s.log.Warn("nats server", slog.String("text", fmt.Sprintf(f, v...)))
}

func (s *serverLog) Errorf(f string, v ...any) {
	s.log.Error("nats server", slog.String("text", fmt.Sprintf(f, v...)))
}

func (s *serverLog) Fatalf(f string, v ...any) {
	s.log.Error("nats server", slog.String("text", fmt.Sprintf(f, v...)))
}
func (s *serverLog) Debugf(string, ...any) {}
func (s *serverLog) Tracef(string, ...any) {}
