package websocket_test

import (
	"testing"

	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/internal/hubtest"
	"github.com/rivulet-rt/rivulet/session/websocket"
)

// releasing is a driver that tells of its release.
type releasing struct {
	wireInMemory
	release func()
}

func (d *releasing) Release() { d.release() }

// TestReleasedBeforeItsPlaceIs: a connection's descriptor is free before its place is
// another's, and before a drain goes on.
func TestReleasedBeforeItsPlaceIs(t *testing.T) {
	r := hubtest.New().Start(t, session.DefaultConfig(), open())
	places := -1
	c, err := websocket.NewReceiver(r, &releasing{release: func() { places = r.Len() }}, 1<<10, false, func(int, []byte) {})
	if err != nil {
		t.Fatal(err)
	}
	c.Ended(nil)
	if places != 1 || r.Len() != 0 {
		t.Errorf("%d places were taken at the release and %d after it, want 1 and 0", places, r.Len())
	}
}
