package broker

import (
	"context"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rivulet-rt/rivulet/fanout"
)

// FloorOf returns a check like those of the group of m, with a floor of its own: each call
// looks whether the log dropped what the group had not had since the call before.
func FloorOf(tb testing.TB, m fanout.Membership) (check func(context.Context) (lost bool)) {
	tb.Helper()
	var f floor
	return func(ctx context.Context) bool {
		lost, _, err := f.advance(ctx, m.(*membership).g)
		if err != nil {
			tb.Fatal(err)
		}
		return lost
	}
}

type meanwhileKey struct{}

// Meanwhile has do happen, once, after what ctx is given to has looked at a consumer and
// before it does anything else.
func Meanwhile(ctx context.Context, do func()) context.Context {
	return context.WithValue(ctx, meanwhileKey{}, sync.OnceFunc(do))
}

// ShowLooks has the broker mind Meanwhile. It is called before Start.
func (b *Broker) ShowLooks() { b.js = lookedAt{b.js} }

type lookedAt struct{ jetstream.JetStream }

func (l lookedAt) Consumer(ctx context.Context, stream, name string) (jetstream.Consumer, error) {
	c, err := l.JetStream.Consumer(ctx, stream, name)
	if do, ok := ctx.Value(meanwhileKey{}).(func()); ok {
		do()
	}
	return c, err
}
