package broker

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	dialTimeout   = 5 * time.Second
	reconnectWait = 50 * time.Millisecond
	reconnectMax  = 2 * time.Second
	// A remote server that stopped answering is noticed after two of them. In
	// process a lost connection is seen at once.
	pingRemote    = 5 * time.Second
	pingInProcess = 20 * time.Second
	// How often a node that waits for its server at the start says so.
	sayWaiting = 10 * time.Second
)

// link is one connection to NATS, which reconnects for ever. Publishing, the
// live feed, replay and control have their own, so that none holds up another.
type link struct {
	name string
	log  *slog.Logger
	met  *metrics
	nc   *nats.Conn

	// dials counts attempts to connect. It grows before a new connection can deliver
	// anything, so whoever sees it grown knows that the old one has ended.
	dials atomic.Uint64

	mux atomic.Pointer[mux] // set once connected, where the link has one

	// Set before connecting; called from the client's callback goroutine. May be nil.
	up  func()      // the connection is there again, subscriptions sent
	bad func(error) // an asynchronous error, such as a slow consumer
}

// dialer counts the dials of remote connections.
type dialer struct {
	link *link
	net  net.Dialer
}

func (d *dialer) Dial(network, address string) (net.Conn, error) {
	d.link.dials.Add(1)
	return d.net.Dial(network, address)
}

// provider counts the dials of in-process connections. Unlike the client's own
// it asks for the server at every dial, and so finds one that was restarted.
type provider struct {
	link *link
	srv  *embedded
}

func (p *provider) InProcessConn() (net.Conn, error) {
	p.link.dials.Add(1)
	return p.srv.dial()
}

// connect dials until it succeeds or ctx ends; from then on the client reconnects
// by itself.
func (l *link) connect(ctx context.Context, cfg Config, srv *embedded) error {
	opts := l.options(cfg, srv)
	retry := time.NewTicker(reconnectMax / 10)
	defer retry.Stop()
	var said time.Time
	for {
		nc, err := nats.Connect(cfg.NATSURL, opts...)
		if err == nil {
			l.nc = nc
			l.met.connected.WithLabelValues(l.name).Set(1)
			return nil
		}
		if srv == nil && time.Since(said) >= sayWaiting {
			said = time.Now()
			l.log.Warn("waiting for nats", slog.String("servers", addresses(cfg.NATSURL)), slog.Any("err", err))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("broker: connect %s: %w: %w", l.name, ctx.Err(), err)
		case <-retry.C:
		}
	}
}

// addresses are the servers of a list of URLs, without their credentials.
func addresses(list string) string {
	var hosts []string
	for one := range strings.SplitSeq(list, ",") {
		if u, err := url.Parse(strings.TrimSpace(one)); err == nil {
			hosts = append(hosts, u.Scheme+"://"+u.Host)
		}
	}
	return strings.Join(hosts, ",")
}

func (l *link) options(cfg Config, srv *embedded) []nats.Option {
	opts := []nats.Option{
		nats.Name(cfg.Node + " " + l.name),
		nats.MaxReconnects(-1),
		nats.ReconnectBufSize(-1), // fail publishes at once instead of holding them back
		nats.CustomReconnectDelay(backoff),
		nats.IgnoreAuthErrorAbort(), // credentials may be mended while the node runs
		nats.Timeout(dialTimeout),
		nats.NoCallbacksAfterClientClose(),
		nats.DisconnectErrHandler(l.onDown),
		nats.ReconnectHandler(l.onUp),
		nats.ErrorHandler(l.onError),
	}
	if srv != nil {
		return append(opts, nats.InProcessServer(&provider{link: l, srv: srv}), nats.PingInterval(pingInProcess))
	}
	opts = append(opts, nats.SetCustomDialer(&dialer{link: l, net: net.Dialer{Timeout: dialTimeout}}),
		nats.PingInterval(pingRemote), nats.MaxPingsOutstanding(2))
	if cfg.Credentials != "" {
		opts = append(opts, nats.UserCredentials(cfg.Credentials))
	}
	if cfg.CA != "" {
		opts = append(opts, nats.RootCAs(cfg.CA))
	}
	return opts
}

// backoff grows from reconnectWait to reconnectMax with the tries, half of it
// random, so that nodes do not come back all at once.
func backoff(tries int) time.Duration {
	d := min(reconnectWait<<min(tries, 10), reconnectMax)
	return d/2 + rand.N(d/2)
}

func (l *link) onDown(nc *nats.Conn, err error) {
	l.met.connected.WithLabelValues(l.name).Set(0)
	l.log.Warn("nats connection lost", slog.String("link", l.name), slog.Any("err", err))
	l.lost(nc)
}

func (l *link) lost(nc *nats.Conn) {
	if m := l.mux.Load(); m != nil {
		m.lost(nc)
	}
}

func (l *link) onUp(nc *nats.Conn) {
	l.met.connected.WithLabelValues(l.name).Set(1)
	l.met.reconnects.WithLabelValues(l.name).Inc()
	l.log.Info("nats connection back", slog.String("link", l.name), slog.String("server", nc.ConnectedServerName()))
	l.lost(nc) // the loss may have been reported when the new connection stood
	if l.up != nil {
		l.up()
	}
}

func (l *link) onError(_ *nats.Conn, _ *nats.Subscription, err error) {
	l.log.Warn("nats connection error", slog.String("link", l.name), slog.Any("err", err))
	if l.bad != nil {
		l.bad(err)
	}
}

func (l *link) close() {
	if l.nc != nil {
		l.nc.Close()
		l.met.connected.WithLabelValues(l.name).Set(0)
	}
}
