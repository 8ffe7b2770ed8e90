package conformance_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/test/conformance/internal/wire"
)

// leaving are the manners in which clients come and go.
var leaving = []struct {
	name string
	act  func(c *wire.Conn) error
}{
	{"clean", func(c *wire.Conn) error {
		if err := c.Send(wire.Frame{Opcode: wire.Close, Payload: wire.ClosePayload(1000, "")}); err != nil {
			return err
		}
		if ev, err := c.Next(); err != nil || ev.Code != 1000 {
			return fmt.Errorf("a close was answered with %s, %w", shown(ev), err)
		}
		return nil
	}},
	{"reset", func(c *wire.Conn) error { wire.Reset(c.Conn); return nil }},
	{"half-close", func(c *wire.Conn) error {
		if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			return err
		}
		_, _ = c.Next() // it may be told why, or not
		return nil
	}},
	{"inside a frame", func(c *wire.Conn) error {
		_, err := c.Write(wire.Bytes(wire.Frame{Opcode: wire.Text, Payload: make([]byte, 300)})[:100])
		return err
	}},
	{"inside a message, reset", func(c *wire.Conn) error {
		err := c.Send(wire.Frame{Opcode: wire.Text, Payload: []byte("x"), More: true})
		wire.Reset(c.Conn)
		return err
	}},
	{"subscribed", func(c *wire.Conn) error {
		if err := c.Send(wire.Frame{Opcode: wire.Text, Payload: []byte(`{"id":1,"subscribe":{"channel":"t:a"}}`)}); err != nil {
			return err
		}
		_, err := c.Next()
		return err
	}},
	{"a broken frame", func(c *wire.Conn) error { return c.Send(wire.Frame{Opcode: 7}) }},
}

// comeAndGo opens connection i and leaves it.
func comeAndGo(t *testing.T, tg target, i int) error {
	t.Helper()
	d := tg.dialer()
	d.Local = fmt.Sprintf("127.0.%d.%d", i/200%200+1, i%200+1) // each address has its own ports
	manner := i % (len(leaving) + 2)
	if manner < len(leaving) {
		c, err := d.Dial(t.Context())
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		if err := leaving[manner].act(c); err != nil {
			return fmt.Errorf("%s: %w", leaving[manner].name, err)
		}
		return nil
	}
	conn, err := d.Connect(t.Context())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	request := d.Request(wire.Key())
	if manner == len(leaving) {
		request = request[:len(request)/2] // inside the handshake
	}
	_, err = conn.Write([]byte(request))
	if manner != len(leaving) {
		wire.Reset(conn) // when the handshake may be answered
	}
	return err
}

// held is what the process holds.
type held struct {
	goroutines, files int
	heap              int64
}

func (h held) String() string {
	return fmt.Sprintf("%d goroutines, %d files, %d KiB of heap and stacks", h.goroutines, h.files, h.heap>>10)
}

func holds(t *testing.T) held {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if errors.Is(err, os.ErrNotExist) {
		list = nil // no such system: the goroutines and the heap tell
	} else if err != nil {
		t.Fatal(err)
	}
	return held{runtime.NumGoroutine(), len(list), settledHeap()}
}

// TestNothingLeaks: when many clients have come and gone in all manners, the node
// holds what it held before.
func TestNothingLeaks(t *testing.T) {
	n := startNode(t)
	tg := n.target("/v1/ws")
	churn(t, tg, 2000) // pools, maps and the runtime's own have their size then
	eventually(t, "the first to be gone", func() bool { return n.connected() == 0 })
	n.client.CloseIdleConnections()
	before := holds(t)
	began := time.Now()
	churn(t, tg, *connects)
	took := time.Since(began)
	eventually(t, "all to be gone", func() bool { return n.connected() == 0 })
	var after held
	eventually(t, "goroutines and files to be as before", func() bool {
		after = holds(t)
		return after.goroutines <= before.goroutines+5 && after.files <= before.files+5
	})
	t.Logf("%d connections in %v; before: %v; after: %v", *connects, took, before, after)
	if grown := after.heap - before.heap; grown > 8<<20 && grown > int64(*connects)*64 {
		t.Errorf("the heap grew by %d KiB", grown>>10)
	}
	n.prompt("after all")
}

func churn(t *testing.T, tg target, count int) {
	t.Helper()
	var wg sync.WaitGroup
	var next atomic.Int64
	for range 16 {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= count && !t.Failed(); i = int(next.Add(1)) {
				if err := comeAndGo(t, tg, i); err != nil {
					t.Errorf("connection %d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}
