package broker

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rivulet-rt/rivulet/fanout"
)

// FloorOf returns a check like those of the group of m, with a floor of its own: each call
// looks whether the log dropped what the group had not had since the call before.
func FloorOf(tb testing.TB, m fanout.Membership) (check func() (lost bool)) {
	tb.Helper()
	var f floor
	return func() bool {
		lost, _, err := f.advance(tb.Context(), m.(*membership).g)
		if err != nil {
			tb.Fatal(err)
		}
		return lost
	}
}

// Meanwhile is what happens, once each, after a node has looked at a consumer and before it
// does anything else.
type Meanwhile struct{ atomic.Pointer[func()] }

// AfterLooks is called before Start.
func (b *Broker) AfterLooks() *Meanwhile {
	m := &Meanwhile{}
	b.js = lookedAt{b.js, m}
	return m
}

type lookedAt struct {
	jetstream.JetStream
	then *Meanwhile
}

func (l lookedAt) Consumer(ctx context.Context, stream, name string) (jetstream.Consumer, error) {
	c, err := l.JetStream.Consumer(ctx, stream, name)
	if do := l.then.Swap(nil); do != nil {
		(*do)()
	}
	return c, err
}
