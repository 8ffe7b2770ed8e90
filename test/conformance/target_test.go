package conformance_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/cmd"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/websocket"
	"github.com/rivulet-rt/rivulet/test/conformance/internal/wire"
)

// target is an endpoint that is held against the tables.
type target struct {
	addr string
	path string
	// product is true of /v1/ws, which answers commands and tells why it ends a
	// connection before it does. Other targets send back every message.
	product bool
	// known are the cases that the target fails, with the reason; "" is none. When one
	// passes, it must be taken off the list.
	known map[string]string
	// timeout of a case; 0 is the dialer's.
	timeout time.Duration
}

func (tg target) dialer() wire.Dialer {
	return wire.Dialer{Address: tg.addr, Path: tg.path, Timeout: tg.timeout}
}

// echoLimit is the largest message that an echo endpoint takes.
const echoLimit = 32 << 20

// startEcho is the engine over plain TCP, as a node serves it.
func startEcho(t *testing.T) target {
	t.Helper()
	return startNode(t, func(c *cmd.Config) { c.Server.EchoEndpoint = true }).target("/test/echo")
}

// startWrappedEcho is the engine over connections that are not *net.TCPConn, as
// with TLS or a proxy's header before the stream: those are read another way.
func startWrappedEcho(t *testing.T) target {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	registry, err := session.NewRegistry(session.DefaultConfig(), session.Services{Auth: auth.Open{}}, logger, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	registry.Start(t.Context())
	t.Cleanup(func() { // after the server is closed
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		if err := registry.Drain(ctx); err != nil {
			t.Errorf("drain: %v", err)
		}
	})
	return target{addr: serveWrapped(t, websocket.NewEcho(registry, logger), opaque), path: "/"}
}

// startProduct is /v1/ws of a node that is open to everybody.
func startProduct(t *testing.T) target {
	t.Helper()
	tg := startNode(t).target("/v1/ws")
	tg.product = true
	return tg
}

// endpoint is how a test gets a target.
type endpoint struct {
	name  string
	start func(t *testing.T) target
}

// echoEndpoints are those that send back what they get.
func echoEndpoints() []endpoint {
	return []endpoint{{"echo", startEcho}, {"wrapped", startWrappedEcho}}
}

// endpoints are all.
func endpoints() []endpoint {
	return append(echoEndpoints(), endpoint{"product", startProduct})
}

// hidden is a connection that is not *net.TCPConn and, as with TLS, can be closed
// one way.
type hidden struct{ net.Conn }

func (h hidden) CloseWrite() error { return h.Conn.(*net.TCPConn).CloseWrite() }

// opaque hides what a connection is.
func opaque(c net.Conn) net.Conn { return hidden{c} }

// wrapper serves connections that are not what the kernel gave.
type wrapper struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (w wrapper) Accept() (net.Conn, error) {
	c, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return w.wrap(c), nil
}

// serveWrapped serves a handler over wrapped connections and returns its address.
func serveWrapped(t *testing.T, h http.Handler, wrap func(net.Conn) net.Conn) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(wrapper{l, wrap}) }) // ends with the server
	t.Cleanup(func() {
		_ = server.Close()
		wg.Wait()
	})
	return l.Addr().String()
}
