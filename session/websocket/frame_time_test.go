package websocket_test

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
)

// TestUnfinishedFrame: a client that begins a message and does not end it is closed,
// however it goes on, and told why.
func TestUnfinishedFrame(t *testing.T) {
	ping := masked(wholeText, `{"ping":{}}`)
	for _, tc := range []struct {
		name string
		send func(i int) []byte // every ten seconds
	}{
		{"cut in the header", func(i int) []byte { return ping[:max(0, 2-i)/2] }},
		{"byte by byte", func(int) []byte { return []byte{0x81, 0xfe, 0xff, 0xff}[:1] }},
		{"fragments without end", func(i int) []byte { return masked(byte(max(0, 1-i)), "x") }},
		{"fragments and pings", func(i int) []byte { return join(masked(byte(max(0, 1-i)), "x"), masked(wholePing, "")) }},
		{"behind a message", func(i int) []byte { return join(ping, ping[:5])[:max(0, (1-i)*(len(ping)+5))] }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, dial := memory(t, open())
				c := dial(nil)
				c.SetPingHandler(func(string) error { return nil }) // a pong would go into the middle of the frame
				begun, stop := time.Now(), make(chan struct{})
				done := make(chan struct{})
				go func() {
					defer close(done)
					head := []byte{wholeText, 0xfe, 0xff, 0xff, 1, 2, 3, 4} // of a long message
					for i := 0; ; i++ {
						b := tc.send(i)
						if tc.name == "byte by byte" && i < len(head) {
							b = head[i : i+1]
						}
						if len(b) > 0 {
							_, _ = c.NetConn().Write(b) // fails once the node has hung up
						}
						select {
						case <-stop:
							return
						case <-time.After(10 * time.Second):
						}
					}
				}()
				ev, code := c.waitClose(t)
				within(t, "closed", time.Since(begun), time.Minute, time.Minute+6*time.Second)
				if code != int(protocol.CloseHeartbeat) || ev.Code != protocol.CloseHeartbeat || !ev.Reconnect || !strings.Contains(ev.Reason, "did not end within 1m0s") {
					t.Errorf("closed with %d, %+v", code, ev)
				}
				close(stop)
				_ = c.Close()
				<-done
			})
		})
	}
}

// TestFramesThatEnd: a client that is always in the middle of some message is not
// closed while each of them ends in time.
func TestFramesThatEnd(t *testing.T) {
	first, last := masked(text, `{"pong"`), masked(lastOne, `:{}}`)
	for _, tc := range []struct {
		name  string
		parts [][]byte // one every 50 seconds
	}{
		{"the end of one and the beginning of another", [][]byte{join(last, first)}},
		{"cut anywhere", [][]byte{join(last[3:], first, last[:3])}},
		{"whole, then a rest", [][]byte{last, first}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, dial := memory(t, open())
				c := dial(nil)
				go func() { _, _ = io.Copy(io.Discard, c.NetConn()) }()
				begin := first
				if tc.name == "cut anywhere" {
					begin = join(first, last[:3])
				}
				for i := range 20 {
					if _, err := c.NetConn().Write(begin); err != nil {
						t.Fatalf("after %d parts: %v", i, err)
					}
					begin = tc.parts[i%len(tc.parts)]
					pass(50 * time.Second)
				}
				synctest.Wait()
				if n.registry.Len() != 1 {
					t.Error("a client whose messages end was closed")
				}
			})
		})
	}
}

// TestBusyNodeIsNotTheClient: a message that was begun before the node stopped to read,
// here because the log does not answer, does not end for that long, and the client
// cannot help it.
func TestBusyNodeIsNotTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := session.DefaultConfig()
		cfg.CommandTimeout, cfg.MaxPublishes = 10*time.Minute, 1
		cfg.DeadAfter = 10 * time.Minute // it cannot be heard
		n, dial := memoryWith(t, cfg, open())
		c := dial(nil)
		c.SetPingHandler(func(string) error { return nil }) // a pong would wait for the pipe
		release := n.hub.Hold()
		var all []byte
		const publishes = 4
		for i := range publishes {
			all = append(all, masked(wholeText, fmt.Sprintf(`{"id":%d,"publish":{"channel":"chat:a","data":1}}`, i+1))...)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _ = c.NetConn().Write(all[:len(all)-10]) // read at once, with the beginning of the last
			_, _ = c.NetConn().Write(all[len(all)-10:])
		})
		wg.Go(func() {
			pass(3 * time.Minute)
			release()
		})
		for i := range publishes {
			if ev := c.nextWithout(t); ev.Published == nil || ev.ID != uint64(i+1) {
				t.Errorf("got %s, want publish %d to be answered", show(ev), i+1)
				break
			}
		}
		_ = c.Close()
		wg.Wait()
	})
}

// nextWithout reads an event without a deadline; a bubble's clock would pass it.
func (c *client) nextWithout(t *testing.T) (ev protocol.Event) {
	t.Helper()
	if err := c.ReadJSON(&ev); err != nil {
		t.Fatal(err)
	}
	return ev
}
