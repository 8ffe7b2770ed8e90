package edge_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/cmd/edge"
	"github.com/rivulet-rt/rivulet/session"
)

const deadline = 10 * time.Second

// whoServer answers every request with the client's address.
func whoServer(t *testing.T, listener net.Listener) {
	t.Helper()
	server := &http.Server{ReadHeaderTimeout: deadline, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s", session.ClientAddr(r), r.URL.Path)
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
}

func listenLocal(t *testing.T) net.Listener {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func proxyListener(t *testing.T, trusted string) (net.Listener, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	list, err := edge.ParseTrusted([]string{trusted})
	if err != nil {
		t.Fatal(err)
	}
	return edge.ListenProxy(listenLocal(t), list, slog.New(slog.DiscardHandler), reg), reg
}

// say opens a connection, sends what is given, part by part, and returns all that comes.
func say(t *testing.T, addr net.Addr, sent ...string) string {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(deadline))
	for _, part := range sent {
		if _, err := io.WriteString(conn, part); err != nil {
			break // it may have been closed already
		}
	}
	got, err := io.ReadAll(conn)
	if err, ok := errors.AsType[net.Error](err); ok && err.Timeout() {
		t.Fatalf("%.40q: neither answered nor closed", sent)
	}
	return string(got)
}

func version2(t *testing.T, h *proxyproto.Header, source string) string {
	t.Helper()
	if source != "" {
		h.TransportProtocol = proxyproto.TCPv4
		h.SourceAddr = net.TCPAddrFromAddrPort(netip.MustParseAddrPort(source))
		h.DestinationAddr = net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:443"))
	}
	h.Version = 2
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const get = "GET /who HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"

func TestProxyHeaderNamesTheClient(t *testing.T) {
	l, _ := proxyListener(t, "127.0.0.1")
	whoServer(t, l)
	v2 := version2(t, &proxyproto.Header{Command: proxyproto.PROXY}, "203.0.113.9:4711")
	const local = "\x20" // its version and command
	for name, test := range map[string]struct{ header, want string }{
		"version 1":                         {"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n", "203.0.113.9 /who"},
		"version 1, IPv6":                   {"PROXY TCP6 2001:db8::5 2001:db8::1 4711 443\r\n", "2001:db8::5 /who"},
		"version 1, unknown":                {"PROXY UNKNOWN\r\n", "127.0.0.1 /who"},
		"version 2":                         {v2, "203.0.113.9 /who"},
		"version 2, its own with addresses": {v2[:12] + local + v2[13:], "127.0.0.1 /who"},
		"version 2, its own":                {version2(t, &proxyproto.Header{Command: proxyproto.LOCAL}, ""), "127.0.0.1 /who"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, sent := range [][]string{{test.header + get}, {test.header, get}} {
				if got := say(t, l.Addr(), sent...); !strings.HasSuffix(got, test.want) {
					t.Errorf("sent in %d parts: got %q, want %q at its end", len(sent), got, test.want)
				}
			}
		})
	}
}

func TestBadProxyHeaderIsClosedUnanswered(t *testing.T) {
	l, reg := proxyListener(t, "127.0.0.1")
	whoServer(t, l)
	v2 := version2(t, &proxyproto.Header{Command: proxyproto.PROXY}, "203.0.113.9:4711")
	huge := []byte(v2[:16])
	huge[14], huge[15] = 0xff, 0xff
	bad := map[string]string{
		"none":                       get,
		"TLS":                        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"no addresses":               "PROXY TCP4\r\n" + get,
		"an address that is none":    "PROXY TCP4 203.0.113 192.0.2.1 1 2\r\n" + get,
		"a port that is none":        "PROXY TCP4 203.0.113.9 192.0.2.1 70000 2\r\n" + get,
		"another family":             "PROXY TCP4 2001:db8::5 192.0.2.1 1 2\r\n" + get,
		"no CR":                      "PROXY TCP4 203.0.113.9 192.0.2.1 1 2\n" + get,
		"a line without end":         "PROXY TCP4 " + strings.Repeat("1", 1<<20),
		"a NUL":                      "PROXY TCP4 203.0.113.9\x00 192.0.2.1 1 2\r\n" + get,
		"version 3":                  v2[:12] + "\x31" + v2[13:] + get,
		"version 2, family unknown":  v2[:13] + "\x71" + v2[14:] + get,
		"version 2, longer than all": string(huge) + strings.Repeat("x", 1<<17),
		"version 2, too short":       v2[:14] + "\x00\x03abc" + get,
	}
	for name, sent := range bad {
		t.Run(name, func(t *testing.T) {
			if got := say(t, l.Addr(), sent); got != "" {
				t.Errorf("answered with %q", got)
			}
		})
	}
	if got := refusals(t, reg, "malformed"); got != float64(len(bad)) {
		t.Errorf("%v were counted as malformed, want %d", got, len(bad))
	}
}

func TestProxyHeaderOfAStrangerIsRefused(t *testing.T) {
	l, reg := proxyListener(t, "192.0.2.1")
	whoServer(t, l)
	if got := say(t, l.Addr(), "PROXY TCP4 192.0.2.1 192.0.2.1 1 2\r\n"+get); got != "" {
		t.Errorf("answered with %q", got)
	}
	if got := refusals(t, reg, "untrusted"); got != 1 {
		t.Errorf("%v were counted as untrusted, want 1", got)
	}
}

func TestSlowProxyHeaderIsCut(t *testing.T) {
	l, reg := proxyListener(t, "127.0.0.1")
	edge.SetProxyTimeout(l, 50*time.Millisecond)
	whoServer(t, l)
	v2 := version2(t, &proxyproto.Header{Command: proxyproto.PROXY}, "203.0.113.9:4711")
	for _, sent := range []string{"", "PRO", v2[:20]} {
		if got := say(t, l.Addr(), sent); got != "" {
			t.Errorf("%q was answered with %q", sent, got)
		}
	}
	if got := refusals(t, reg, "slow"); got != 3 {
		t.Errorf("%v were counted as slow, want 3", got)
	}
}

// TestWhatFollowsAProxyHeaderIsKept: a request that comes with the header is read whole,
// whatever the sizes.
func TestWhatFollowsAProxyHeaderIsKept(t *testing.T) {
	l, _ := proxyListener(t, "127.0.0.1")
	defer l.Close()
	for _, size := range []int{0, 1, 900, 1 << 10, 5000, 1 << 20} {
		body := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		go func() {
			var d net.Dialer
			conn, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, _ = conn.Write(append([]byte("PROXY TCP4 203.0.113.9 192.0.2.1 1 2\r\n"), body...))
		}()
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(bufio.NewReaderSize(conn, 16))
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("%d bytes: got %d, %v", size, len(got), err)
		}
		if conn.RemoteAddr().String() != "203.0.113.9:1" {
			t.Errorf("from %v", conn.RemoteAddr())
		}
		if plain := conn.(interface{ Plain() net.Conn }).Plain(); plain == nil {
			t.Error("there is no plain connection once all was read")
		}
		conn.Close()
	}
}

func TestPlainConnectionWaitsForWhatCameWithTheHeader(t *testing.T) {
	l, _ := proxyListener(t, "127.0.0.1")
	defer l.Close()
	var d net.Dialer
	client, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, _ = io.WriteString(client, "PROXY TCP4 203.0.113.9 192.0.2.1 1 2\r\nab")
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	plain := func() net.Conn { return conn.(interface{ Plain() net.Conn }).Plain() }
	one := make([]byte, 1)
	if _, err := conn.Read(one); err != nil || plain() != nil {
		t.Errorf("%v; the plain connection is offered while a byte waits", err)
	}
	if _, err := conn.Read(one); err != nil || one[0] != 'b' || plain() == nil {
		t.Errorf("%q, %v; the plain connection is not offered after all was read", one, err)
	}
}

func refusals(t *testing.T, reg *prometheus.Registry, reason string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "rivulet_edge_proxy_refused_total" && m.GetLabel()[0].GetValue() == reason {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("there is no counter of %s", reason)
	return 0
}
