package demo

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	_ "embed" // the events
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/rivulet-rt/rivulet/fanout"
)

// FeedChannel is where the feed is played.
const FeedChannel = "demo:commits"

// The feed's bounds.
const (
	// look is how often the feed sees whether somebody is subscribed.
	look = 500 * time.Millisecond
	// linger is how long it plays on for nobody: a page that is loaded anew finds it going.
	linger = 10 * time.Second
	// keep is how long an event is stored.
	keep = 10 * time.Minute
	// leastGap and mostGap bound the time between two events.
	leastGap = 120 * time.Millisecond
	mostGap  = 900 * time.Millisecond
	// giveUp is how long one event is tried: less than its idempotency key holds.
	giveUp = time.Minute
	// again is the wait after an event could not be stored.
	again = time.Second
	// maxEvents bounds the bytes of the events.
	maxEvents = 1 << 20
)

// packedEvents are commits of public repositories, their authors made anonymous: one JSON
// object on a line, in the order of their times.
//
//go:embed events.ndjson.gz
var packedEvents []byte

// event is a commit.
type event struct {
	Project string `json:"project"`
	Commit  string `json:"commit"`
	Author  string `json:"author"`
	Subject string `json:"subject"`
	Time    int64  `json:"time"` // Unix milliseconds
}

// played is an event as it is published: the n-th of its run, without a hole.
type played struct {
	Run string `json:"run"`
	N   uint64 `json:"n"`
	event
}

// Audience knows how many connections are subscribed to a channel.
type Audience interface {
	Clients(ctx context.Context, c fanout.Channel) (n int, partial bool, err error)
}

// Publisher stores messages.
type Publisher interface {
	Publish(ctx context.Context, p *fanout.Publication) (fanout.Receipt, error)
}

// Feed plays events while somebody is subscribed to its channel.
type Feed struct {
	// Static after NewFeed.
	channel   fanout.Channel
	events    []event
	audience  Audience
	publisher Publisher
	log       *slog.Logger

	cancel context.CancelFunc // set by Start, before Stop
	wg     sync.WaitGroup     // run

	// Owned by run.
	name string // of this run of numbers
	n    uint64 // the last number that was stored
}

// NewFeed reads the embedded events. The error is one of the build, not of the caller.
func NewFeed(a Audience, p Publisher, logger *slog.Logger) (*Feed, error) {
	channel, err := fanout.ParseChannel(FeedChannel)
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	events, err := readEvents(packedEvents)
	if err != nil {
		return nil, fmt.Errorf("demo: read the events: %w", err)
	}
	return &Feed{
		channel: channel, events: events, audience: a, publisher: p, log: logger,
		cancel: func() {}, name: rand.Text()[:8],
	}, nil
}

func readEvents(packed []byte) ([]event, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	var list []event
	lines := bufio.NewScanner(r)
	for size := 0; lines.Scan(); {
		if size += len(lines.Bytes()); size > maxEvents {
			return nil, fmt.Errorf("are over %d bytes", maxEvents)
		}
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	if len(list) == 0 {
		return nil, errors.Join(lines.Err(), errors.New("are none"))
	}
	return list, lines.Err()
}

// Start begins to look for an audience. The feed outlives ctx, and ends with Stop. Call it
// once.
func (f *Feed) Start(ctx context.Context) {
	ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	f.wg.Go(func() { f.run(ctx) })
}

// Stop ends the feed and waits for it. It never fails, and may be called again.
func (f *Feed) Stop(context.Context) error {
	f.cancel()
	f.wg.Wait()
	return nil
}

func (f *Feed) run(ctx context.Context) {
	for sleep(ctx, look) {
		if f.watched(ctx) {
			f.play(ctx)
		}
	}
}

// play publishes until nobody was there for a while.
func (f *Feed) play(ctx context.Context) {
	seen, looked := time.Now(), time.Now()
	for sleep(ctx, f.gap()) {
		if now := time.Now(); now.Sub(looked) >= look {
			looked = now
			if f.watched(ctx) {
				seen = now
			}
		}
		if time.Since(seen) > linger || !f.publish(ctx) {
			return
		}
	}
}

func (f *Feed) watched(ctx context.Context) bool {
	n, _, err := f.audience.Clients(ctx, f.channel)
	return err == nil && n > 0
}

// next is the event that is to be published.
func (f *Feed) next() *event { return &f.events[f.n%uint64(len(f.events))] }

// gap is the time before the next event: as the commits', but a minute is a moment, and a
// day not much longer.
func (f *Feed) gap() time.Duration {
	i := f.n % uint64(len(f.events))
	if i == 0 {
		return mostGap
	}
	seconds := float64(f.events[i].Time-f.events[i-1].Time) / 1000
	return min(mostGap, max(leastGap, time.Duration(70*math.Log1p(seconds/30))*time.Millisecond))
}

// publish stores the next event, trying again with the same key, so that the numbers have
// no hole. It reports whether the feed goes on; where it does not, another run of numbers
// begins, as nobody knows about the last one.
func (f *Feed) publish(ctx context.Context) bool {
	e := f.next()
	data, err := json.Marshal(played{f.name, f.n + 1, *e})
	if err != nil { // plain fields always encode
		return false
	}
	began := time.Now()
	for {
		_, err := f.publisher.Publish(ctx, &fanout.Publication{
			Channel: f.channel, Data: data, TTL: keep, Publisher: "demo", Key: f.name + "-" + strconv.FormatUint(f.n+1, 10),
			Headers: map[string]string{"project": e.Project},
		})
		switch {
		case err == nil:
			f.n++
			return true
		case ctx.Err() != nil:
			return false
		}
		f.log.Debug("event of the demo not stored", slog.Any("err", err))
		if time.Since(began) > giveUp {
			f.name, f.n = rand.Text()[:8], 0
			return false
		}
		if !sleep(ctx, again) {
			return false
		}
	}
}

// sleep reports whether ctx goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
