package rivulet_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/protocol"
)

// What waits to try again ends with the client, however long the node asked it to wait.
func TestCloseEndsWhatWaitsToTryAgain(t *testing.T) {
	calls := map[string]func(c *rivulet.Client) error{
		"publish": func(c *rivulet.Client) error {
			_, err := c.Publish(context.Background(), "a:b", 1, rivulet.PublishOptions{})
			return err
		},
		"history": func(c *rivulet.Client) error {
			_, err := c.History(context.Background(), "a:b", rivulet.HistoryOptions{})
			return err
		},
		"subscribe": func(c *rivulet.Client) error {
			_, err := c.Subscribe(context.Background(), "a:b", rivulet.SubscribeOptions{})
			return err
		},
		"join": func(c *rivulet.Client) error {
			_, err := c.Join(context.Background(), "a:b", "g", rivulet.GroupOptions{})
			return err
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opts := bubbled(t, func(p *peer) {
					p.greet()
					for {
						p.refuse(p.receive(), 4*time.Minute)
					}
				})
				c := connect(t, opts)
				ended := make(chan error, 1)
				go func() { ended <- call(c) }()
				synctest.Wait()
				began := time.Now()
				c.Close()
				if err := <-ended; !errors.Is(err, rivulet.ErrClosed) {
					t.Errorf("ended with %v", err)
				}
				if d := time.Since(began); d > time.Second {
					t.Errorf("ended %v after Close", d)
				}
			})
		})
	}
}

// What was not sent, since nobody waited for it any more, is not said to be stored perhaps.
func TestPublishWithAContextThatHasEnded(t *testing.T) {
	url := scripted(t, func(p *peer) {
		p.greet()
		if c := p.receive(); c.Publish != nil {
			p.t.Error("it was sent")
		}
	})
	c := open(t, url, quick())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 {
		_, err := c.Publish(ctx, "a:b", 1, rivulet.PublishOptions{})
		if e, ok := errors.AsType[*rivulet.Error](err); !ok || e.Code != protocol.ErrorUnavailable || !errors.Is(err, context.Canceled) {
			t.Fatalf("error %v", err)
		}
	}
}

// An address that swallows packets is given up in the time for one attempt.
func TestDialThatNeverEnds(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tried := make(chan time.Time, 8)
				opts := bubbled(t, nil)
				opts.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
					tried <- time.Now()
					<-ctx.Done()
					return nil, ctx.Err()
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				c := unconnected(t, scheme+"://node", opts)
				if err := c.Connect(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "connect to") {
					t.Errorf("Connect: %v", err)
				}
				first := <-tried
				if d := (<-tried).Sub(first); d != 10*time.Second+250*time.Millisecond {
					t.Errorf("tried again after %v, want 10 s and the backoff", d)
				}
			})
		})
	}
}

// Everything at once while the connection breaks off all the time, and then Close: nothing
// hangs, nothing is left, and who waits gets an answer.
func TestCloseInTheMidstOfEverything(t *testing.T) {
	for round := range 20 {
		node, url := newLogNode(t)
		node.cutAfter = func() int { return 1 + rand.N(20) }
		c := unconnected(t, url, quick())
		ctx := limit(t)
		if err := c.Connect(ctx); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for w := range 6 {
			wg.Go(func() {
				channel := []string{"a:x", "a:y", "a:>", "a:x.>"}[w%4]
				for i := 0; ; i++ {
					if !anyCall(ctx, c, channel, fmt.Sprint(w, i)) {
						return
					}
				}
			})
		}
		timer := time.NewTimer(rand.N(20 * time.Millisecond))
		<-timer.C
		c.Close()
		wg.Wait()
		if n := c.Subscriptions(); n != 0 || ctx.Err() != nil {
			t.Fatalf("round %d: %d subscriptions are left, %v", round, n, ctx.Err())
		}
	}
}

// anyCall does one thing and reports whether the client is still open.
func anyCall(ctx context.Context, c *rivulet.Client, channel, key string) bool {
	short, cancel := context.WithTimeout(ctx, rand.N(10*time.Millisecond))
	defer cancel()
	var err error
	switch rand.N(3) {
	case 0:
		_, err = c.Publish(short, "a:x", 1, rivulet.PublishOptions{IdempotencyKey: key})
	case 1:
		_, err = c.History(short, "a:x", rivulet.HistoryOptions{})
	default:
		var s *rivulet.Subscription
		if s, err = c.Subscribe(short, channel, rivulet.SubscribeOptions{Buffer: 1 + rand.N(3)}); err != nil {
			break
		}
		for _, err := range s.Messages(short) {
			if err != nil || rand.N(4) == 0 {
				break
			}
		}
		err = s.Unsubscribe(short)
	}
	return !errors.Is(err, rivulet.ErrClosed)
}
