//go:build linux

package scenario

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The ways in which a client can be abusive.
const (
	abusePublish   = "publish"   // over HTTP
	abuseBatch     = "batch"     // over HTTP, 1000 messages each
	abuseSocket    = "socket"    // publishes over WebSocket
	abuseCommand   = "command"   // ping commands
	abusePing      = "ping"      // ping frames
	abuseChurn     = "churn"     // subscribe and unsubscribe
	abuseHistory   = "history"   // over HTTP
	abuseHandshake = "handshake" // WebSocket handshakes
)

// allWays are in the order of the report.
var allWays = []string{abusePublish, abuseBatch, abuseSocket, abuseCommand, abusePing, abuseChurn, abuseHistory, abuseHandshake} //nolint:gochecknoglobals // a constant table

// ParseWays reads names of ways, separated by commas, "" for all.
func ParseWays(list string) ([]string, error) {
	if list == "" {
		return nil, nil
	}
	ways := strings.Split(list, ",")
	for _, way := range ways {
		if !slices.Contains(allWays, way) {
			return nil, fmt.Errorf("%q is none of %s", way, strings.Join(allWays, ", "))
		}
	}
	return ways, nil
}

// does tells whether a client is to be abusive in this way.
func (c Config) does(way string) bool { return len(c.Ways) == 0 || slices.Contains(c.Ways, way) }

// abusers is how many connections an abusive client has.
const abusers = 16

// abuserAddress is where it comes from, so that it is told from others.
func abuserAddress() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, 2}) }

// Abuse does one thing at full speed, over several connections, until ctx ends, and says
// how often.
func Abuse(ctx context.Context, way string, to netip.AddrPort, ns, token string, out io.Writer) error {
	a := &abuser{to: to.String(), ns: ns, token: token}
	if _, err := fmt.Fprintln(out, "abusing"); err != nil {
		return err
	}
	var wg sync.WaitGroup
	for i := range abusers {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := a.once(ctx, way, i); err != nil && ctx.Err() == nil {
					a.ended.Add(1)
					a.refusedFor(ctx)
				}
			}
		})
	}
	wg.Wait()
	_, err := fmt.Fprintf(out, "abused %d %d\n", a.done.Load(), a.ended.Load())
	return err
}

// abuser is an abusive client.
type abuser struct {
	to, ns, token string
	done, ended   atomic.Int64
}

// refusedFor is the least that even an abusive client does between two connections.
func (a *abuser) refusedFor(ctx context.Context) {
	select {
	case <-time.After(time.Millisecond):
	case <-ctx.Done():
	}
}

func (a *abuser) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: abuserAddress().AsSlice()}}
	conn, err := d.DialContext(ctx, "tcp4", a.to)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	return conn, nil
}

// once works on one connection until it ends.
func (a *abuser) once(ctx context.Context, way string, i int) error {
	conn, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	switch way {
	case abusePublish:
		return a.requests(conn, a.post("/v1/channels/"+a.ns+":abuse."+fmt.Sprint(i)+"/messages", `{"data":"`+strings.Repeat("x", 200)+`"}`))
	case abuseBatch:
		one := `{"channel":"` + a.ns + `:abuse.` + fmt.Sprint(i) + `","data":"` + strings.Repeat("x", 100) + `"}`
		return a.requests(conn, a.post("/v1/messages", `{"messages":[`+strings.Repeat(one+",", 999)+one+`]}`))
	case abuseHistory:
		return a.requests(conn, a.request("GET", "/v1/channels/"+a.ns+":archive/messages?limit=1000", ""))
	case abuseHandshake:
		r := bufio.NewReader(conn)
		a.done.Add(1)
		return a.upgrade(conn, r)
	}
	return a.socket(conn, way, i)
}

func (a *abuser) request(method, path, body string) []byte {
	head := method + " " + path + " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + a.token + "\r\n"
	if body != "" {
		head += fmt.Sprintf("Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	return []byte(head + "\r\n" + body)
}

func (a *abuser) post(path, body string) []byte { return a.request("POST", path, body) }

// requests sends a request again and again, and reads the answers.
func (a *abuser) requests(conn net.Conn, req []byte) error {
	r := bufio.NewReader(conn)
	for {
		if _, err := conn.Write(req); err != nil {
			return err
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close() // it was read
		if err != nil {
			return err
		}
		a.done.Add(1)
	}
}

var errNotUpgraded = errors.New("scenario: the handshake was refused")

func (a *abuser) upgrade(conn net.Conn, r *bufio.Reader) error {
	_, err := conn.Write([]byte("GET /v1/ws?token=" + a.token + " HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"))
	if err != nil {
		return err
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	_ = resp.Body.Close() // there is none, or nobody reads it
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return errNotUpgraded
	}
	return nil
}

// socket writes frames as fast as the node takes them, while what it answers is read and
// dropped.
func (a *abuser) socket(conn net.Conn, way string, i int) error {
	r := bufio.NewReader(conn)
	if err := a.upgrade(conn, r); err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer conn.Close()
	wg.Go(func() {
		_, _ = io.Copy(io.Discard, r) // it ends with the connection
		_ = conn.Close()              // and so does what writes
	})
	for n := 1; ; n += 32 {
		var b bytes.Buffer
		for k := n; k < n+32; k++ {
			switch way {
			case abuseSocket:
				frame(&b, opText, fmt.Sprintf(`{"id":%d,"publish":{"channel":"%s:abuse.%d","data":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}}`, k, a.ns, i))
			case abuseCommand:
				frame(&b, opText, fmt.Sprintf(`{"id":%d,"ping":{}}`, k))
			case abusePing:
				frame(&b, opPing, "12345678")
			case abuseChurn:
				what := "subscribe"
				if k%2 == 0 {
					what = "unsubscribe"
				}
				frame(&b, opText, fmt.Sprintf(`{"id":%d,"%s":{"channel":"%s:churn.%d"}}`, k, what, a.ns, k/2))
			}
		}
		if _, err := conn.Write(b.Bytes()); err != nil {
			return err
		}
		a.done.Add(32)
	}
}

// Opcodes of RFC 6455.
const (
	opText = 1
	opPing = 9
)

// frame appends a client's frame of less than 64 KiB. Its mask is zero, so that the
// payload stays as it is.
func frame(b *bytes.Buffer, opcode byte, payload string) {
	const final, masked, extended = 0x80, 0x80, 126
	b.WriteByte(final | opcode)
	if len(payload) < extended {
		b.WriteByte(masked | byte(len(payload)))
	} else {
		b.WriteByte(masked | extended)
		b.Write(binary.BigEndian.AppendUint16(nil, uint16(len(payload))))
	}
	b.Write(make([]byte, 4))
	b.WriteString(payload)
}
