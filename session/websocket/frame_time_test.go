package websocket_test

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
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
