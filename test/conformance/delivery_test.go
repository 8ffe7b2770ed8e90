package conformance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/test/conformance/internal/wire"
)

// feed is a number of messages that are published, of mixed sizes, and how far that is.
type feed struct {
	channel string
	values  []string
	done    []chan struct{} // closed when the message is stored
}

// newFeed makes n messages of 0.1 to most KiB, small ones more often.
func newFeed(channel string, n, most int) *feed {
	f := &feed{channel: channel}
	r := rand.New(rand.NewPCG(7, 7))
	pad := strings.Repeat("0123456789abcdefghijklmnopqrstuvwxyz", (most<<10)/36+2)
	for i := range n {
		size := 100 << r.IntN(10)
		size = min(size+r.IntN(size), most<<10)
		f.values = append(f.values, fmt.Sprintf(`{"n":%d,"x":%q}`, i, pad[i%36:i%36+size]))
		f.done = append(f.done, make(chan struct{}))
	}
	return f
}

// publish stores all, so many in a request.
func (f *feed) publish(n *node, batch int) {
	for i := 0; i < len(f.values); i += batch {
		end := min(i+batch, len(f.values))
		n.publish(f.channel, f.values[i:end]...)
		for _, d := range f.done[i:end] {
			close(d)
		}
	}
}

// is reports whether an event is message i.
func (f *feed) is(event []byte, i int) bool {
	return bytes.HasPrefix(event, []byte(`{"message":{`)) && bytes.HasSuffix(event, []byte(`"data":`+f.values[i]+`}}`))
}

// notice is an event that is no message; it is an error if one is lost.
func notice(event []byte) error {
	for _, name := range []string{"caught_up", "position", "ping", "pong"} {
		if bytes.HasPrefix(event, []byte(`{"`+name+`":`)) {
			return nil
		}
	}
	return fmt.Errorf("got %.200q, %d bytes", event, len(event))
}

// follower is a subscriber in some manner.
type follower struct {
	name    string
	dialer  wire.Dialer
	pings   bool                        // while it reads
	stalled func(i int) <-chan struct{} // before it reads message i it waits for this; nil never
}

// subscribe connects and subscribes; more is what the command says beside the channel.
func (n *node) subscribe(d wire.Dialer, channel, more string) (*wire.Conn, error) {
	d.Address, d.Path = n.addr, "/v1/ws"
	c, err := d.Dial(n.t.Context())
	if err != nil {
		return nil, err
	}
	text := fmt.Appendf(nil, `{"id":1,"subscribe":{"channel":%q%s}}`, channel, more)
	if err := c.Send(wire.Frame{Opcode: wire.Text, Payload: text}); err != nil {
		_ = c.Close()
		return nil, err
	}
	ev, err := c.Next()
	for err == nil && ev.Opcode == wire.Ping { // the answer may take longer than a heartbeat
		ev, err = c.Next()
	}
	if err == nil && !bytes.HasPrefix(ev.Payload, []byte(`{"id":1,"subscribed":`)) {
		err = fmt.Errorf("got %s, want subscribed", shown(ev))
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// pinger sends pings while a reader reads; a few are under way at a time.
type pinger struct {
	conn *wire.Conn
	room chan struct{} // a token for each ping that may be sent
	sent int           // owned by run; read when it has ended
}

func (p *pinger) run(quit <-chan struct{}) error {
	for {
		select {
		case <-p.room:
		case <-quit:
			return nil
		}
		if err := p.conn.Send(wire.Frame{Opcode: wire.Ping, Payload: fmt.Append(nil, p.sent)}); err != nil {
			return fmt.Errorf("ping %d: %w", p.sent, err)
		}
		p.sent++
	}
}

// follow reads the whole feed and returns how many pongs came with it.
func (fo follower) follow(c *wire.Conn, f *feed) (pongs int, err error) {
	p := &pinger{conn: c, room: make(chan struct{}, 8)} // as many as are under way
	quit, failed := make(chan struct{}), make(chan error, 1)
	var wg sync.WaitGroup
	if fo.pings {
		for range cap(p.room) {
			p.room <- struct{}{}
		}
		wg.Go(func() { failed <- p.run(quit) })
	}
	pong := func(ev wire.Event) error {
		if string(ev.Payload) != fmt.Sprint(pongs) {
			return fmt.Errorf("pong %q, want %d", ev.Payload, pongs)
		}
		pongs++
		select {
		case p.room <- struct{}{}:
		default:
		}
		return nil
	}
	err = fo.read(c, f, pong)
	close(quit)
	if err != nil {
		_ = c.Close() // ends a write that blocks
	}
	wg.Wait()
	for err == nil && pongs < p.sent { // those under way
		var ev wire.Event
		if ev, err = c.Next(); err == nil && ev.Opcode == wire.Pong {
			err = pong(ev)
		}
	}
	return pongs, err
}

func (fo follower) read(c *wire.Conn, f *feed, pong func(wire.Event) error) error {
	for i := range f.values {
		if fo.stalled != nil {
			if wait := fo.stalled(i); wait != nil {
				<-wait
			}
		}
		for got := false; !got; {
			ev, err := c.Next()
			switch {
			case err != nil:
			case ev.Opcode == wire.Pong:
				err = pong(ev)
			case ev.Opcode == wire.Text && f.is(ev.Payload, i):
				got = true
			case ev.Opcode == wire.Text:
				err = notice(ev.Payload)
			case ev.Opcode != wire.Ping:
				err = fmt.Errorf("got %s", shown(ev))
			}
			if err != nil {
				return fmt.Errorf("message %d: %w", i, err)
			}
		}
	}
	return nil
}

// byteWise gives the first so many bytes one at a time.
type byteWise struct {
	r    io.Reader
	left int
}

func (b *byteWise) Read(p []byte) (int, error) {
	if b.left > 0 {
		b.left--
		p = p[:1]
	}
	return b.r.Read(p)
}

// followers are subscribers in all manners.
func followers(f *feed) []follower {
	last := len(f.done) - 1
	slow := func(i int) <-chan struct{} { // it stops at every 60th until the publisher is 90 ahead
		if i%60 != 0 {
			return nil
		}
		return f.done[min(i+90, last)]
	}
	once := func(i int) <-chan struct{} { // it reads nothing until all is published
		if i != 3 {
			return nil
		}
		return f.done[last]
	}
	crumbs := wire.Dialer{Wrap: func(r io.Reader) io.Reader { return &byteWise{r, 300 << 10} }}
	var list []follower
	for range 2 {
		list = append(list, follower{name: "plain"},
			follower{name: "pinging", pings: true},
			follower{name: "small", dialer: wire.Dialer{ReadBuffer: 2 << 10}},
			follower{name: "small and pinging", dialer: wire.Dialer{ReadBuffer: 4 << 10}, pings: true},
			follower{name: "byte-wise", dialer: crumbs, pings: true},
			follower{name: "stalling", dialer: wire.Dialer{ReadBuffer: 16 << 10}, stalled: slow},
			follower{name: "stalling and pinging", dialer: wire.Dialer{ReadBuffer: 16 << 10}, stalled: slow, pings: true},
			follower{name: "stalled until the end", dialer: wire.Dialer{ReadBuffer: 4 << 10}, stalled: once, pings: true})
	}
	return list
}

// TestNothingIsTorn: whatever a client's manner to read, its frames are whole, and
// every message comes once and in order, with the pongs between.
func TestNothingIsTorn(t *testing.T) {
	n := startNode(t)
	f := newFeed("t:a", 500, 64)
	var wg sync.WaitGroup
	for i, fo := range followers(f) {
		c, err := n.subscribe(fo.dialer, f.channel, "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		wg.Go(func() {
			pongs, err := fo.follow(c, f)
			if err != nil {
				t.Errorf("client %d, %s: %v", i, fo.name, err)
			}
			if fo.pings && pongs == 0 {
				t.Errorf("client %d, %s: no pong came", i, fo.name)
			}
		})
	}
	for i := range 4 {
		conn := dialGorilla(t, n)
		wg.Go(func() {
			if err := followGorilla(conn, f); err != nil {
				t.Errorf("library client %d: %v", i, err)
			}
		})
	}
	began := time.Now()
	f.publish(n, 10)
	published := time.Since(began)
	wg.Wait()
	t.Logf("published in %v, all read in %v", published, time.Since(began))
}

func dialGorilla(t *testing.T, n *node) *gorilla.Conn {
	t.Helper()
	conn, resp, err := gorilla.DefaultDialer.DialContext(t.Context(), "ws://"+n.addr+"/v1/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.WriteMessage(gorilla.TextMessage, []byte(`{"id":1,"subscribe":{"channel":"t:a"}}`)); err != nil {
		t.Fatal(err)
	}
	if _, ev, err := conn.ReadMessage(); err != nil || !bytes.Contains(ev, []byte(`"subscribed"`)) {
		t.Fatalf("got %s %v", ev, err)
	}
	return conn
}

func followGorilla(conn *gorilla.Conn, f *feed) error {
	_ = conn.SetReadDeadline(time.Now().Add(deadline))
	for i := 0; i < len(f.values); {
		_, ev, err := conn.ReadMessage()
		switch {
		case err != nil:
			return fmt.Errorf("message %d: %w", i, err)
		case f.is(ev, i):
			i++
		default:
			if err := notice(ev); err != nil {
				return fmt.Errorf("message %d: %w", i, err)
			}
		}
	}
	return nil
}

// TestNeverReads: clients that read nothing hold little of the node, cost the others
// nothing, are closed with 4002 in time, and lose nothing.
func TestNeverReads(t *testing.T) {
	n := startNode(t, impatient)
	f := newFeed("t:a", 300, 64)
	const stalled = 64
	healthy, err := n.subscribe(wire.Dialer{}, f.channel, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = healthy.Close() })
	var list []*wire.Conn
	for range stalled {
		c, err := n.subscribe(wire.Dialer{ReadBuffer: 4 << 10}, f.channel, "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		list = append(list, c)
	}
	peak := watchHeap(t)
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() {
		defer cancel()
		if _, err := (follower{}).follow(healthy, f); err != nil {
			t.Errorf("the client that reads: %v", err)
		}
	})
	f.publish(n, 10)
	<-ctx.Done()
	eventually(t, "the others to be closed", func() bool { return n.disconnected("4002") == stalled })
	total := 0
	for _, v := range f.values {
		total += len(v)
	}
	got := peak()
	t.Logf("%d clients did not read %d KiB each; the heap grew by %d KiB", stalled, total>>10, got>>10)
	if got > int64(stalled)*(256<<10)+32<<20 { // what may wait for each, and what the log and the test hold
		t.Errorf("the heap grew by %d MiB", got>>20)
	}
	for i, c := range list {
		wg.Go(func() {
			if err := n.resume(c, f); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

// resume reads what is left for a client that was closed, and the rest on another
// connection.
func (n *node) resume(c *wire.Conn, f *feed) error {
	next, position, told := 0, "", false
	for {
		ev, err := c.Next()
		if err != nil {
			return fmt.Errorf("after %d messages, before the close frame: %w", next, err)
		}
		if ev.Opcode == wire.Close {
			if ev.Code != 4002 || !told {
				return fmt.Errorf("closed with %d, told before: %t", ev.Code, told)
			}
			break
		}
		switch {
		case ev.Opcode != wire.Text:
		case bytes.HasPrefix(ev.Payload, []byte(`{"disconnect":{"code":4002,`)):
			told = true
		case next < len(f.values) && f.is(ev.Payload, next):
			var m struct{ Message struct{ Position string } }
			if err := json.Unmarshal(ev.Payload, &m); err != nil {
				return err
			}
			next, position = next+1, m.Message.Position
		default:
			if err := notice(ev.Payload); err != nil {
				return fmt.Errorf("after %d messages: %w", next, err)
			}
		}
	}
	if next == len(f.values) || next == 0 {
		return fmt.Errorf("%d messages came before the close: the test shows nothing", next)
	}
	rest := &feed{channel: f.channel, values: f.values[next:]}
	again, err := n.subscribe(wire.Dialer{}, f.channel, `,"position":"`+position+`"`)
	if err != nil {
		return err
	}
	defer func() { _ = again.Close() }()
	_, err = follower{}.follow(again, rest)
	return err
}
