package fanout_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

// keyed gives the message "<key>=<value>" its key; one without "=" has none.
func keyed(data string) string {
	key, _, found := strings.Cut(data, "=")
	if !found {
		return ""
	}
	return key
}

// board is a log whose messages have keys.
func board(limit uint64) *memLog {
	l := calm(limit, 1)
	l.key = keyed
	return l
}

func (n *node) put(t testing.TB, list ...string) {
	t.Helper()
	for _, data := range list {
		if !n.log.store(mustChannel(t, "t:a"), fanout.KindData, data) {
			t.Fatal("the log took nothing")
		}
	}
}

func byKey(rate int) fanout.Conflation {
	return fanout.Conflation{By: fanout.ConflateKey, MaxRate: rate}
}

func (n *node) conflated(t testing.TB, channel string, room int, by fanout.Conflation) *reader {
	t.Helper()
	r := n.reader(t, room)
	r.addRequest(fanout.SubscribeRequest{Channel: mustChannel(t, channel), Conflate: by})
	return r
}

// TestLateSubscriber gets the newest of each key, from the log and from memory, then
// all that comes.
func TestLateSubscriber(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		by   fanout.ConflateBy
		want []string
	}{
		"by key": {fanout.ConflateKey, []string{"one", "y=1", "two", "x=3", "z=1"}},
		"last":   {fanout.ConflateLast, []string{"z=1"}},
	} {
		for _, channel := range []string{"t:a", "t:>"} {
			t.Run(name+" of "+channel, func(t *testing.T) {
				t.Parallel()
				n := newNode(t, board(1000), true, nil)
				n.put(t, "x=1", "one", "y=1", "x=2", "two", "x=3", "z=1")
				for i := range 3 { // the first has the log read, the others find it read
					r := n.conflated(t, channel, 1<<20, fanout.Conflation{By: tc.by})
					r.expect(join([]string{"subscribed " + channel}, tc.want, []string{"caught up " + channel})...)
					if i < 2 {
						defer func() { r.expect("x=4", "x=5") }()
					} else {
						r.client.Close()
					}
				}
				n.put(t, "x=4", "x=5")
			})
		}
	}
}

// TestSlowClientGetsTheNewest: whatever was outdated while it took nothing does not come.
func TestSlowClientGetsTheNewest(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*fanout.HubConfig){
		"from memory":   nil,
		"from the log":  func(c *fanout.HubConfig) { c.ViewMessages = 2 },
		"without rings": func(c *fanout.HubConfig) { c.RingMessages = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t, board(1000).clocked(), true, change)
				slow := n.conflated(t, "t:a", 3, byKey(0))
				quick := n.conflated(t, "t:a", 1<<20, byKey(0))
				slow.expect("subscribed t:a", "caught up t:a")
				quick.await("caught up t:a")
				n.put(t, "a=0", "b=0", "c=0")
				quick.await("c=0")
				for i := 1; i <= 50; i++ {
					n.put(t, fmt.Sprintf("a=%d", i), fmt.Sprintf("b=%d", i), fmt.Sprintf("c=%d", i))
				}
				quick.await("c=50")
				if got := len(quick.told); got != 2+3*51 {
					t.Errorf("who keeps up got %d, want all", got)
				}
				slow.expect("a=0", "b=0", "c=0", "a=50", "b=50", "c=50")
				n.put(t, "d=1")
				slow.expect("d=1")
			})
		})
	}
}

// TestResumeOfConflated: a position between what was outdated is as good as any.
func TestResumeOfConflated(t *testing.T) {
	t.Parallel()
	n := newNode(t, board(1000), true, nil)
	plain := n.subscribe(t, "t:a", fanout.Start{})
	watcher := n.conflated(t, "t:a", 1<<20, byKey(0)) // keeps the view
	watcher.await("caught up t:a")
	var at []fanout.Position
	for i := range 20 {
		n.put(t, fmt.Sprintf("%c=%d", 'a'+i%3, i))
		plain.await(fmt.Sprintf("%c=%d", 'a'+i%3, i))
		at = append(at, plain.at)
	}
	reads := n.gate.reads.Load()
	for i, p := range at {
		r := n.reader(t, 1<<20)
		r.addRequest(fanout.SubscribeRequest{Channel: mustChannel(t, "t:a"), Start: fanout.Start{Positions: []fanout.Position{p}}, Conflate: byKey(0)})
		want := []string{"c=17", "a=18", "b=19"}[max(0, i-16):]
		r.expect(join([]string{"subscribed t:a"}, want, []string{"caught up t:a"})...)
		r.client.Close()
	}
	if got := n.gate.reads.Load() - reads; got != 0 {
		t.Errorf("%d reads of the log for what the view has", got)
	}
}

// TestGapOfConflated is told where what is lost may have been the newest of its key.
func TestGapOfConflated(t *testing.T) {
	t.Parallel()
	n := newNode(t, board(5), true, func(c *fanout.HubConfig) { c.RingMessages = 0 })
	r := n.subscribe(t, "t:a", fanout.Start{})
	n.put(t, "a=1")
	r.await("a=1")
	at := r.at
	for i := range 20 {
		n.put(t, fmt.Sprintf("k%d=1", i))
	}
	n.dispatched(t)
	back := n.reader(t, 1<<20)
	back.addRequest(fanout.SubscribeRequest{Channel: mustChannel(t, "t:a"), Start: fanout.Start{Positions: []fanout.Position{at}}, Conflate: byKey(0)})
	back.await("caught up t:a")
	if back.told[0] != "subscribed t:a not recovered: retention" {
		t.Errorf("told %q", back.told)
	}
}

// TestPurgeOfConflated: nobody is given what was purged, and who had it is told.
func TestPurgeOfConflated(t *testing.T) {
	t.Parallel()
	for _, channel := range []string{"t:a", "t:>"} {
		t.Run(channel, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, board(1000), true, nil)
			n.put(t, "x=1", "y=1")
			r := n.conflated(t, channel, 1<<20, byKey(0))
			r.expect("subscribed "+channel, "x=1", "y=1", "caught up "+channel)
			n.log.store(mustChannel(t, "t:a"), fanout.KindPurge, "purge")
			r.expect("gap t:a purged")
			n.put(t, "z=1")
			r.expect("z=1")
			late := n.conflated(t, channel, 1<<20, byKey(0))
			late.expect("subscribed "+channel, "z=1", "caught up "+channel)
		})
	}
}

// TestPurgedBeforeItCame: what was purged before a subscriber had anything is told, unless
// it was before the subscription began.
func TestPurgedBeforeItCame(t *testing.T) {
	t.Parallel()
	n := newNode(t, board(1000), true, nil)
	n.put(t, "x=1")
	n.log.store(mustChannel(t, "t:a"), fanout.KindPurge, "purge")
	n.dispatched(t)
	r := n.conflated(t, "t:>", 2, byKey(0))
	if !eventually(10*time.Second, func() bool { r.sink.mu.Lock(); defer r.sink.mu.Unlock(); return len(r.sink.events) == 2 }) {
		t.Fatal("not caught up")
	}
	n.put(t, "x=2") // there is no room
	n.dispatched(t)
	n.log.store(mustChannel(t, "t:a"), fanout.KindPurge, "purge")
	n.put(t, "y=1")
	n.dispatched(t)
	r.expect("subscribed t:>", "caught up t:>", "gap t:a purged", "y=1")
}

// TestViewOverflow: the oldest keys are given to nobody who comes later, but a client
// that was there gets them, from the log.
func TestViewOverflow(t *testing.T) {
	t.Parallel()
	n := newNode(t, board(1000), true, func(c *fanout.HubConfig) { c.ViewMessages = 4 })
	slow := n.conflated(t, "t:a", 2, byKey(0))
	slow.expect("subscribed t:a", "caught up t:a")
	var all []string
	for i := range 20 {
		all = append(all, fmt.Sprintf("k%02d=1", i))
	}
	n.put(t, all...)
	n.dispatched(t)
	late := n.conflated(t, "t:a", 1<<20, byKey(0))
	late.await("caught up t:a")
	if got := late.told[1 : len(late.told)-1]; !slices.Equal(got, all[16:]) {
		t.Errorf("who comes later gets %q, want %q", got, all[16:])
	}
	slow.expect(all...)
}

// TestRate counts what a rate lets through, in the time of a bubble.
func TestRate(t *testing.T) {
	for _, rate := range []int{2, 50, 1000} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t, board(1000), true, nil)
				r := n.conflated(t, "t:a", 1<<20, byKey(rate))
				r.await("caught up t:a")
				var wg sync.WaitGroup
				wg.Go(func() { // 100 keys, 1,500 messages a second
					for i := range 4 * 1500 {
						n.put(t, fmt.Sprintf("k%d=%d", i%100, i))
						time.Sleep(time.Second / 1500) //nolint:forbidigo // the bubble's time is what is tested
					}
				})
				var counts []int
				for range 4 {
					time.Sleep(time.Second) //nolint:forbidigo // see above
					r.told = nil
					r.take()
					counts = append(counts, len(r.told))
				}
				wg.Wait()
				for _, got := range counts[1:] {
					if got > rate+1+rate/100 || got < rate-1-rate/50 {
						t.Errorf("%v messages in the seconds, want about %d in each", counts, rate)
						break
					}
				}
				time.Sleep(200 * time.Second) //nolint:forbidigo // see above
				r.take()
				if len(r.told) == 0 {
					t.Fatal("never got the newest, nor anything")
				}
				if got := r.told[len(r.told)-1]; got != fmt.Sprintf("k99=%d", 4*1500-1) {
					t.Errorf("the newest is %s", got)
				}
			})
		})
	}
}

// TestRateBeginsWithTheCatchUp: who comes has all keys at once.
func TestRateBeginsWithTheCatchUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, board(100_000), true, nil)
		for i := range 600 {
			n.put(t, fmt.Sprintf("k%d=%d", i%200, i))
		}
		began := time.Now()
		r := n.conflated(t, "t:a", 1<<20, byKey(1))
		r.await("caught up t:a")
		if took := time.Since(began); len(r.told) != 202 || took > time.Second {
			t.Errorf("%d events in %v, want all 200 keys at once", len(r.told), took)
		}
	})
}

// TestViewsComeAndGo: a view that nobody uses is let go of, and its bytes.
func TestViewsComeAndGo(t *testing.T) {
	t.Parallel()
	n := newNode(t, board(1000), true, func(c *fanout.HubConfig) {
		c.Linger, c.SweepInterval = time.Millisecond, 5*time.Millisecond
	})
	plain := n.subscribe(t, "t:a", fanout.Start{})
	n.put(t, "x=1", "y=1")
	plain.await("y=1")
	before := n.metric(t, "ring_bytes")
	for range 3 {
		r := n.conflated(t, "t:a", 1<<20, byKey(0))
		r.expect("subscribed t:a", "x=1", "y=1", "caught up t:a")
		if n.Views() != 1 || n.metric(t, "ring_bytes") <= before {
			t.Error("there is no view")
		}
		r.client.Close()
		if !eventually(10*time.Second, func() bool { return n.Views() == 0 }) {
			t.Fatal("the view is kept without users")
		}
		if got := n.metric(t, "ring_bytes"); got != before {
			t.Errorf("%v bytes are held, before it were %v", got, before)
		}
	}
}

// TestOverlapOfConflated: what a conflated pattern left out is not taken for had by a
// subscription that comes later on the same connection.
func TestOverlapOfConflated(t *testing.T) {
	t.Parallel()
	n := newNode(t, board(1000), true, nil)
	n.put(t, "x=1", "x=2", "x=3")
	r := n.conflated(t, "t:>", 1<<20, byKey(0))
	r.expect("subscribed t:>", "x=3", "caught up t:>")
	r.add("t:a", fanout.Start{Since: 1})
	r.await("caught up t:a")
	for _, want := range []string{"x=1", "x=2"} {
		if !slices.Contains(r.told, want) {
			t.Errorf("%s is missing in %q", want, r.told)
		}
	}
}

func TestBadConflation(t *testing.T) {
	t.Parallel()
	n := newNode(t, calm(1000, 1), true, nil)
	for _, tc := range []struct {
		by    fanout.Conflation
		field string
	}{
		{fanout.Conflation{MaxRate: 5}, "max_rate"},
		{fanout.Conflation{By: fanout.ConflateKey, MaxRate: -1}, "max_rate"},
		{fanout.Conflation{By: fanout.ConflateKey, MaxRate: 1001}, "max_rate"},
		{fanout.Conflation{By: 9}, "conflate"},
	} {
		err := n.NewClient(&boundedSink{}).Subscribe(fanout.SubscribeRequest{Channel: mustChannel(t, "t:a"), Conflate: tc.by})
		if in, ok := errors.AsType[*fanout.InputError](err); !ok || in.Field != tc.field {
			t.Errorf("%+v: %v, want an error of %s", tc.by, err, tc.field)
		}
	}
}
