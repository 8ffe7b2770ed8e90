package session_test

import (
	"sync"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/internal/hubtest"
)

// interrupting is a codec that has a membership end when its subscribed is about to be sent.
type interrupting struct {
	lines

	end  func()
	once *sync.Once
	told chan struct{} // closed when the end is about to be told
}

func (c interrupting) Event(ev *protocol.Event) []byte {
	switch {
	case ev.Subscribed != nil:
		c.once.Do(func() {
			go c.end()
			select {
			case <-c.told: // before subscribed
			case <-time.After(100 * time.Millisecond): // it waits, as it should
			}
		})
	case ev.Unsubscribed != nil:
		close(c.told)
	}
	return c.lines.Event(ev)
}

// TestGroupIsToldToEndAfterItBegan: a membership that ends just when it has begun is told to
// have begun first, or a client would wait on it for ever.
func TestGroupIsToldToEndAfterItBegan(t *testing.T) {
	for name, end := range map[string]func(o *office, p *person){
		"the group": func(o *office, _ *person) { o.seats["jobs:a"].Ended(fanout.ErrUnavailable) },
		"the node": func(_ *office, p *person) {
			p.Revoke(func(c auth.Claims) bool { return c.Channel != "" })
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice()
			one := hubtest.May(t, "ann", map[string][]auth.Action{"jobs:a": {auth.Subscribe}})
			one.Channel = "jobs:a"
			r := registry(t, session.DefaultConfig(), session.Services{
				Groups: o, Auth: hubtest.Tokens{}, Subscriptions: hubtest.Tokens{Known: map[string]auth.Claims{"one": one}},
			})
			p := &person{Session: new(session.Session), t: t, wire: newWire(false)}
			codec := interrupting{end: func() { end(o, p) }, once: new(sync.Once), told: make(chan struct{})}
			p.Init(r, codec, session.Handshake{Given: true, Claims: auth.Claims{Subject: "ann"}}, p)
			p.Outbound().Start(p.wire, nil)
			t.Cleanup(func() {
				p.Abort()
				p.End()
			})
			p.do(protocol.Command{Subscribe: &protocol.SubscribeCommand{Channel: "jobs:a", Group: "g", Token: "one"}})
			p.find("the end", func(e *protocol.Event) bool { return e.Unsubscribed != nil })
			if list := p.events(); len(list) != 2 || list[0].Subscribed == nil {
				t.Errorf("%+v", list)
			}
		})
	}
}
