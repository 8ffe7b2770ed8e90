package websocket_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivulet-rt/rivulet/session/websocket"
)

// endless is a reader without an end, as a compressed message may seem.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	if e.read += len(p); e.read > 1<<20 {
		return 0, errors.New("read on and on")
	}
	return len(p), nil
}

func TestDrainIsBounded(t *testing.T) {
	if err := websocket.Drain(&endless{}, 1000); err != nil {
		t.Error(err)
	}
}

// Control frames that end in time are not one frame that does not, although every read
// ends in the middle of one.
func TestFrameTimeoutBeginsWithEachFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, dial := memory(t, open())
		c := dial(nil)
		c.SetPingHandler(func(string) error { return nil }) // an answer would come between the halves
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				if _, _, err := c.ReadMessage(); err != nil {
					return
				}
			}
		}()
		pong := masked(fin|ponging, "")
		next := pong[:3]
		for range 20 {
			if _, err := c.NetConn().Write(next); err != nil {
				t.Fatal(err)
			}
			next = join(pong[3:], pong[:3])
			pass(10 * time.Second)
		}
		if n.registry.Len() != 1 {
			t.Error("closed, although every frame ended within ten seconds")
		}
		_ = c.Close()
		<-ended
	})
}
