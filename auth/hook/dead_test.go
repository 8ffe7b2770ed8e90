package hook_test

import (
	"context"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/auth/hook"
)

// TestDeadConnectionIsGivenUp: over HTTP/2 all questions share one connection. Where that dies
// and nobody is told, the service is soon reached by another, with the breaker and without.
func TestDeadConnectionIsGivenUp(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*hook.Config){
		"the breaker opens": breaker,
		"it stays closed":   func(c *hook.Config) { c.Breaker.MinRequests = 1e5 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, roots := overTLS(t, func(w http.ResponseWriter, r *http.Request) {
				if r.ProtoMajor != 2 {
					t.Errorf("was asked by %s", r.Proto)
				}
				_, _ = io.WriteString(w, `{"allow":true}`)
			})
			r := newRelay(t, s.Listener.Addr().String())
			h, _ := open(t, &service{Server: &httptest.Server{URL: "https://" + r.Addr().String()}}, func(c *hook.Config) {
				change(c)
				c.Timeout = time.Second
			})
			hook.TrustForTest(h, roots)
			if _, err := h.Ask(t.Context(), question("a")); err != nil {
				t.Fatal(err)
			}
			r.dead.Store(r.made.Load())
			ask(t, h, func() bool { return r.made.Load() > r.dead.Load() })
		})
	}
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
