package edge

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/pires/go-proxyproto"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// proxyHeaderTimeout is how long a proxy may take to send its header; it is the first
// thing that it sends, at once.
const proxyHeaderTimeout = 5 * time.Second

// Why a connection that should have begun with a PROXY header was refused.
const (
	refusedUntrusted = "untrusted" // by somebody who is no trusted proxy
	refusedMalformed = "malformed" // or missing
	refusedSlow      = "slow"
)

// proxyListener takes connections from trusted proxies that begin with a PROXY header.
type proxyListener struct {
	net.Listener
	trusted Trusted
	timeout time.Duration
	log     *slog.Logger
	refused map[string]prometheus.Counter
	readers sync.Pool // of *bufio.Reader, while a header is read
}

// proxyReadBuffer holds a header of version 1 and what usually follows it.
const proxyReadBuffer = 1 << 10

// ListenProxy wraps listener: each connection must come from one of trusted and begin
// with a PROXY header of version 1 or 2, within five seconds, whose source then is its
// remote address. All others are closed unanswered and counted.
func ListenProxy(listener net.Listener, trusted Trusted, logger *slog.Logger, reg prometheus.Registerer) net.Listener {
	l := &proxyListener{Listener: listener, trusted: trusted, timeout: proxyHeaderTimeout, log: logger, refused: map[string]prometheus.Counter{}}
	l.readers.New = func() any { return bufio.NewReaderSize(nil, proxyReadBuffer) }
	refused := promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "rivulet_edge_proxy_refused_total", Help: "Connections closed for want of a PROXY header from a trusted proxy, by reason.",
	}, []string{"reason"})
	for _, reason := range []string{refusedUntrusted, refusedMalformed, refusedSlow} {
		l.refused[reason] = refused.WithLabelValues(reason)
	}
	return l
}

// Accept implements net.Listener. It does not wait for the header.
func (l *proxyListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.trusted.containsPeer(conn.RemoteAddr()) {
			return &proxyConn{Conn: conn, listener: l}, nil
		}
		l.refuse(conn, refusedUntrusted, nil)
		conn.Close()
	}
}

func (l *proxyListener) refuse(conn net.Conn, reason string, err error) {
	l.refused[reason].Inc()
	l.log.Debug("connection without a PROXY header from a trusted proxy refused",
		slog.String("reason", reason), slog.String("peer", conn.RemoteAddr().String()), slog.Any("err", err))
}

// proxyConn reads its header when it is first asked who it is or read from, which is on
// the goroutine that serves it. As any connection it is read by one goroutine at a time.
type proxyConn struct {
	net.Conn
	listener *proxyListener

	once   sync.Once // guards the following until it is done
	failed bool
	remote net.Addr
	rest   []byte // came with the header; owned by the reader
}

// Read implements net.Conn. Where the header is missing or bad, the stream is at its end.
func (c *proxyConn) Read(p []byte) (int, error) {
	c.once.Do(c.begin)
	switch {
	case c.failed:
		return 0, io.EOF
	case len(c.rest) > 0:
		n := copy(p, c.rest)
		if c.rest = c.rest[n:]; len(c.rest) == 0 {
			c.rest = nil
		}
		return n, nil
	}
	return c.Conn.Read(p)
}

// RemoteAddr is whom the proxy speaks for, or itself where it speaks for nobody, as in
// its own health checks.
func (c *proxyConn) RemoteAddr() net.Addr {
	c.once.Do(c.begin)
	return c.remote
}

// NetConn is the connection beneath, for socket options.
func (c *proxyConn) NetConn() net.Conn { return c.Conn }

// Plain is the connection beneath where it can be used instead: everything that came
// with the header was read. Otherwise it is nil.
func (c *proxyConn) Plain() net.Conn {
	c.once.Do(c.begin)
	if c.failed || len(c.rest) > 0 {
		return nil
	}
	return c.Conn
}

// CloseWrite tells the peer that nothing more will be sent.
func (c *proxyConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (c *proxyConn) begin() {
	l := c.listener
	c.remote = c.Conn.RemoteAddr()
	_ = c.SetReadDeadline(time.Now().Add(l.timeout)) // fails only if closed, which the read finds out
	defer func() { _ = c.SetReadDeadline(time.Time{}) }()
	r, _ := l.readers.Get().(*bufio.Reader)
	r.Reset(c.Conn)
	defer func() {
		r.Reset(nil)
		l.readers.Put(r)
	}()
	header, err := proxyproto.Read(r)
	if err != nil {
		reason := refusedMalformed
		if errors.Is(err, os.ErrDeadlineExceeded) {
			reason = refusedSlow
		}
		c.failed = true
		l.refuse(c.Conn, reason, err)
		return
	}
	if n := r.Buffered(); n > 0 {
		c.rest = make([]byte, n)
		_, _ = io.ReadFull(r, c.rest) // from the buffer
	}
	if source, _, ok := header.TCPAddrs(); ok && header.Command.IsProxy() && source != nil {
		c.remote = source
	}
}
