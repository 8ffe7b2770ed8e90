package fanout_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/fanout"
)

// world is several nodes on one log with faults, and the consumers on them.
type world struct {
	rng       *lockedRand
	log       *memLog
	hubs      []*fanout.Hub
	consumers []*consumer
	channels  []fanout.Channel
	published int
	inexact   bool // some node's feed is
	cancel    context.CancelFunc
	wg        sync.WaitGroup
}

func mustChannel(t testing.TB, s string) fanout.Channel {
	t.Helper()
	c, err := fanout.ParsePattern(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func modelConfig(rng *lockedRand) fanout.HubConfig {
	cfg := fanout.DefaultHubConfig()
	cfg.Shards = 2
	cfg.SweepInterval = 20 * time.Millisecond
	cfg.FirstLook, cfg.RetryLeast, cfg.RetryMost = 5*time.Millisecond, time.Millisecond, 4*time.Millisecond
	cfg.Linger = 30 * time.Millisecond
	cfg.KeepReads = time.Duration(rng.IntN(2)) * 50 * time.Millisecond
	cfg.ReadBatch = 1 + rng.IntN(5)
	cfg.RingMessages = []int{0, 4, 64}[rng.IntN(3)]
	cfg.ViewMessages = []int{2, 7, 1000}[cfg.ReadBatch%3]
	cfg.ShardQueue = []int{2, 1000}[rng.IntN(2)]
	cfg.SliceCursors = []int{512, 1, 2}[cfg.ReadBatch%3]
	return cfg
}

func newWorld(t testing.TB, seed uint64) *world {
	t.Helper()
	rng := &lockedRand{r: rand.New(rand.NewPCG(seed, 1))}
	w := &world{rng: rng, log: newMemLog(uint64([]int{6, 1000}[rng.IntN(2)]), 2, rng)}
	w.log.key = modelKey
	for _, name := range []string{"t:a", "t:b", "t:a.x", "t:a.y", "t:a.x.z"} {
		w.channels = append(w.channels, mustChannel(t, name))
	}
	ctx, cancel := context.WithCancel(t.Context())
	w.cancel = cancel
	for range 1 + rng.IntN(3) {
		feed := w.log.newFeed(exactness(rng))
		w.inexact = w.inexact || !feed.exact
		logger := slog.New(slog.DiscardHandler)
		h := fanout.NewHub(modelConfig(rng), w.log, feed, w.log, logger, prometheus.NewRegistry())
		w.hubs = append(w.hubs, h)
		w.wg.Go(func() { feed.run(ctx, h) })
	}
	return w
}

func (w *world) stop(t testing.TB) {
	t.Helper()
	for _, c := range w.consumers {
		c.cut()
	}
	for _, h := range w.hubs {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if err := h.Stop(ctx); err != nil {
			t.Error(err)
		}
		cancel()
	}
	w.cancel()
	w.wg.Wait()
}

func (w *world) publish() {
	for range 1 + w.rng.IntN(4) {
		w.published++
		w.log.store(w.channels[w.rng.IntN(len(w.channels))], fanout.KindData, fmt.Sprintf("m%d", w.published))
	}
}

func (w *world) join(t testing.TB) {
	t.Helper()
	names := []string{"t:a", "t:b", "t:a.x", "t:a.*", "t:>", "t:a.>"}
	c := newConsumer(t, w.log, fmt.Sprintf("consumer %d", len(w.consumers)), names[w.rng.IntN(len(names))], w.inexact)
	c.refine(w.rng, uint64(len(w.consumers)))
	var start fanout.Start
	if !c.channel.IsPattern() && w.rng.IntN(3) == 0 {
		start.Last = 1 + w.rng.IntN(10)
	} else if w.rng.IntN(4) == 0 {
		start.Since = 1
	}
	c.connect(w.anyHub(), 1+w.rng.IntN(12), start)
	w.consumers = append(w.consumers, c)
}

func (w *world) anyHub() *fanout.Hub { return w.hubs[w.rng.IntN(len(w.hubs))] }

// move makes one random move.
func (w *world) move(t testing.TB) {
	t.Helper()
	stream := w.log.partition(w.channels[w.rng.IntN(len(w.channels))])
	switch n := w.rng.IntN(100); {
	case n < 45:
		w.publish()
	case n < 70 && len(w.consumers) > 0:
		w.consumers[w.rng.IntN(len(w.consumers))].drain()
	case n < 82 && len(w.consumers) > 0:
		c := w.consumers[w.rng.IntN(len(w.consumers))]
		if c.client == nil {
			c.connect(w.anyHub(), 1+w.rng.IntN(12), c.asked)
		} else {
			c.cut()
		}
	case n < 88 && len(w.consumers) < 12:
		w.join(t)
	case n < 90:
		w.log.ageOut(stream, w.rng.IntN(5))
	case n < 92:
		w.log.store(w.channels[w.rng.IntN(len(w.channels))], fanout.KindPurge, "purge")
	case n == 92:
		w.log.deleteOne(w.channels[w.rng.IntN(len(w.channels))], w.rng.IntN(1000), w.rng.IntN(2) == 0)
	case n < 94 && w.rng.IntN(2) == 0:
		w.log.rollBack(stream, uint64(w.rng.IntN(6)))
	case n < 94 && w.rng.IntN(2) == 0:
		w.log.recreate(stream)
	case n < 96:
		w.log.setDown(true)
	case n < 99:
		w.log.setDown(false)
	default:
		w.log.pass(3 * time.Second) // some are told positions where nothing passes
		// Let the nodes run ahead of the moves.
		eventually(time.Millisecond, func() bool { return false })
	}
}

// settle ends the faults and waits until every consumer has all that is stored.
func (w *world) settle(patience time.Duration) (stuck []string) {
	w.log.setDown(false)
	for _, f := range w.log.feeds {
		f.heal()
	}
	for _, c := range w.consumers {
		if c.client == nil {
			c.connect(w.anyHub(), 8, c.asked)
		}
	}
	w.published++
	for _, ch := range w.channels {
		w.log.store(ch, fanout.KindData, "end "+ch.String())
	}
	for _, c := range w.consumers {
		done := eventually(patience, func() bool {
			c.drain()
			return c.started && len(c.missing()) == 0 || len(c.problems) > 0
		})
		if !done {
			stuck = append(stuck, fmt.Sprintf("%s (%s, started %v, loose %v): never got %v", c.name, c.channel, c.started, c.loose, c.missing())+
				"\n"+strings.Join(c.history[max(0, len(c.history)-15):], "\n"))
			for i, h := range w.hubs {
				stuck = append(stuck, fmt.Sprintf("node %d:\n%s", i, h.Dump()))
			}
			break
		}
	}
	return stuck
}

// runModel plays one seed and returns what broke promise 2, and what happened.
func runModel(t testing.TB, seed uint64, moves int) (problems []string, got, gaps, deleted int) {
	t.Helper()
	w := newWorld(t, seed)
	defer w.stop(t)
	for range moves {
		w.move(t)
	}
	problems = w.settle(patience(t))
	for _, c := range w.consumers {
		for ch := range c.owed {
			problems = append(problems, fmt.Sprintf("%s (%s): never told that %s was purged", c.name, c.channel, ch))
		}
		problems = append(problems, c.problems...)
		got += c.got
		gaps += c.gapped
		deleted += c.deleted
	}
	return problems, got, gaps, deleted
}

// patience is how long a consumer may take to get what is stored once all faults
// have ended; MODEL_PATIENCE shortens it where the model is expected to fail.
func patience(t testing.TB) time.Duration {
	t.Helper()
	s := os.Getenv("MODEL_PATIENCE")
	if s == "" {
		return 10 * time.Second
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatalf("MODEL_PATIENCE=%q: %v", s, err)
	}
	return d
}

// seeds is how many worlds TestCursorModel plays; MODEL_SEEDS raises it.
func seeds(t testing.TB) uint64 {
	t.Helper()
	s := os.Getenv("MODEL_SEEDS")
	if s == "" {
		return 60
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("MODEL_SEEDS=%q: %v", s, err)
	}
	return n
}

// firstSeed is that of the first world; MODEL_SEED sets it.
func firstSeed(t testing.TB) uint64 {
	t.Helper()
	s := os.Getenv("MODEL_SEED")
	if s == "" {
		return 1
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("MODEL_SEED=%q: %v", s, err)
	}
	return n
}

// TestCursorModel holds promise 2 under random interleavings of publish, subscribe,
// slow and stalled readers, cuts, lost and repeated live messages, evicted and
// purged history, a log that is away, rolled back or recreated, on several nodes.
func TestCursorModel(t *testing.T) {
	t.Parallel()
	first := firstSeed(t)
	var got, gaps, deleted int
	for seed := first; seed < first+seeds(t); seed++ {
		problems, n, g, d := runModel(t, seed, 400)
		got, gaps, deleted = got+n, gaps+g, deleted+d
		if len(problems) > 0 {
			t.Fatalf("seed %d:\n%s", seed, strings.Join(problems[:min(6, len(problems))], "\n"))
		}
	}
	if got == 0 || gaps == 0 || deleted == 0 {
		t.Fatalf("the model moved %d messages, %d gaps and %d deletions: it tests nothing", got, gaps, deleted)
	}
	t.Logf("%d messages delivered, %d gaps and %d deletions told", got, gaps, deleted)
}

func exactness(rng *lockedRand) bool {
	switch os.Getenv("MODEL_FEED") {
	case "exact":
		return true
	case "inexact":
		return false
	}
	return rng.IntN(2) == 0
}
