package websocket_test

import (
	"log/slog"
	"net/http"
	"strconv"
	"testing"
	"unsafe"

	gorilla "github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/internal/hubtest"
	"github.com/rivulet-rt/rivulet/session/limit"
	"github.com/rivulet-rt/rivulet/session/websocket"
)

// TestAConnectionIsSmall: what each of a crowd has, most of the time for nothing. They
// are size classes of Go's allocator; a byte more costs the next one.
func TestAConnectionIsSmall(t *testing.T) {
	if strconv.IntSize != 64 {
		t.Skip("the sizes are those of 64 bits")
	}
	if websocket.ConnSize > 512 {
		t.Errorf("a connection has %d bytes, at most 512 were measured: keep what few have behind a pointer", websocket.ConnSize)
	}
	if n := unsafe.Sizeof(session.Slot{}); n > 48 {
		t.Errorf("a slot has %d bytes, at most 48 were measured", n)
	}
	if n := unsafe.Sizeof(fanout.Client{}); n > 96 {
		t.Errorf("a client has %d bytes, at most 96 were measured", n)
	}
}

// TestCountedAsWhoeverItIs: a connection counts as one of the user whose token it has, and
// of nobody else.
func TestCountedAsWhoeverItIs(t *testing.T) {
	cfg := limit.DefaultConfig()
	cfg.ConnectionsPerUser = 1
	limits, err := limit.New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	n := startWith(t, nil, tokens(t), func(s *session.Services) { s.Limits = limits })
	full := func(user string) bool {
		conn, resp, err := gorilla.DefaultDialer.DialContext(t.Context(), n.url+"?token="+user, nil)
		if resp != nil {
			defer resp.Body.Close()
		}
		if err == nil {
			places := n.registry.Len()
			_ = conn.Close()
			hubtest.Eventually(t, "the end of a connection", func() bool { return n.registry.Len() < places })
			return false
		}
		if resp == nil || resp.StatusCode != http.StatusTooManyRequests {
			t.Fatalf("%s: %v, %v", user, err, resp)
		}
		return true
	}
	c := n.dial(t, "?token=ann", nil)
	c.next()
	if !full("ann") || full("bob") {
		t.Error("the connection does not count as ann's alone")
	}
	c.send(`{"id":1,"connect":{"token":"bob"}}`)
	c.next()
	if full("ann") || !full("bob") {
		t.Error("after connect the connection does not count as bob's alone")
	}
	_ = c.Close()
	hubtest.Eventually(t, "the end", func() bool { return n.registry.Len() == 0 })
	if full("bob") {
		t.Error("a connection that has ended counts")
	}
}
