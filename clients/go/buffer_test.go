package rivulet_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
)

// However small the buffer, and however slow the application, something comes of each time
// that a subscription is taken up again, also while somebody always waits for a reply.
func TestTinyBufferGoesOn(t *testing.T) {
	for _, size := range []int{1, 2, 3} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				node, dial := newModelNode(t)
				c := connect(t, rivulet.Options{Dial: dial})
				s := subscribe(t, c, "t:a.1", rivulet.SubscribeOptions{Buffer: size})
				ctx, cancel := context.WithCancel(t.Context())
				asked := make(chan struct{})
				go func() { // which the node does not answer
					defer close(asked)
					_, _ = c.History(ctx, "t:a.1", rivulet.HistoryOptions{})
				}()
				const messages = 8
				for n := range messages {
					node.publish("t:a.1", n)
				}
				var got []string
				updates := 0
				for u, err := range s.Updates(t.Context()) {
					if err != nil {
						t.Fatal(err)
					}
					if u.Message != nil {
						got = append(got, string(u.Message.Data))
					}
					if updates++; updates > 4*messages || len(got) == messages {
						break
					}
					pass(time.Second)
				}
				cancel()
				<-asked
				if !slices.Equal(got, numbers(messages)) {
					t.Errorf("got %v in %d updates", got, updates)
				}
			})
		})
	}
}

// What reconnects tell does not pile up for an application that takes nothing.
func TestReconnectsDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, dial := newModelNode(t)
		c := connect(t, rivulet.Options{Dial: dial})
		s := subscribe(t, c, "t:a.1", rivulet.SubscribeOptions{Buffer: 8})
		for range 100 {
			node.cut()
			pass(time.Second)
		}
		if n, _ := rivulet.Buffered(s); n > 2 {
			t.Errorf("%d updates wait", n)
		}
		node.publish("t:a.1", 1)
		if got := take(t, s, 3); !slices.Equal(got, []string{"subscribed resumed=false recovered=true", "caught up", "t:a.1@1"}) {
			t.Errorf("got %q", got)
		}
	})
}
