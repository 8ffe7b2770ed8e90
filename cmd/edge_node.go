package cmd

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/rivulet-rt/rivulet/api"
	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/cmd/edge"
	"github.com/rivulet-rt/rivulet/session/limit"
)

// doors are where connections come in.
type doors struct {
	public, admin       net.Listener // admin is nil where there is none
	publicTLS, adminTLS *tls.Config  // nil is without
}

// openDoors listens, and keeps the certificates fresh until the node stops.
func (n *Node) openDoors(ctx context.Context) (d doors, err error) {
	if d.public, err = listen(ctx, n.cfg.ListenAddress()); err != nil {
		return d, err
	}
	n.addr = d.public.Addr()
	n.undo.push("listener", func(context.Context) error { return ignoreClosed(d.public.Close()) })
	if address := n.cfg.Server.AdminListen; address != "" {
		if d.admin, err = listenAt(ctx, address, "server.admin_listen"); err != nil {
			return d, err
		}
		n.admin = d.admin.Addr()
		n.undo.push("admin listener", func(context.Context) error { return ignoreClosed(d.admin.Close()) })
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	n.undo.push("certificates", func(context.Context) error {
		end()
		running.Wait()
		return nil
	})
	t, err := n.newTLS(life)
	if err != nil {
		return d, fmt.Errorf("prepare TLS: %w", err)
	}
	if t != nil {
		n.handshakes = edge.NewHandshakes(n.log, n.reg)
		hangups := make(chan os.Signal, 1) // several are one
		signal.Notify(hangups, syscall.SIGHUP)
		running.Go(func() {
			defer signal.Stop(hangups)
			t.Run(life, hangups)
		})
		d.publicTLS = t.Config()
		// Whoever reaches the loopback sees everything anyway, and no certificate names it.
		if !n.adminIsLocal() {
			d.adminTLS = t.Config()
		}
	}
	if n.cfg.Server.ProxyProtocol {
		d.public = edge.ListenProxy(d.public, n.cfg.trusted(), n.log, n.reg)
	}
	return d, nil
}

// serveAPI serves it at the doors there are.
func (n *Node) serveAPI(ctx context.Context, d doors, deps api.Deps, limits *limit.Limiter) {
	watch := edge.NewVisitors(limits, n.cfg.trusted(), descriptors(), n.reg).Watch
	wrap := func(h http.Handler) http.Handler { return sparing(limits, n.surround(h, d.publicTLS != nil, true)) }
	if d.admin == nil {
		n.serve(ctx, "http", d.public, d.publicTLS, watch, wrap(n.withPage(api.New(n.cfg.apiConfig(), deps, n.log, n.reg))))
		return
	}
	public, admin := api.NewApart(n.cfg.apiConfig(), deps, n.log, n.reg)
	n.serve(ctx, "admin http", d.admin, d.adminTLS, nil, n.surround(edge.WithProfiles(admin), d.adminTLS != nil, false))
	n.serve(ctx, "http", d.public, d.publicTLS, watch, wrap(n.withPage(public)))
}

// complaints is where an http.Server complains.
func (n *Node) complaints(encrypted bool) slog.Handler {
	if encrypted {
		return n.handshakes
	}
	return n.log.Handler()
}

// sparing is handler, after whose answers connections end while memory is short.
func sparing(limits *limit.Limiter, handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if limits.Stage() >= limit.NoHandshakes {
			w.Header().Set("Connection", "close")
		}
		handler.ServeHTTP(w, r)
	})
}

// surround is handler with what concerns every request: who sends it, and what keeps
// browsers from misusing the answer.
func (n *Node) surround(handler http.Handler, encrypted, proxied bool) http.Handler {
	if len(n.identities) > 0 && encrypted {
		handler = n.identities.Middleware(handler)
	}
	if t := n.cfg.trusted(); proxied && len(t) > 0 {
		handler = t.Middleware(n.cfg.Server.ForwardedHeader, handler)
	}
	switch {
	case n.cfg.Dev:
		handler = edge.LocalHosts("with --dev only it may be asked; use 127.0.0.1 or localhost, or configure auth", handler)
	case !proxied && n.adminIsLocal(): // metrics and profiles ask for no token
		handler = edge.LocalHosts("this listener is on the loopback; ask for 127.0.0.1 or localhost", handler)
	}
	return edge.SecurityHeaders(encrypted, handler)
}

// adminIsLocal reports whether the operators' listener, if there is one, is on the loopback.
func (n *Node) adminIsLocal() bool {
	host, _, err := net.SplitHostPort(n.cfg.Server.AdminListen)
	return err == nil && isLoopback(host)
}

// authenticator is the verifier, and the certificates where there are some.
func (n *Node) authenticator(verifier *auth.Verifier) edge.Authenticator {
	if len(n.identities) > 0 {
		return n.identities.Authenticator(verifier)
	}
	return verifier
}

// AdminAddr is where the node's operators connect, nil before Start and where they have
// no listener of their own.
func (n *Node) AdminAddr() net.Addr {
	select {
	case <-n.started:
		return n.admin
	default:
		return nil
	}
}
