package wire

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 6455 wants it
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Dialer says how to connect.
type Dialer struct {
	Address string // host:port
	Path    string
	// Offer is the value of Sec-WebSocket-Extensions; "" offers nothing.
	Offer string
	// Header lines more, each with its CR LF.
	Header string
	// ReadBuffer is the size of the socket's receive buffer, set before it connects
	// so that the window is never larger; 0 leaves it to the kernel.
	ReadBuffer int
	// Local is the address to connect from, so that ports last longer.
	Local string
	// Limit of a message's size, 64 MiB if 0.
	Limit int
	// Timeout of all that is done with the connection, 60 s if 0.
	Timeout time.Duration
	// Wrap stands between the socket and the parser, if it is there.
	Wrap func(io.Reader) io.Reader
}

// Conn is an open connection. One goroutine may write while another reads.
type Conn struct {
	net.Conn
	*Parser
	// Extensions is what the server chose.
	Extensions string
}

// Connect opens a connection without a handshake.
func (d Dialer) Connect(ctx context.Context) (net.Conn, error) {
	dialer := net.Dialer{}
	if d.Local != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(d.Local)}
	}
	if d.ReadBuffer > 0 {
		dialer.Control = func(_, _ string, raw syscall.RawConn) (err error) {
			failed := raw.Control(func(fd uintptr) {
				err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, d.ReadBuffer)
			})
			if failed != nil {
				return failed
			}
			return err
		}
	}
	conn, err := dialer.DialContext(ctx, "tcp", d.Address)
	if err != nil {
		return nil, err
	}
	timeout := d.Timeout
	if timeout == 0 {
		timeout = time.Minute
	}
	return conn, conn.SetDeadline(time.Now().Add(timeout))
}

// Request is the handshake's request with a key.
func (d Dialer) Request(key string) string {
	r := "GET " + d.Path + " HTTP/1.1\r\nHost: " + d.Address + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + "\r\n"
	if d.Offer != "" {
		r += "Sec-WebSocket-Extensions: " + d.Offer + "\r\n"
	}
	return r + d.Header + "\r\n"
}

// Key is a new key for a handshake.
func Key() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, by its contract
	return base64.StdEncoding.EncodeToString(b[:])
}

// Dial connects and does the handshake.
func (d Dialer) Dial(ctx context.Context) (*Conn, error) {
	conn, err := d.Connect(ctx)
	if err != nil {
		return nil, err
	}
	key := Key()
	if _, err := io.WriteString(conn, d.Request(key)); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return d.Accept(conn, key)
}

// Accept reads the answer to a request that was sent. It closes the connection if
// it fails.
func (d Dialer) Accept(conn net.Conn, key string) (*Conn, error) {
	var from io.Reader = conn
	if d.Wrap != nil {
		from = d.Wrap(conn)
	}
	c, err := d.accept(conn, bufio.NewReader(from), key)
	if err != nil {
		_ = conn.Close()
	}
	return c, err
}

func (d Dialer) accept(conn net.Conn, r *bufio.Reader, key string) (*Conn, error) {
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // a switch of protocols has none
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("handshake: %w", StatusError(resp.StatusCode))
	}
	h := resp.Header
	if !one(h, "Upgrade", "websocket") || !one(h, "Connection", "upgrade") || !one(h, "Sec-WebSocket-Accept", accepted(key)) {
		return nil, violation("handshake answered with %v", h)
	}
	if p := h.Get("Sec-WebSocket-Protocol"); p != "" && !strings.Contains(d.Header, p) {
		return nil, violation("subprotocol %q was not asked for", p)
	}
	extensions := strings.Join(h.Values("Sec-WebSocket-Extensions"), ", ")
	if err := CheckAnswer(d.Offer, extensions); err != nil {
		return nil, err
	}
	limit := d.Limit
	if limit == 0 {
		limit = 64 << 20
	}
	return &Conn{Conn: conn, Parser: NewParser(r, extensions != "", limit), Extensions: extensions}, nil
}

// StatusError is a handshake that was refused with this status.
type StatusError int

func (s StatusError) Error() string { return fmt.Sprintf("status %d", int(s)) }

func one(h http.Header, name, want string) bool {
	v := h.Values(name)
	if name == "Sec-WebSocket-Accept" {
		return slices.Equal(v, []string{want})
	}
	return len(v) == 1 && strings.EqualFold(v[0], want)
}

func accepted(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // RFC 6455 wants it
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Send writes frames in one write.
func (c *Conn) Send(frames ...Frame) error {
	_, err := c.Write(Bytes(frames...))
	return err
}

// Chop writes n bytes at a time, each in a segment of its own as far as TCP lets;
// 0 writes all at once.
func Chop(w io.Writer, b []byte, n int) error {
	if n == 0 {
		n = len(b)
	}
	for len(b) > 0 {
		piece := b[:min(n, len(b))]
		if _, err := w.Write(piece); err != nil {
			return err
		}
		b = b[len(piece):]
	}
	return nil
}

// Reset closes a connection so that its peer gets a RST.
func Reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // fails only if closed
	}
	_ = conn.Close()
}
