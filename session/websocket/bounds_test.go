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
