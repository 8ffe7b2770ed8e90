package test_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/cmd"
)

// overlapNames are subscribed to by one client, overlapChannels published to.
var (
	overlapNames    = []string{"t:>", "t:a.*", "t:a.1", "t:a.2"}
	overlapChannels = []string{"t:a.1", "t:a.2", "t:b"}
)

const overlapMessages = 1500

// overlapped is a client whose subscriptions overlap, and all that came of them.
type overlapped struct {
	t      *testing.T
	client *rivulet.Client
	rng    *rand.Rand // the test's own goroutine's
	open   map[string]*part
	at     map[string][]string // of those that were ended: where they stood

	mu    sync.Mutex // guards the following
	last  map[string]uint64
	came  map[string]int // by message
	wrong []string
}

// part is one subscription while it lasts.
type part struct {
	sub  *rivulet.Subscription
	done chan struct{} // closed when nothing comes of it any more
}

func newOverlapped(t *testing.T, url string, seed uint64) *overlapped {
	t.Helper()
	c, err := rivulet.New(url, rivulet.Options{Backoff: quick})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.Connect(bounded(t)); err != nil {
		t.Fatal(err)
	}
	return &overlapped{
		t: t, client: c, rng: rand.New(rand.NewPCG(seed, 3)),
		open: map[string]*part{}, at: map[string][]string{}, last: map[string]uint64{}, came: map[string]int{},
	}
}

// begin subscribes, from where a subscription of the name stood that was ended.
func (o *overlapped) begin(name string) {
	o.t.Helper()
	sub, err := o.client.Subscribe(bounded(o.t), name, rivulet.SubscribeOptions{Positions: o.at[name], Buffer: 1 + o.rng.IntN(40)})
	if err != nil {
		o.t.Fatal(err)
	}
	p := &part{sub: sub, done: make(chan struct{})}
	o.open[name] = p
	pause := time.Duration(o.rng.IntN(3)) * time.Millisecond
	go func() {
		defer close(p.done)
		o.follow(p.sub, pause)
	}()
}

// follow notes what comes, at its own pace, until the subscription ends.
func (o *overlapped) follow(sub *rivulet.Subscription, pause time.Duration) {
	ctx := context.WithoutCancel(o.t.Context()) // Close ends it
	for u, err := range sub.Updates(ctx) {
		if err != nil {
			if !errors.Is(err, rivulet.ErrClosed) {
				o.fault("%s ended: %v", sub.Channel(), err)
			}
			return
		}
		if gap := u.Gap(); gap != nil {
			o.fault("%s: %v", sub.Channel(), gap)
		}
		if u.Message != nil {
			o.note(sub.Channel(), u.Message)
			wait(ctx, pause)
		}
	}
}

func (o *overlapped) fault(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wrong = append(o.wrong, fmt.Sprintf(format, args...))
}

// note holds a message against what came before by subscriptions of the name.
func (o *overlapped) note(name string, m *rivulet.Message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	what := name + " " + m.Channel
	if m.Offset <= o.last[what] {
		o.wrong = append(o.wrong, fmt.Sprintf("%s: %d of %s after %d", name, m.Offset, m.Channel, o.last[what]))
	}
	o.last[what] = m.Offset
	o.came[m.ID]++
}

// end unsubscribes, and keeps where the application was.
func (o *overlapped) end(name string) {
	o.t.Helper()
	p := o.open[name]
	if err := p.sub.Unsubscribe(bounded(o.t)); err != nil {
		o.t.Fatal(err)
	}
	<-p.done
	o.at[name] = p.sub.Positions()
	delete(o.open, name)
}

// turn ends a subscription, or begins one that was ended.
func (o *overlapped) turn(name string) {
	o.t.Helper()
	if o.open[name] == nil {
		o.begin(name)
	} else {
		o.end(name)
	}
}

// whole reports whether each of the messages came.
func (o *overlapped) whole(keys []string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, key := range keys {
		if o.came[key] == 0 {
			return false
		}
	}
	return true
}

// check tells what was not right; most is how often a message may have come in all.
func (o *overlapped) check(keys []string, most int) {
	o.t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	problems := o.wrong
	for _, key := range keys {
		if n := o.came[key]; n < 1 || n > most {
			problems = append(problems, fmt.Sprintf("%s came %d times", key, n))
		}
	}
	if len(problems) > 0 {
		o.t.Errorf("%d problems:\n%s", len(problems), strings.Join(problems[:min(mostProblems, len(problems))], "\n"))
	}
}

// publishOverlapping stores the messages, of channels at random, and returns their keys.
func publishOverlapping(t *testing.T, url string, seed uint64) []string {
	t.Helper()
	caller, rng := newCaller(t), rand.New(rand.NewPCG(seed, 4))
	var keys []string
	for i := range overlapMessages {
		keys = append(keys, fmt.Sprint("m", i))
		a, err := caller.publish(t.Context(), url, overlapChannels[rng.IntN(len(overlapChannels))], keys[i], i)
		if err != nil || a.status != http.StatusCreated {
			t.Errorf("%s: %d %s, %v", keys[i], a.status, a.message, err)
		}
		wait(t.Context(), time.Duration(rng.IntN(4))*time.Millisecond)
	}
	return keys
}

// cutting resets connections at random until stop is closed, and returns how many.
func cutting(p *proxy, seed uint64, stop <-chan struct{}) (cuts int) {
	rng := rand.New(rand.NewPCG(seed, 5))
	for {
		timer := time.NewTimer(time.Duration(10+rng.IntN(150)) * time.Millisecond)
		select {
		case <-timer.C:
			cuts += p.reset()
		case <-stop:
			timer.Stop()
			return cuts
		}
	}
}

// play turns subscriptions until what is published is there, if they are to end, and returns
// the keys of the messages.
func (o *overlapped) play(ends bool, published <-chan []string) []string {
	o.t.Helper()
	for turns := 0; ; turns++ {
		if ends {
			o.turn(overlapNames[o.rng.IntN(len(overlapNames))])
		}
		timer := time.NewTimer(time.Duration(o.rng.IntN(20)) * time.Millisecond)
		select {
		case keys := <-published:
			timer.Stop()
			o.t.Logf("%d turns", turns)
			return keys
		case <-timer.C:
		}
	}
}

// rest has all subscriptions go on, and closes the client when each message came.
func (o *overlapped) rest(keys []string) {
	o.t.Helper()
	for _, name := range overlapNames {
		if o.open[name] == nil {
			o.begin(name)
		}
	}
	ctx := bounded(o.t)
	for !o.whole(keys) && ctx.Err() == nil {
		wait(ctx, 5*time.Millisecond)
	}
	o.client.Close()
	for _, part := range o.open {
		<-part.done
	}
}

// TestOverlappingSubscriptionsOfOneClient: subscriptions of one client overlap, are slow, are
// cut off at random, and, in the second case, are ended and begun anew where they stood, while
// somebody publishes. None gets a message twice or out of order, and every message comes: to
// one alone where none is ended.
func TestOverlappingSubscriptionsOfOneClient(t *testing.T) {
	t.Parallel()
	for name, ends := range map[string]bool{"stay": false, "end and begin anew": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			n := startLocal(t, localConfig(t, func(ns *cmd.NamespaceConfig) { ns.Partitions = 2 }))
			p := startProxy(t, strings.TrimPrefix(n.base, "http://"))
			o := newOverlapped(t, "http://"+p.listener.Addr().String(), seed)
			for _, i := range o.rng.Perm(len(overlapNames)) {
				o.begin(overlapNames[i])
			}
			published, stop, cuts := make(chan []string, 1), make(chan struct{}), make(chan int, 1)
			go func() { published <- publishOverlapping(t, n.base, seed) }()
			go func() { cuts <- cutting(p, seed, stop) }()
			keys := o.play(ends, published)
			close(stop)
			count, most := <-cuts, 1
			if ends {
				most = len(overlapNames) // one may come to each
			}
			o.rest(keys)
			o.check(keys, most)
			if t.Logf("%d cuts", count); count == 0 {
				t.Error("nothing was cut off")
			}
		})
	}
}
