package conformance_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/cmd"
	"github.com/rivulet-rt/rivulet/test/conformance/internal/wire"
)

// impatient makes a node that closes who reads nothing soon.
func impatient(c *cmd.Config) {
	c.Session.PingInterval, c.Session.DeadAfter = cmd.Duration(500*time.Millisecond), cmd.Duration(time.Minute)
	c.Session.StallTimeout = cmd.Duration(5 * time.Second)
}

// prompt fails if a message does not reach a new subscriber soon.
func (n *node) prompt(when string) {
	n.t.Helper()
	began := time.Now()
	c, err := n.subscribe(wire.Dialer{}, "t:prompt", "")
	if err != nil {
		n.t.Fatalf("%s: %v", when, err)
	}
	defer func() { _ = c.Close() }()
	n.publish("t:prompt", `"x"`)
	for {
		ev, err := c.Next()
		if err != nil {
			n.t.Fatalf("%s: %v", when, err)
		}
		if bytes.HasPrefix(ev.Payload, []byte(`{"message":`)) {
			break
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		n.t.Errorf("%s: a message takes %v", when, took)
	}
}

// dialMany opens plain connections, from several addresses.
func dialMany(t *testing.T, tg target, count int) []*wire.Conn {
	t.Helper()
	list := make([]*wire.Conn, count)
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			d := tg.dialer()
			d.Local = fmt.Sprintf("127.0.0.%d", w+1)
			for i := w; i < count; i += 16 {
				c, err := d.Dial(t.Context())
				if err != nil {
					t.Errorf("connection %d: %v", i, err)
					return
				}
				list[i] = c
			}
		})
	}
	wg.Wait()
	t.Cleanup(func() {
		for _, c := range list {
			if c != nil {
				_ = c.Close()
			}
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	return list
}

// TestSlowLoris: thousands of commands that come an octet at a time and never end
// cost little, delay nobody and end nobody's connection.
func TestSlowLoris(t *testing.T) {
	const clients, octets = 2000, 40
	n := startNode(t)
	list := dialMany(t, n.target("/v1/ws"), clients)
	base := settledHeap()
	frame := wire.Bytes(wire.Frame{Opcode: wire.Text, Payload: []byte(`{"id":1,"ping":{},"x":"` + strings.Repeat("x", 4000) + `"}`)})
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	for i := range octets {
		for _, c := range list {
			if _, err := c.Write(frame[i : i+1]); err != nil {
				t.Fatalf("octet %d: %v", i, err)
			}
		}
		<-pace.C
	}
	n.prompt("among slow clients")
	per := (settledHeap() - base) / clients
	t.Logf("%d bytes for each of %d unfinished commands", per, clients)
	if per > 8<<10 {
		t.Errorf("an unfinished command costs %d bytes", per)
	}
	for i, c := range list[:100] { // they were slow, not wrong
		_, err := c.Write(frame[octets:])
		if err != nil {
			t.Fatal(err)
		}
		if ev, err := c.Next(); err != nil || string(ev.Payload) != `{"id":1,"pong":{}}` {
			t.Fatalf("client %d: got %s, %v", i, shown(ev), err)
		}
	}
}

// TestSlowHandshake: a request that comes octet-wise is a request, and one that
// never ends is ended.
func TestSlowHandshake(t *testing.T) {
	t.Parallel() // it waits for the node's limit of ten seconds
	n := startNode(t)
	d := n.target("/v1/ws").dialer()
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := range 100 {
		wg.Go(func() {
			if err := crawl(t, d, i%2 == 0); err != nil {
				t.Errorf("handshake %d: %v", i, err)
			}
		})
	}
	n.prompt("among slow handshakes")
}

// crawl does a handshake octet-wise, or never ends it.
func crawl(t *testing.T, d wire.Dialer, whole bool) error {
	t.Helper()
	conn, err := d.Connect(t.Context())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	key := wire.Key()
	request := []byte(d.Request(key))
	if !whole {
		if err := wire.Chop(conn, request[:len(request)-2], 1); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("never ended: %w", err)
		}
		return nil
	}
	if err := wire.Chop(conn, request, 1); err != nil {
		return err
	}
	c, err := d.Accept(conn, key)
	if err != nil {
		return err
	}
	if err := c.Send(wire.Frame{Opcode: wire.Text, Payload: []byte(`{"id":1,"ping":{}}`)}); err != nil {
		return err
	}
	if ev, err := c.Next(); err != nil || string(ev.Payload) != `{"id":1,"pong":{}}` {
		return fmt.Errorf("got %s, %w", shown(ev), err)
	}
	return nil
}

// TestFragmentFlood: a message in fragments without end is ended with a code.
func TestFragmentFlood(t *testing.T) {
	flood := func(f wire.Frame, times int) func(s *script) {
		return func(s *script) {
			s.ask()
			s.send(wire.Frame{Opcode: wire.Text, More: true})
			s.raw(bytes.Repeat(wire.Bytes(f), times))
			s.send(wire.Frame{Opcode: wire.Close}) // who took all that says so at once
			s.refused(1002, 1008, 1009, 4203, 4204)
		}
	}
	const most = 300_000
	cases := []testCase{
		{"an octet each", flood(wire.Frame{Payload: []byte("x"), More: true}, most)},
		{"empty fragments without end", flood(wire.Frame{More: true}, most)},
		{"1000 octets each", flood(wire.Frame{Payload: make([]byte, 1000), More: true}, 40_000)},
	}
	tg := startProduct(t)
	peak := watchHeap(t)
	runTable(t, tg, cases)
	got := peak()
	t.Logf("the heap grew by %d KiB, with the client's own copy of 40 MB", got>>10)
	if got > 160<<20 {
		t.Errorf("the heap grew by %d MiB", got>>20)
	}
}

// TestPingFlood: clients that send pings and read nothing fill no memory; the node
// stops reading them, or ends them with a code.
func TestPingFlood(t *testing.T) {
	const clients, most = 50, 64 << 20
	n := startNode(t)
	d := n.target("/v1/ws").dialer()
	d.ReadBuffer, d.Timeout = 4<<10, 2*time.Minute
	peak := watchHeap(t)
	var wg sync.WaitGroup
	sent := make([]int, clients)
	conns := make([]*wire.Conn, clients)
	for i := range clients {
		c, err := d.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		conns[i] = c
		wg.Go(func() { sent[i] = floodPings(c, most) })
	}
	n.prompt("among floods of pings")
	wg.Wait()
	got := peak()
	t.Logf("%d KiB of pings were taken from each of %d clients; the heap grew by %d KiB", slices.Max(sent)>>10, clients, got>>10)
	if got > clients*(512<<10)+16<<20 {
		t.Errorf("the heap grew by %d MiB", got>>20)
	}
	for i, c := range conns {
		if sent[i] >= most {
			t.Errorf("client %d: %d MiB of pings were taken and no pong was", i, sent[i]>>20)
		}
		_ = c.Close()
	}
	eventually(t, "all to be gone", func() bool { return n.connected() == 0 })
}

// floodPings writes until the node has taken nothing for a while, and returns how
// many bytes it took.
func floodPings(c net.Conn, most int) (sent int) {
	burst := bytes.Repeat(wire.Bytes(wire.Frame{Opcode: wire.Ping, Payload: bytes.Repeat([]byte("p"), 125)}), 100)
	for sent < most {
		_ = c.SetWriteDeadline(time.Now().Add(2 * time.Second)) // fails only if closed
		w, err := c.Write(burst)
		sent += w
		if err != nil {
			return sent
		}
	}
	return sent
}
