package fanout_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rivulet-rt/rivulet/fanout"
)

// lapper is one connection's client with subscriptions that overlap. It goes by the
// protocol to the letter: a message moves the position of the subscription that clause
// P-4.4 says, and no other's. What no position leads back to must have come.
type lapper struct {
	rng    *lockedRand
	node   *node
	client *fanout.Client // nil while there is no connection
	sink   *boundedSink
	subs   []*lap
	begun  []*lap // on this connection, in the order of their subscribed
	leaves bool   // subscriptions end, and connections do not
	once   bool   // nothing comes twice on a connection
	had    map[string]bool
	here   map[string]bool // what came on this connection
	got    int
	told   []string
	wrong  []string

	mu   sync.Mutex // guards the following
	held map[fanout.Channel]chan struct{}
}

// lap is one of its subscriptions.
type lap struct {
	channel fanout.Channel
	asked   fanout.Start
	ever    bool                                // it has had a subscribed
	from    map[fanout.StreamID]uint64          // where it first began
	here    map[fanout.StreamID]uint64          // where it began on this connection
	at      map[fanout.StreamID]fanout.Position // where it would resume
	last    map[fanout.Channel]uint64           // offset of the last message
}

func (l *lapper) fail(format string, args ...any) {
	l.wrong = append(l.wrong, fmt.Sprintf(format, args...)+"\n    after "+strings.Join(l.told[max(0, len(l.told)-40):], "\n          "))
}

// connect subscribes to all again, in any order.
func (l *lapper) connect(t testing.TB) {
	t.Helper()
	l.sink = &boundedSink{room: 1 + l.rng.IntN(12)}
	l.client, l.begun, l.here = l.node.NewClient(l.sink), nil, map[string]bool{}
	l.told = append(l.told, "connect")
	for n := len(l.subs); n > 1; n-- {
		i := l.rng.IntN(n)
		l.subs[i], l.subs[n-1] = l.subs[n-1], l.subs[i]
	}
	for _, s := range l.subs {
		l.ask(t, s)
	}
}

func (l *lapper) cut() {
	l.client.Close()
	l.client = nil
}

func (l *lapper) ask(t testing.TB, s *lap) {
	t.Helper()
	start := s.asked
	if s.ever {
		start = fanout.Start{}
		for _, p := range s.at {
			start.Positions = append(start.Positions, p)
		}
	}
	l.told = append(l.told, fmt.Sprintf("subscribe %s %v", s.channel, start))
	if err := l.client.Subscribe(fanout.SubscribeRequest{Token: 1, Channel: s.channel, Start: start}); err != nil {
		t.Fatal(err)
	}
}

// join asks for one more.
func (l *lapper) join(t testing.TB) {
	t.Helper()
	names := []string{"t:a", "t:b", "t:a.x", "t:*", "t:a.*", "t:>", "t:a.>"}
	s := &lap{
		channel: mustChannel(t, names[l.rng.IntN(len(names))]), last: map[fanout.Channel]uint64{},
		from: map[fanout.StreamID]uint64{}, at: map[fanout.StreamID]fanout.Position{},
	}
	if l.sub(s.channel) != nil {
		return
	}
	if l.rng.IntN(2) == 0 {
		s.asked.Since = 1
	}
	l.subs = append(l.subs, s)
	l.ask(t, s)
}

func (l *lapper) leave(t testing.TB) {
	t.Helper()
	i := l.rng.IntN(len(l.subs))
	s := l.subs[i]
	if !slices.Contains(l.begun, s) {
		return
	}
	l.subs = slices.Delete(l.subs, i, i+1)
	if err := l.client.Unsubscribe(2, s.channel); err != nil {
		t.Fatal(err)
	}
}

func (l *lapper) sub(channel fanout.Channel) *lap {
	for _, s := range l.subs {
		if s.channel == channel {
			return s
		}
	}
	return nil
}

// drain takes what the sink has, and reports whether it had anything.
func (l *lapper) drain(t testing.TB) bool {
	t.Helper()
	if l.client == nil {
		return false
	}
	events, refused := l.sink.drain()
	for _, e := range events {
		if e.m != nil {
			l.message(e.m)
		} else {
			l.notice(t, e.n)
		}
	}
	if refused {
		l.client.Drained()
	}
	return len(events) > 0
}

func (l *lapper) notice(t testing.TB, n fanout.Notice) {
	t.Helper()
	l.told = append(l.told, words(n)+fmt.Sprint(n.Positions))
	s := l.sub(n.Channel)
	if s == nil {
		return // it was ended
	}
	switch n.Kind {
	case fanout.NoticeSubscribed:
		if !n.Recovered {
			l.fail("told that history is gone (%s), but nothing is", n.Reason)
		}
		s.here = map[fanout.StreamID]uint64{}
		for _, p := range n.Positions {
			s.here[l.streamOf(p)] = p.Offset
			if !s.ever {
				s.from[l.streamOf(p)] = p.Offset
			}
		}
		l.begun = append(l.begun, s)
		l.move(s, n.Positions)
		s.ever = true
	case fanout.NoticeFailed:
		l.ask(t, s) // the log was away
	case fanout.NoticeCaughtUp, fanout.NoticePosition:
		l.move(s, n.Positions)
	case fanout.NoticeGap, fanout.NoticeDeleted, fanout.NoticeChecked, fanout.NoticePresence:
		l.fail("told %s", words(n))
	case fanout.NoticeUnsubscribed:
		l.begun = slices.DeleteFunc(l.begun, func(o *lap) bool { return o.channel == n.Channel })
	}
}

func (l *lapper) streamOf(p fanout.Position) fanout.StreamID {
	return (&consumer{log: l.node.log}).streamOf(p)
}

func (l *lapper) message(m *fanout.Message) {
	data := string(m.Data)
	l.told = append(l.told, fmt.Sprintf("%s %s@%d", data, m.Channel, m.Offset()))
	s := l.owner(m)
	switch {
	case s == nil && !l.leaves:
		l.fail("%s belongs to none", data)
	case l.here[data] && l.once && !l.leaves:
		l.fail("%s: repeated or out of order on one connection", data)
	}
	if s == nil {
		l.had[data] = true
		return
	}
	if m.Offset() <= s.last[m.Channel] && !l.had[data] && !l.leaves {
		l.fail("%s of %s, behind %d: repeated or out of order", data, s.channel, s.last[m.Channel])
	}
	l.here[data], l.had[data] = true, true
	l.got++
	s.last[m.Channel] = max(s.last[m.Channel], m.Offset())
	l.move(s, []fanout.Position{m.ResumeAt()})
}

// owner is whose m is (clause P-4.4).
func (l *lapper) owner(m *fanout.Message) (found *lap) {
	for _, s := range l.begun {
		from, ok := s.here[m.Stream]
		if !ok || m.Offset() <= from || !s.channel.Matches(m.Channel) {
			continue
		}
		if !s.channel.IsPattern() {
			return s
		}
		if found == nil {
			found = s
		}
	}
	return found
}

// move has s resume from new positions. What that leaves behind has come, or will come
// to another.
func (l *lapper) move(s *lap, positions []fanout.Position) {
	for _, p := range positions {
		id := l.streamOf(p)
		old, had := s.at[id]
		s.at[id] = p
		if !had || l.leaves {
			continue
		}
		for _, r := range l.stored(id) {
			if r.seq > old.Offset && r.seq <= p.Offset && s.channel.Matches(r.channel) && !l.had[r.data] && !l.awaited(r) {
				l.fail("silent hole: %s moved to %d, and nobody has or gets %s@%d", s.channel, p.Offset, r.data, r.seq)
			}
		}
	}
}

// lapped is a message in the log.
type lapped struct {
	channel fanout.Channel
	stream  fanout.StreamID
	data    string
	seq     uint64
}

func (l *lapper) stored(id fanout.StreamID) (out []lapped) {
	l.node.log.mu.Lock()
	defer l.node.log.mu.Unlock()
	for _, r := range l.node.log.streams[id].records {
		if r.fate == stored && r.msg.Kind == fanout.KindData {
			out = append(out, lapped{r.msg.Channel, r.msg.Stream, string(r.msg.Data), r.seq})
		}
	}
	return out
}

// awaited reports whether some subscription would get r if all were resumed now.
func (l *lapper) awaited(r lapped) bool {
	return slices.ContainsFunc(l.subs, func(s *lap) bool {
		if !s.channel.Matches(r.channel) {
			return false
		}
		return !s.ever && s.asked.Since != 0 || s.ever && s.at[r.stream].Offset < r.seq
	})
}

func (s *boundedSink) widen(room int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room = room
}

// missing lists what is stored and never came.
func (l *lapper) missing() (out []string) {
	for _, s := range l.subs {
		if !s.ever {
			out = append(out, "subscribed "+s.channel.String())
		}
		for id, from := range s.from {
			for _, r := range l.stored(id) {
				if r.seq > from && s.channel.Matches(r.channel) && !l.had[r.data] {
					out = append(out, fmt.Sprintf("%s@%d of %s", r.data, r.seq, s.channel))
				}
			}
		}
	}
	return out
}

// hold has reads of a channel or pattern wait, or lets them go on.
func (l *lapper) hold(filter fanout.Channel) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ch := l.held[filter]; ch != nil {
		close(ch)
		delete(l.held, filter)
		return
	}
	l.held[filter] = make(chan struct{})
}

func (l *lapper) wait(ctx context.Context, q fanout.Query) {
	l.mu.Lock()
	ch := l.held[q.Source.Filter]
	l.mu.Unlock()
	if ch == nil {
		return
	}
	select {
	case <-ch:
	case <-ctx.Done():
	}
}

func (l *lapper) release() {
	l.node.gate.setHold(nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	for filter, ch := range l.held {
		close(ch)
		delete(l.held, filter)
	}
}

// settle waits until all has come. As long as something comes, it is patient.
func (l *lapper) settle(t testing.TB) {
	t.Helper()
	for done := false; !done; {
		moved := eventually(patience(t), func() bool {
			if l.drain(t) {
				return true
			}
			done = len(l.wrong) > 0 || len(l.missing()) == 0
			return done
		})
		if !moved {
			l.fail("never got %v", l.missing())
			return
		}
	}
}

// runOverlaps plays one seed.
func runOverlaps(t *testing.T, seed uint64) (got int) {
	t.Helper()
	rng := &lockedRand{r: rand.New(rand.NewPCG(seed, 2))}
	exact, published := exactness(rng), 0
	n := newNode(t, newMemLog(0, 2, rng), exact, func(cfg *fanout.HubConfig) { *cfg = modelConfig(rng) })
	l := &lapper{rng: rng, node: n, leaves: rng.IntN(3) == 0, once: exact, had: map[string]bool{}, held: map[fanout.Channel]chan struct{}{}}
	names := []string{"t:a", "t:b", "t:a.x", "t:a.y", "t:a.x.z"}
	publish := func(name string) {
		published++
		n.log.store(mustChannel(t, name), fanout.KindData, fmt.Sprintf("m%d", published))
	}
	for _, name := range names {
		publish(name)
	}
	n.gate.setHold(l.wait)
	defer l.release()
	// Others, whose rings have what the log is slow to tell.
	for range rng.IntN(3) {
		r := n.reader(t, 1<<20)
		r.add([]string{"t:>", "t:*", "t:a"}[rng.IntN(3)], fanout.Start{})
	}
	l.connect(t)
	for range 300 {
		switch move := rng.IntN(100); {
		case move < 45:
			for range 1 + rng.IntN(4) {
				publish(names[rng.IntN(len(names))])
			}
		case move < 75:
			l.drain(t)
		case l.client == nil:
			l.connect(t)
		case move < 84:
			l.join(t)
		case l.leaves && move >= 88 && len(l.subs) > 0:
			l.leave(t)
		case move < 94 && len(l.subs) > 0:
			l.hold(l.subs[rng.IntN(len(l.subs))].channel)
		case move < 96:
			eventually(0, n.feed.idle) // lets the node run ahead of the moves
		case !l.leaves:
			l.cut()
		}
	}
	l.release()
	n.feed.heal()
	if l.client == nil {
		l.connect(t)
	}
	l.sink.widen(100)
	for _, name := range names {
		publish(name)
	}
	l.settle(t)
	if len(l.wrong) > 0 {
		t.Fatalf("seed %d, exact %v, leaves %v: %s\n%s", seed, exact, l.leaves, strings.Join(l.wrong[:min(2, len(l.wrong))], "\n"), n.Dump())
	}
	return l.got
}

// TestOverlapModel holds promise 2 where a connection's subscriptions overlap, under
// random interleavings of subscribes that wait for the log and others that do not.
func TestOverlapModel(t *testing.T) { //nolint:tparallel // the group is waited for
	t.Parallel()
	var got atomic.Int64
	var broken atomic.Bool
	t.Run("worlds", func(t *testing.T) {
		first, count := firstSeed(t), seeds(t)
		for seed := first; seed < first+count; seed++ {
			t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
				t.Parallel()
				if broken.Load() {
					return // one that fails will do
				}
				defer func() { broken.CompareAndSwap(false, t.Failed()) }()
				got.Add(int64(runOverlaps(t, seed)))
			})
		}
	})
	if got.Load() == 0 {
		t.Fatal("the model moved no message: it tests nothing")
	}
	t.Logf("%d messages delivered", got.Load())
}
