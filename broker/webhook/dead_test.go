package webhook_test

import (
	"context"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/auth/signature"
	"github.com/rivulet-rt/rivulet/broker/webhook"
)

// TestDeadConnectionIsGivenUp: over HTTP/2 all requests share one connection. Where that dies
// and nobody is told, the receiver is soon reached by another.
func TestDeadConnectionIsGivenUp(t *testing.T) {
	t.Parallel()
	s, roots := overTLS(t, func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || r.Header.Get(signature.Header) == "" {
			t.Errorf("was asked by %s, signed %q", r.Proto, r.Header.Get(signature.Header))
		}
	})
	r := newRelay(t, s.Listener.Addr().String())
	to := hook(t, "dead", "https://"+r.Addr().String())
	to.Timeout, to.Concurrency = time.Second, 4
	send, done := webhook.SenderForTest(&to, roots)
	defer done()
	if err := send(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.dead.Store(r.made.Load())
	eventually(t, 20*time.Second, func() (bool, string) {
		return send(t.Context()) == nil, "the receiver to be reached again"
	})
}

// relay is before a server, and forgets connections as a NAT does: nothing passes any more,
// and nobody is told.
type relay struct {
	net.Listener
	made, dead atomic.Int64 // how many there were, and how many of the first are forgotten
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: l}
	var work sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	work.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			n := r.made.Add(1)
			out, err := new(net.Dialer).DialContext(ctx, "tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			context.AfterFunc(ctx, func() { _, _ = in.Close(), out.Close() })
			work.Go(func() { r.pass(n, in, out) })
			work.Go(func() { r.pass(n, out, in) })
		}
	})
	t.Cleanup(func() {
		stop()
		_ = l.Close()
		work.Wait()
	})
	return r
}

func (r *relay) pass(n int64, to, from net.Conn) {
	defer to.Close()
	for buf := make([]byte, 4096); ; {
		k, err := from.Read(buf)
		if err != nil {
			return
		}
		if n > r.dead.Load() {
			_, _ = to.Write(buf[:k])
		}
	}
}

func overTLS(t *testing.T, f http.HandlerFunc) (s *httptest.Server, roots *x509.CertPool) {
	t.Helper()
	s = httptest.NewUnstartedServer(f)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	roots = x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return s, roots
}
