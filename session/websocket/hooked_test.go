package websocket_test

import (
	"context"
	"testing"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/internal/hubtest"
)

// yes is a hook of the namespace slow that allows everything.
type yes struct{}

func (yes) Asks(namespace string) bool { return namespace == "slow" }

func (yes) Allow(context.Context, auth.Claims, string, fanout.Channel) error { return nil }

// stuck are filters that take their time.
type stuck struct {
	compiling chan struct{} // closed by the first
	free      chan struct{}
}

func (f stuck) Compile(string) (*fanout.Filter, error) {
	close(f.compiling)
	<-f.free
	return nil, fanout.ErrTooManyFilters
}

// TestABeginningHoldsNobodyUp: what a subscription waits for after its hook has allowed it
// keeps no other command of the connection waiting.
func TestABeginningHoldsNobodyUp(t *testing.T) {
	ann := hubtest.May(t, "ann", map[string][]auth.Action{"chat:>": {auth.Subscribe}, "slow:>": {auth.Subscribe}})
	filters := stuck{make(chan struct{}), make(chan struct{})}
	n := startWith(t, nil, hubtest.Tokens{Known: map[string]auth.Claims{"ann": ann}}, func(s *session.Services) {
		s.Subscribe, s.Filters = yes{}, filters
	})
	c := n.dial(t, "?token=ann", nil)
	c.next()
	c.send(`{"id":1,"subscribe":{"channel":"slow:a","filter":"true"}}`)
	<-filters.compiling
	c.subscribe(2, "chat:a", "")
	c.send(`{"id":3,"refresh":{"token":"ann"}}`)
	if ev := c.next(); ev.ID != 3 || ev.Connected == nil {
		t.Fatalf("got %s", show(ev))
	}
	c.send(`{"id":4,"subscribe":{"channel":"slow:a"}}`)
	c.wantError(4, protocol.ErrorConflict, "channel") // it waits still
	c.send(`{"id":5,"unsubscribe":{"channel":"chat:a"}}`)
	if ev := c.next(); ev.ID != 5 || ev.Unsubscribed == nil {
		t.Fatalf("got %s", show(ev))
	}
	close(filters.free)
	c.wantError(1, protocol.ErrorTooManyRequests, "filter")
	c.subscribe(6, "slow:a", "")
}
