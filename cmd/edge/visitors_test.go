package edge_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/cmd/edge"
)

// visits lets so many connections of each address in.
type visits struct {
	most int

	mu   sync.Mutex // guards the following
	open map[netip.Addr]int
}

func (v *visits) AddVisit(a netip.Addr) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.open[a] >= v.most {
		return false
	}
	v.open[a]++
	return true
}

func (v *visits) RemoveVisit(a netip.Addr) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.open[a]--
}

func (v *visits) of(addr string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.open[netip.MustParseAddr(addr)]
}

// watched serves at listener, and reports where requests to it are answered.
func watched(t *testing.T, listener net.Listener, v *edge.Visitors) (answered func(header string) (net.Conn, bool)) {
	t.Helper()
	server := &http.Server{ReadHeaderTimeout: deadline, ConnState: v.Watch, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/take" {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				t.Cleanup(func() { conn.Close() })
			}
		}
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return func(sent string) (net.Conn, bool) {
		var d net.Dialer
		conn, err := d.DialContext(t.Context(), "tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(deadline))
		fmt.Fprint(conn, sent)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return conn, false
		}
		return conn, res.Body.Close() == nil
	}
}

const plainRequest = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

func TestVisitorsAreCountedUntilTheyEndOrAreTakenOver(t *testing.T) {
	counts := &visits{most: 2, open: map[netip.Addr]int{}}
	ask := watched(t, listenLocal(t), edge.NewVisitors(counts, nil, 0, prometheus.NewRegistry()))
	first, ok := ask(plainRequest)
	_, second := ask(plainRequest)
	if _, third := ask(plainRequest); !ok || !second || third {
		t.Fatalf("answered: %t %t %t, want two of three", ok, second, third)
	}
	first.Close()
	eventually(t, "the place of the closed one", func() bool { return counts.of("127.0.0.1") == 1 })
	if _, ok := ask("GET /take HTTP/1.1\r\nHost: x\r\n\r\n"); !ok {
		t.Fatal("not taken over")
	}
	eventually(t, "the place of the one that is taken over", func() bool { return counts.of("127.0.0.1") == 1 })
	if _, ok := ask(plainRequest); !ok {
		t.Error("there was a place for one more")
	}
	if n := counts.of("127.0.0.1"); n != 2 {
		t.Errorf("%d are counted, want 2", n)
	}
}

// TestVisitorsBehindProxies: those of trusted proxies are not counted, those whom they
// speak for in a PROXY header are.
func TestVisitorsBehindProxies(t *testing.T) {
	trusted, err := edge.ParseTrusted([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	counts := &visits{most: 1, open: map[netip.Addr]int{}}
	ask := watched(t, listenLocal(t), edge.NewVisitors(counts, trusted, 0, prometheus.NewRegistry()))
	for range 3 {
		if _, ok := ask(plainRequest); !ok {
			t.Fatal("one of a proxy is refused")
		}
	}
	listener, reg := proxyListener(t, "127.0.0.1")
	ask = watched(t, listener, edge.NewVisitors(counts, trusted, 0, reg))
	header := func(addr string) string { return "PROXY TCP4 " + addr + " 192.0.2.1 4000 443\r\n" + plainRequest }
	if _, ok := ask(header("203.0.113.7")); !ok || counts.of("203.0.113.7") != 1 {
		t.Fatalf("answered: %t, %d are counted", ok, counts.of("203.0.113.7"))
	}
	if _, ok := ask(header("203.0.113.7")); ok {
		t.Error("a second is answered")
	}
	if _, ok := ask(header("203.0.113.8")); !ok {
		t.Error("another's is not")
	}
}

func TestVisitorsLeaveDescriptors(t *testing.T) {
	counts := &visits{most: 10, open: map[netip.Addr]int{}}
	ask := watched(t, listenLocal(t), edge.NewVisitors(counts, nil, 2, prometheus.NewRegistry())) // all are in use
	if _, ok := ask(plainRequest); ok {
		t.Error("answered without descriptors to spare")
	}
}
