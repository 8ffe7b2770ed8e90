package rivulet_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
)

// collect ranges over s until it has n messages, and returns their data.
func collect(ctx context.Context, s *rivulet.Subscription, n int) ([]string, error) {
	var got []string
	for m, err := range s.Messages(ctx) {
		if err != nil {
			return got, fmt.Errorf("after %d messages: %w", len(got), err)
		}
		if got = append(got, string(m.Data)); len(got) == n {
			break
		}
	}
	return got, nil
}

// Many clients, connections that break off all the time, repeated frames, small
// buffers, both codecs: everybody must see everything once, in order.
func TestExactlyOnceInOrderOverBrokenConnections(t *testing.T) {
	const clients, messages = 20, 400
	node, url := newLogNode(t)
	node.cutAfter = func() int { return 2 + rand.N(60) }
	node.repeat = func() bool { return rand.N(10) == 0 }
	var wg sync.WaitGroup
	for i := range clients {
		opts := quick()
		if i%4 > 1 {
			opts.Codec = rivulet.CodecProtobuf
		}
		c := open(t, url, opts)
		channel := "chat:lobby"
		if i%2 == 1 {
			channel = "chat:>"
		}
		s := subscribe(t, c, channel, rivulet.SubscribeOptions{Buffer: 1 + rand.N(64)})
		wg.Go(func() {
			got, err := collect(limit(t), s, messages)
			if err != nil || !slices.Equal(got, numbers(messages)) {
				t.Errorf("client %d on %s: %v, got %v", i, channel, err, got)
			}
		})
	}
	for _, data := range numbers(messages) {
		node.publish("chat:lobby", data)
	}
	wg.Wait()
	if seen := node.connections(); seen < 3*clients {
		t.Errorf("only %d connections: nothing was broken off", seen)
	}
}

// Overlapping subscriptions of one client, cut off at random: every message of
// every channel comes to exactly one of them, once, in its channel's order.
func TestOverlappingSubscriptionsShareWithoutLoss(t *testing.T) {
	const messages = 300
	node, url := newLogNode(t)
	node.cutAfter = func() int { return 5 + rand.N(100) }
	c := open(t, url, quick())
	channels := []string{"a:x.1", "a:x.2", "a:y", "a:z"}
	var mu sync.Mutex
	got := map[string][]string{}
	total := make(chan struct{}, messages*len(channels))
	take := func(m *rivulet.Message) {
		mu.Lock()
		defer mu.Unlock()
		got[m.Channel] = append(got[m.Channel], string(m.Data))
		total <- struct{}{}
	}
	for _, channel := range []string{"a:x.>", "a:>", "a:y"} {
		subscribe(t, c, channel, rivulet.SubscribeOptions{OnMessage: take})
	}
	for _, data := range numbers(messages) {
		for _, channel := range channels {
			node.publish(channel, data)
		}
	}
	for range messages * len(channels) {
		await(t, total)
	}
	c.Close()
	for _, channel := range channels {
		if !slices.Equal(got[channel], numbers(messages)) {
			t.Errorf("%s: got %v", channel, got[channel])
		}
	}
}

// A loop that publishes for every message it takes, far more than its buffer
// holds: the reply must come although the buffer is full.
func TestPublishingWhileBehind(t *testing.T) {
	const messages = 200
	node, url := newLogNode(t)
	c := open(t, url, quick())
	s := subscribe(t, c, "in:a", rivulet.SubscribeOptions{Buffer: 8})
	for _, data := range numbers(messages) {
		node.publish("in:a", data)
	}
	n := 0
	for m, err := range s.Messages(limit(t)) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Publish(limit(t), "out:a", m.Data, rivulet.PublishOptions{IdempotencyKey: fmt.Sprint("k", m.Offset)}); err != nil {
			t.Fatal(err)
		}
		if n++; n == messages {
			break
		}
	}
	if got := node.stored("out:a"); !slices.Equal(got, numbers(messages)) {
		t.Errorf("stored %v", got)
	}
}

// The same beside a pattern that covers the channel, over broken connections: the
// two pause together, or one would get what belongs to the other.
func TestOverlappingWhileBehind(t *testing.T) {
	const messages = 150
	node, url := newLogNode(t)
	node.cutAfter = func() int { return 50 + rand.N(200) }
	c := open(t, url, quick())
	exact := subscribe(t, c, "in:a", rivulet.SubscribeOptions{Buffer: 8})
	pattern := subscribe(t, c, "in:>", rivulet.SubscribeOptions{Buffer: 8})
	for _, data := range numbers(messages) {
		node.publish("in:a", data)
		node.publish("in:b", data)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		n := 0
		for m, err := range pattern.Messages(limit(t)) {
			if err == nil && m.Channel == "in:a" && len(node.stored("out:a")) == messages {
				continue // the pattern's, now that the other has ended
			}
			if err != nil || m.Channel != "in:b" || string(m.Data) != fmt.Sprint(n) {
				t.Errorf("the pattern got %+v, %v, want number %d of in:b", m, err, n)
				break
			}
			if n++; n == messages {
				break
			}
		}
	})
	n := 0
	for m, err := range exact.Messages(limit(t)) {
		if err != nil || string(m.Data) != fmt.Sprint(n) {
			t.Fatalf("the channel got %+v, %v, want number %d", m, err, n)
		}
		if _, err := c.Publish(limit(t), "out:a", m.Data, rivulet.PublishOptions{}); err != nil {
			t.Fatal(err)
		}
		if n++; n == messages {
			break
		}
	}
	if err := exact.Unsubscribe(limit(t)); err != nil { // or what it holds would hold up the pattern
		t.Error(err)
	}
	wg.Wait()
	if got := node.stored("out:a"); !slices.Equal(got, numbers(messages)) {
		t.Errorf("stored %v", got)
	}
}

// A subscription that nobody takes from must not use up memory, nor lose anything.
func TestSlowApplicationIsWaitedFor(t *testing.T) {
	const messages, bytes = 400, 32 << 10
	node, url := newLogNode(t)
	s := subscribe(t, open(t, url, quick()), "big:a", rivulet.SubscribeOptions{})
	payload := `"` + strings.Repeat("x", bytes) + `"`
	for range messages {
		node.publish("big:a", payload)
	}
	if got := take(t, s, 1); got[0] != "subscribed resumed=false recovered=true" {
		t.Errorf("got %q", got)
	}
	rivulet.WaitBlocked(limit(t), s)
	if n, size := rivulet.Buffered(s); size > 2<<20 || n > 256 {
		t.Errorf("%d updates of %d bytes are buffered", n, size)
	}
	got, err := collect(limit(t), s, messages)
	if err != nil || len(got) != messages {
		t.Errorf("%d messages, %v", len(got), err)
	}
}

// While nobody takes, the client does not read; it must notice all the same that
// it is closed, and that its connection is gone.
func TestClosedWhileBehind(t *testing.T) {
	node, url := newLogNode(t)
	c := open(t, url, quick())
	s := subscribe(t, c, "in:a", rivulet.SubscribeOptions{Buffer: 2})
	for _, data := range numbers(100) {
		node.publish("in:a", data)
	}
	rivulet.WaitBlocked(limit(t), s)
	node.breakAll()
	if _, err := c.Publish(limit(t), "out:a", 1, rivulet.PublishOptions{}); err != nil {
		t.Fatal(err)
	}
	rivulet.WaitBlocked(limit(t), s)
	c.Close()
	for _, err := range s.Messages(limit(t)) {
		if !errors.Is(err, rivulet.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	node, url := newLogNode(t)
	node.cutAfter = func() int { return 20 + rand.N(100) }
	c := open(t, url, quick())
	var wg sync.WaitGroup
	const workers, each = 8, 25
	for w := range workers {
		wg.Go(func() {
			channel := fmt.Sprintf("chat:r%d", w)
			s := subscribe(t, c, channel, rivulet.SubscribeOptions{Buffer: 4})
			wg.Go(func() {
				if got, err := collect(limit(t), s, each); err != nil || !slices.Equal(got, numbers(each)) {
					t.Errorf("%s: %v %v", channel, got, err)
				}
				if err := s.Unsubscribe(limit(t)); err != nil {
					t.Error(err)
				}
			})
			for i := range each {
				if _, err := c.Publish(limit(t), channel, i, rivulet.PublishOptions{}); err != nil {
					t.Error(err)
				}
				_ = s.Position()
			}
		})
	}
	wg.Wait()
	for w := range workers {
		if got := node.stored(fmt.Sprintf("chat:r%d", w)); !slices.Equal(got, numbers(each)) {
			t.Errorf("stored %v", got)
		}
	}
}

func TestPositionResumesInAnotherClient(t *testing.T) {
	node, url := newLogNode(t)
	first := open(t, url, quick())
	s := subscribe(t, first, "chat:lobby", rivulet.SubscribeOptions{})
	for _, data := range numbers(10) {
		node.publish("chat:lobby", data)
	}
	if got, err := collect(limit(t), s, 4); err != nil || !slices.Equal(got, numbers(4)) {
		t.Fatalf("%v %v", got, err)
	}
	if err := s.Unsubscribe(limit(t)); err != nil {
		t.Fatal(err)
	}
	position := s.Position()
	first.Close()
	if _, err := first.Subscribe(limit(t), "chat:lobby", rivulet.SubscribeOptions{}); !errors.Is(err, rivulet.ErrClosed) {
		t.Errorf("subscribe after Close: %v", err)
	}
	again := subscribe(t, open(t, url, quick()), "chat:lobby", rivulet.SubscribeOptions{Position: position})
	if got, err := collect(limit(t), again, 6); err != nil || !slices.Equal(got, numbers(10)[4:]) {
		t.Errorf("went on with %v, %v", got, err)
	}
}

func TestHistory(t *testing.T) {
	node, url := newLogNode(t)
	c := open(t, url, quick())
	for _, data := range numbers(3) {
		node.publish("chat:lobby", data)
	}
	node.breakAll()
	page, err := c.History(limit(t), "chat:lobby", rivulet.HistoryOptions{Limit: 3})
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Messages) != 3 || page.Messages[2].Offset != 3 || !page.Recovered || page.Position != page.Messages[2].Position {
		t.Errorf("page %+v", page)
	}
}
