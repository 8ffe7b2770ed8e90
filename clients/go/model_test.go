package rivulet_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
)

// The client held against modelNode: whatever happens to connections, buffers and the log,
// every message comes once and in order, or a gap is told.

type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

// modelChannels are published to, modelNames subscribed to.
var (
	modelChannels = []string{"t:a.1", "t:a.2", "t:b.1", "t:b.2"}
	modelNames    = append(slices.Clone(modelChannels), "t:a.*", "t:>", "t:*.1")
)

// watched is one subscription with what came of it.
type watched struct {
	name string
	// since counts what was published when it had begun: from there on all must come.
	since int
	begun bool
	ended bool
	sub   *rivulet.Subscription
	done  chan struct{} // closed when nothing comes of it any more
	// got is what it told: messages by their number, gaps as -1.
	got []told
}

type told struct {
	channel string
	data    int // -1 for a gap
}

// modelWorld is a client, its subscriptions, and the node.
type modelWorld struct {
	t      *testing.T
	rng    *rand.Rand
	node   *modelNode
	client *rivulet.Client
	anew   bool // those that ended are begun anew where they stood
	wg     sync.WaitGroup

	rest chan struct{} // closed at the end: nobody is slow any more

	mu        sync.Mutex // guards the following
	watched   []*watched
	published []string // the channel of each number
	asked     int      // subscriptions that asked for history
	problems  []string
}

func newModelWorld(t *testing.T, seed uint64) *modelWorld {
	t.Helper()
	w := &modelWorld{t: t, rng: rand.New(rand.NewPCG(seed, 1)), rest: make(chan struct{})}
	var dial dialer
	w.node, dial = newModelNode(t)
	opts := rivulet.Options{Dial: dial, Backoff: rivulet.Backoff{Base: 20 * time.Millisecond, Max: 100 * time.Millisecond}}
	if seed%2 == 1 {
		opts.Codec = rivulet.CodecProtobuf
	}
	w.client = connect(t, opts)
	return w
}

// find returns the subscription of the name that has not ended. w.mu is held.
func (w *modelWorld) find(name string) *watched {
	for _, s := range w.watched {
		if s.name == name && !s.ended {
			return s
		}
	}
	return nil
}

// latest returns the last subscription of the name, nil if there was none. w.mu is held.
func (w *modelWorld) latest(name string) *watched {
	for _, s := range slices.Backward(w.watched) {
		if s.name == name {
			return s
		}
	}
	return nil
}

// subscribe starts a subscription unless there is one; slow is what its application takes
// for an update.
func (w *modelWorld) subscribe(name string, opts rivulet.SubscribeOptions, slow time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.find(name) != nil {
		return
	}
	s := &watched{name: name, done: make(chan struct{})}
	before := w.latest(name)
	w.watched = append(w.watched, s)
	if opts.Last > 0 {
		w.asked++
	}
	w.wg.Go(func() {
		defer close(s.done)
		if before != nil && w.anew {
			<-before.done
			opts = rivulet.SubscribeOptions{Buffer: opts.Buffer, Positions: before.sub.Positions()}
		}
		for {
			sub, err := w.client.Subscribe(w.t.Context(), name, opts)
			if errors.Is(err, rivulet.ErrAlreadySubscribed) { // the one before is being let go of
				pass(time.Millisecond)
				continue
			}
			if err != nil {
				w.t.Errorf("subscribe %s: %v", name, err)
				return
			}
			w.consume(s, before, sub, slow)
			return
		}
	})
}

func (w *modelWorld) consume(s, before *watched, sub *rivulet.Subscription, slow time.Duration) {
	w.mu.Lock()
	s.sub, s.begun, s.since = sub, true, len(w.published)
	if before != nil && w.anew {
		s.since = before.since
	}
	w.mu.Unlock()
	for u, err := range sub.Updates(w.t.Context()) {
		if err != nil {
			if !errors.Is(err, rivulet.ErrClosed) {
				w.t.Errorf("%s ended: %v", s.name, err)
			}
			return
		}
		w.mu.Lock()
		switch {
		case u.Gap() != nil:
			s.got = append(s.got, told{u.Channel, -1})
		case u.Message != nil:
			n, _ := strconv.Atoi(string(u.Message.Data))
			s.got = append(s.got, told{u.Message.Channel, n})
		}
		w.mu.Unlock()
		if slow > 0 {
			select {
			case <-time.After(slow):
			case <-w.rest:
			}
		}
	}
}

func (w *modelWorld) publish(channel string, count int) {
	for range count {
		w.mu.Lock()
		n := len(w.published)
		w.published = append(w.published, channel)
		w.mu.Unlock()
		w.node.publish(channel, n)
	}
}

// unsubscribe ends a subscription that has begun.
func (w *modelWorld) unsubscribe(name string) {
	w.mu.Lock()
	s := w.find(name)
	if s == nil || !s.begun {
		w.mu.Unlock()
		return
	}
	s.ended = true
	sub := s.sub
	w.mu.Unlock()
	w.wg.Go(func() {
		if err := sub.Unsubscribe(w.t.Context()); err != nil {
			w.t.Errorf("unsubscribe %s: %v", name, err)
		}
	})
}

// modelKind says which steps a world takes.
type modelKind struct {
	names  []string
	ends   bool // some end
	losses bool // the log loses messages
	last   int  // subscriptions ask for up to so many of the newest
	anew   bool // those that ended begin anew where they stood, in the end all of them
	crowd  bool // all happens on the beat
	token  bool // the token names some
	tarry  bool // some patterns are answered late
}

// step does one thing at random.
func (w *modelWorld) step(k modelKind) {
	r := w.rng
	switch n := r.IntN(24); {
	case k.token && r.IntN(8) == 0:
		w.node.bring(k.names[r.IntN(len(k.names))])
	case k.tarry && r.IntN(8) == 0:
		w.node.tarryNext(1 + r.IntN(2))
	case k.anew && r.IntN(3) == 0:
		w.unsubscribe(k.names[r.IntN(len(k.names))])
	case n < 6:
		w.publish(modelChannels[r.IntN(len(modelChannels))], 1+r.IntN(12))
	case n < 9:
		opts := rivulet.SubscribeOptions{Buffer: 1 + r.IntN(6)}
		if k.last > 0 {
			opts.Last = r.IntN(k.last + 1)
		}
		w.subscribe(k.names[r.IntN(len(k.names))], opts, time.Duration(r.IntN(2))*7*time.Millisecond)
	case n < 10 && k.ends:
		w.unsubscribe(k.names[r.IntN(len(k.names))])
	case n < 11:
		w.node.cut()
	case n < 12:
		w.node.deafen()
	case n < 14:
		w.node.refuseNext(1 + r.IntN(3))
	case n < 15 && k.losses:
		w.node.trim(r.IntN(2), r.IntN(5))
	case n < 16 && k.losses:
		w.node.reset(r.IntN(2))
	case n < 20:
		pass(time.Duration(1+r.IntN(100)) * time.Millisecond)
	default:
		pass(time.Duration(r.IntN(2000)) * time.Microsecond)
	}
}

// run plays a world and closes its client when all has come to rest.
func (w *modelWorld) run(k modelKind) {
	w.anew = k.anew
	for range 20 + w.rng.IntN(70) {
		if k.crowd {
			w.beat(k)
		} else {
			w.step(k)
		}
	}
	close(w.rest)
	for _, name := range k.names {
		if k.anew && w.latest(name) != nil {
			w.subscribe(name, rivulet.SubscribeOptions{}, 0)
		}
	}
	pass(10 * time.Minute)
	synctest.Wait()
	w.settled()
	w.client.Close()
	w.wg.Wait()
}

// settled: after a rest, the node knows all subscriptions that have not ended, and no other.
func (w *modelWorld) settled() {
	w.mu.Lock()
	defer w.mu.Unlock()
	var want []string
	for _, s := range w.watched {
		if !s.ended {
			want = append(want, s.name)
		}
	}
	slices.Sort(want)
	if got := w.node.subscriptions(); !slices.Equal(got, want) {
		w.problems = append(w.problems, fmt.Sprintf("after a rest the node knows %v, want %v", got, want))
	}
}

// ordered: in order and never twice, within one subscription; but for a gap, after which
// some repeat.
func (w *modelWorld) ordered() (problems []string) {
	for _, s := range w.watched {
		last := map[string]int{}
		for _, m := range s.got {
			before, seen := last[m.channel]
			switch {
			case m.data < 0:
				clear(last)
			case seen && m.data <= before:
				problems = append(problems, fmt.Sprintf("%s got %d of %s after %d", s.name, m.data, m.channel, before))
			default:
				last[m.channel] = m.data
			}
		}
	}
	return problems
}

// complete: each message that was published while somebody listened has come to one of
// them; exactly says to one alone. gaps says that one of them may have been told of a gap.
func (w *modelWorld) complete(exactly, gaps bool) (problems []string) {
	for n, channel := range w.published {
		came, listened, gap := []string(nil), []string(nil), false
		for _, s := range w.watched {
			hears := s.begun && s.since <= n && !s.ended && modelCovers(s.name, channel)
			if hears {
				listened = append(listened, s.name)
			}
			for _, m := range s.got {
				gap = gap || hears && m.data < 0
				if m.data == n {
					came = append(came, s.name)
				}
			}
		}
		switch {
		case len(listened) > 0 && len(came) == 0 && (!gaps || !gap):
			problems = append(problems, fmt.Sprintf("%d of %s came to nobody of %v", n, channel, listened))
		case exactly && len(listened) > 0 && len(came) > 1:
			problems = append(problems, fmt.Sprintf("%d of %s came to %v", n, channel, came))
		}
	}
	return problems
}

// modelSeeds is how many worlds each test plays; MODEL_SEEDS raises it.
func modelSeeds(t *testing.T) (first, count uint64) {
	t.Helper()
	first, count = 1, 60
	for name, v := range map[string]*uint64{"MODEL_SEED": &first, "MODEL_SEEDS": &count} {
		if s := os.Getenv(name); s != "" {
			n, err := strconv.ParseUint(s, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			*v = n
		}
	}
	return first, count
}

// play plays worlds of a kind and fails for the first that check finds fault with.
func play(t *testing.T, k modelKind, check func(w *modelWorld) []string) {
	t.Helper()
	first, count := modelSeeds(t)
	messages := 0
	for seed := first; seed < first+count; seed++ {
		synctest.Test(t, func(t *testing.T) {
			w := newModelWorld(t, seed)
			w.run(k)
			if problems := slices.Concat(w.problems, w.ordered(), check(w)); len(problems) > 0 {
				t.Errorf("seed %d:\n%s", seed, strings.Join(problems[:min(6, len(problems))], "\n"))
			}
			for _, s := range w.watched {
				messages += len(s.got)
			}
		})
		if t.Failed() {
			return
		}
	}
	if messages == 0 {
		t.Fatal("no message came")
	}
}

func TestModelOfSubscriptionsApart(t *testing.T) {
	play(t, modelKind{names: modelChannels, ends: true, last: 5}, func(w *modelWorld) []string {
		return w.complete(false, false)
	})
}

func TestModelOfOverlappingSubscriptions(t *testing.T) {
	play(t, modelKind{names: modelNames}, func(w *modelWorld) []string {
		return w.complete(true, false)
	})
}

func TestModelOfOverlappingHistory(t *testing.T) {
	play(t, modelKind{names: modelNames, last: 5}, func(w *modelWorld) []string {
		return w.complete(false, false)
	})
}

// What is dropped with a subscription that ends was had by its connection, and need not come
// to others; but all comes in order, and nothing hangs.
func TestModelOfOverlappingSubscriptionsThatEnd(t *testing.T) {
	play(t, modelKind{names: modelNames, ends: true, losses: true, last: 5}, func(*modelWorld) []string { return nil })
}
