package test_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/protocol"
)

const (
	crowd    = 500             // subscribers
	cutEvery = 2 * time.Second // each, on average
	// publishing takes this long for 2,000 events, so that every subscriber is cut
	// several times.
	chaosSpan = 12 * time.Second
	// every so many messages are published twice, with one key.
	repeatEvery = 10
)

// chaos is a crowd of subscribers on two nodes that share a log.
type chaos struct {
	channels  map[string][]json.RawMessage
	total     int
	log       *natsProcess
	nodes     []*node
	urls      []string
	watchers  []*watcher
	books     map[string]*book
	publisher *rivulet.Publisher

	published, duplicates atomic.Int64
	half                  chan struct{} // closed when half is published
}

// TestCrowdSurvivesChaos: 500 subscribers of real events on two nodes are cut all
// the time, and one node is killed: each gets every message of its channel once,
// in order, and what is published twice is stored once.
func TestCrowdSurvivesChaos(t *testing.T) {
	c := newChaos(t)
	var work sync.WaitGroup
	defer work.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 4*deadline+3*c.span())
	defer cancel()
	for _, w := range c.watchers {
		work.Go(func() { w.follow(ctx, "end-2") })
	}
	cutting, calm := context.WithCancel(ctx)
	defer calm()
	cuts := make(chan int, 1)
	work.Go(func() { cuts <- cutAll(cutting, c.watchers, cutEvery) })
	published := make(chan struct{})
	work.Go(func() {
		defer close(published)
		c.publishAll(ctx, t)
		c.mark(ctx, t, "end-1")
	})

	select {
	case <-c.half:
	case <-ctx.Done():
		t.Fatalf("%d of %d messages were published in time", c.published.Load(), c.total)
	}
	c.nodes[0].kill(t)
	c.nodes[0] = serveOn(t, c.log.url(), c.nodes[0].address)
	<-published
	calm()
	c.mark(ctx, t, "end-2") // had anything come again after the end, it would be before this
	work.Wait()
	c.report(t, <-cuts, 1)
}

func (c *chaos) span() time.Duration {
	return chaosSpan * time.Duration(max(c.total, 2000)) / 2000
}

func newChaos(t *testing.T) *chaos {
	t.Helper()
	c := &chaos{books: map[string]*book{}, half: make(chan struct{})}
	c.channels, c.total = loadCommits(t)
	for channel := range c.channels {
		c.books[channel] = newBook(channel)
	}
	c.log = startNATS(t, t.TempDir(), ownAddress(t))
	for range 2 {
		n := serveOn(t, c.log.url(), ownAddress(t))
		c.nodes, c.urls = append(c.nodes, n), append(c.urls, n.url())
	}
	var err error
	if c.publisher, err = rivulet.NewPublisher(c.urls[0], rivulet.PublisherOptions{URLs: c.urls[1:], Backoff: quick, Client: newCaller(t).http}); err != nil {
		t.Fatal(err)
	}
	c.gather(t)
	return c
}

// gather subscribes the crowd, spread over the channels and the nodes.
func (c *chaos) gather(t *testing.T) {
	t.Helper()
	names := slices.Sorted(maps.Keys(c.channels))
	c.watchers = make([]*watcher, crowd)
	group, ctx := errgroup.WithContext(bounded(t))
	group.SetLimit(16)
	for i := range c.watchers {
		urls := slices.Clone(c.urls)
		if i/len(names)%2 == 1 {
			slices.Reverse(urls)
		}
		group.Go(func() (err error) {
			c.watchers[i], err = newWatcher(ctx, names[i%len(names)], rivulet.SubscribeOptions{}, urls)
			return err
		})
	}
	err := group.Wait()
	t.Cleanup(func() {
		var closing sync.WaitGroup
		defer closing.Wait()
		for _, w := range c.watchers {
			if w != nil {
				closing.Go(w.client.Close)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// publishAll publishes the events of each channel in their order, evenly over the
// span.
func (c *chaos) publishAll(ctx context.Context, t *testing.T) {
	t.Helper()
	var work sync.WaitGroup
	defer work.Wait()
	for channel, events := range c.channels {
		work.Go(func() {
			tick := time.NewTicker(c.span() / time.Duration(len(events)))
			defer tick.Stop()
			for i, event := range events {
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
				if !c.publish(ctx, t, channel, fmt.Sprintf("%s-%d", channel, i), event, i%repeatEvery == 0) {
					return
				}
				if c.published.Add(1) == int64(c.total/2) {
					close(c.half)
				}
			}
		})
	}
}

// mark publishes one message to every channel.
func (c *chaos) mark(ctx context.Context, t *testing.T, key string) {
	t.Helper()
	for channel := range c.channels {
		c.publish(ctx, t, channel, key, json.RawMessage("null"), false)
	}
}

// publish stores an event, on whichever node takes it, and reports whether it did.
func (c *chaos) publish(ctx context.Context, t *testing.T, channel, key string, event json.RawMessage, twice bool) bool {
	t.Helper()
	compact, err := protocol.CompactData(event)
	if err != nil {
		t.Errorf("%s: %v", key, err)
		return false
	}
	times := 1
	if twice {
		times = 2
	}
	for i := range times {
		r, err := c.publisher.Publish(ctx, channel, event, rivulet.PublishOptions{IdempotencyKey: key})
		if err != nil {
			t.Errorf("publish %s: %v", key, err)
			return false
		}
		if r.Duplicate {
			c.duplicates.Add(1)
		}
		if i > 0 && !r.Duplicate {
			t.Errorf("%s was published again and is said to be new", key)
		}
		c.books[channel].note(t, key, compact, outcomeStored, r.Offset)
	}
	return true
}

// report checks what everybody got, and that it was not easy.
func (c *chaos) report(t *testing.T, cuts, kills int) {
	t.Helper()
	delivered, resumes, expected := 0, 0, 0
	logs := map[string][]entry{}
	for channel, b := range c.books {
		logs[channel] = newCaller(t).history(t, c.urls[1], channel)
		b.audit(t, logs[channel])
	}
	for _, w := range c.watchers {
		log := logs[w.sub.Channel()]
		w.check(t, log)
		expected += len(log)
		delivered += w.count()
		resumes += w.resumes()
	}
	t.Logf("published %d, delivered %d of %d to %d subscribers, cuts %d, resumes %d, kills %d, duplicates suppressed %d",
		c.published.Load(), delivered, expected, len(c.watchers), cuts, resumes, kills, c.duplicates.Load())
	if least := int64(c.total / repeatEvery); c.published.Load() != int64(c.total) || c.duplicates.Load() < least {
		t.Errorf("published %d of %d, %d of at least %d duplicates were noticed", c.published.Load(), c.total, c.duplicates.Load(), least)
	}
	if cuts < 2*crowd || resumes < cuts/2 {
		t.Errorf("%d cuts and %d resumes: the test was idle", cuts, resumes)
	}
}
