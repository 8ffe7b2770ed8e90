package fanout_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// position returns where a client stands that has seen m1 to m<n> of the channel.
func (n *node) position(t testing.TB, channel string, seen int) fanout.Position {
	t.Helper()
	src := fanout.Source{Stream: n.log.partition(mustChannel(t, channel)), Filter: mustChannel(t, channel)}
	b, err := n.log.Read(t.Context(), fanout.Query{Source: src, Limit: seen})
	if err != nil || len(b.Messages) != seen {
		t.Fatalf("%d messages, %v", len(b.Messages), err)
	}
	return b.Messages[seen-1].Position
}

func TestLiveFromNow(t *testing.T) {
	t.Parallel()
	n := newNode(t, calm(0, 1), true, nil)
	n.publish(t, "t:a", 1, 3)
	r := n.subscribe(t, "t:a", fanout.Start{})
	if want := n.position(t, "t:a", 3); r.at != want {
		t.Errorf("begins at %v, want %v", r.at, want)
	}
	n.publish(t, "t:b", 1, 2)
	n.publish(t, "t:a", 4, 6)
	r.expect(join([]string{"subscribed t:a"}, msgs(4, 6))...)
	if r.last.m.Offset() != 8 || r.last.m.Channel != mustChannel(t, "t:a") {
		t.Errorf("the last message is %s@%d", r.last.m.Channel, r.last.m.Offset())
	}
}

// TestStart has each way to begin, answered by the log and by the ring.
func TestStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		channel string
		start   func(n *node) fanout.Start
		want    []string // before what is published next
	}{
		"from a position": {"t:a", func(n *node) fanout.Start {
			return fanout.Start{Positions: []fanout.Position{n.position(t, "t:a", 4)}}
		}, join([]string{"subscribed t:a"}, msgs(5, 10), []string{"caught up t:a"})},
		"from the last": {"t:a", func(n *node) fanout.Start {
			return fanout.Start{Positions: []fanout.Position{n.position(t, "t:a", 10)}}
		}, []string{"subscribed t:a", "caught up t:a"}},
		"the last 3":        {"t:a", func(*node) fanout.Start { return fanout.Start{Last: 3} }, join([]string{"subscribed t:a"}, msgs(8, 10), []string{"caught up t:a"})},
		"the last of fewer": {"t:a", func(*node) fanout.Start { return fanout.Start{Last: 1000} }, join([]string{"subscribed t:a"}, msgs(1, 10), []string{"caught up t:a"})},
		"the last of none":  {"t:empty", func(*node) fanout.Start { return fanout.Start{Last: 5} }, []string{"subscribed t:empty", "caught up t:empty"}},
		"since": {"t:a", func(n *node) fanout.Start {
			return fanout.Start{Since: n.position(t, "t:a", 6).Time}
		}, join([]string{"subscribed t:a"}, msgs(6, 10), []string{"caught up t:a"})},
		"since for ever": {"t:a", func(*node) fanout.Start { return fanout.Start{Since: 1} }, join([]string{"subscribed t:a"}, msgs(1, 10), []string{"caught up t:a"})},
		"since tomorrow": {"t:a", func(*node) fanout.Start { return fanout.Start{Since: 1 << 61} }, []string{"subscribed t:a", "caught up t:a"}},
		"of another stream": {"t:a", func(*node) fanout.Start {
			return fanout.Start{Positions: []fanout.Position{{Stream: fanout.StreamTag([]byte("vwxyz000")), Offset: 3, Time: 9}}}
		}, join([]string{"subscribed t:a not recovered: " + protocol.ReasonLogChanged}, msgs(1, 10), []string{"caught up t:a"})},
		"before the log": {"t:a", func(n *node) fanout.Start {
			p := n.position(t, "t:a", 4)
			p.Offset += 100
			return fanout.Start{Positions: []fanout.Position{p}}
		}, join([]string{"subscribed t:a not recovered: " + protocol.ReasonLogChanged}, msgs(1, 10), []string{"caught up t:a"})},
		"a pattern since for ever": {"t:>", func(*node) fanout.Start { return fanout.Start{Since: 1} }, join([]string{"subscribed t:>"}, msgs(1, 10), []string{"caught up t:>"})},
		"a pattern from a position": {"t:*", func(n *node) fanout.Start {
			return fanout.Start{Positions: []fanout.Position{n.position(t, "t:a", 8)}}
		}, join([]string{"subscribed t:*"}, msgs(9, 10), []string{"caught up t:*"})},
	} {
		for _, ring := range []int{0, 1024} {
			for _, warm := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, ring of %d, followed before %v", name, ring, warm), func(t *testing.T) {
					t.Parallel()
					n := newNode(t, calm(0, 1), true, func(cfg *fanout.HubConfig) { cfg.RingMessages, cfg.ReadBatch = ring, 4 })
					if warm {
						n.subscribe(t, c.channel, fanout.Start{})
					}
					n.publish(t, "t:a", 1, 10)
					n.dispatched(t)
					r := n.subscribe(t, c.channel, c.start(n))
					r.await(c.want[len(c.want)-1])
					n.log.store(n.liveChannel(t, c.channel), fanout.KindData, "live")
					r.expect(join(c.want, []string{"live"})...)
				})
			}
		}
	}
}

func (n *node) liveChannel(t testing.TB, c string) fanout.Channel {
	t.Helper()
	if ch := mustChannel(t, c); !ch.IsPattern() {
		return ch
	}
	return mustChannel(t, "t:a")
}

func TestSubscribeRefuses(t *testing.T) {
	t.Parallel()
	p := fanout.Position{Stream: ringTag, Offset: 1, Time: 1}
	a, pattern := mustChannel(t, "t:a"), mustChannel(t, "t:*")
	for name, c := range map[string]struct {
		req   fanout.SubscribeRequest
		field string
	}{
		"no channel":               {fanout.SubscribeRequest{}, "channel"},
		"position and last":        {fanout.SubscribeRequest{Channel: a, Start: fanout.Start{Positions: []fanout.Position{p}, Last: 1}}, "position"},
		"last and since":           {fanout.SubscribeRequest{Channel: a, Start: fanout.Start{Last: 1, Since: 1}}, "position"},
		"negative last":            {fanout.SubscribeRequest{Channel: a, Start: fanout.Start{Last: -1}}, "last"},
		"last over 1000":           {fanout.SubscribeRequest{Channel: a, Start: fanout.Start{Last: 1001}}, "last"},
		"negative since":           {fanout.SubscribeRequest{Channel: a, Start: fanout.Start{Since: -1}}, "since"},
		"the last of all channels": {fanout.SubscribeRequest{Channel: pattern, Start: fanout.Start{Last: 1}}, "last"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, calm(0, 1), true, nil)
			r := n.reader(t, 10)
			var in *fanout.InputError
			if err := r.client.Subscribe(c.req); !errors.As(err, &in) || in.Field != c.field {
				t.Errorf("error %v, want one of field %s", err, c.field)
			}
			// The refused one is not in the way of the right one.
			r.add("t:a", fanout.Start{})
			r.expect("subscribed t:a")
		})
	}
}

func TestAlreadySubscribed(t *testing.T) {
	t.Parallel()
	n := newNode(t, calm(0, 1), true, nil)
	r := n.subscribe(t, "default:a", fanout.Start{})
	err := r.client.Subscribe(fanout.SubscribeRequest{Channel: mustChannel(t, "a")})
	if !errors.Is(err, fanout.ErrAlreadySubscribed) {
		t.Errorf("error %v", err)
	}
	n.publish(t, "a", 1, 1)
	r.expect("subscribed default:a", "m1")
	if got := n.metric(t, "subscriptions"); got != 1 {
		t.Errorf("%v subscriptions are counted", got)
	}
}

func TestUnsubscribe(t *testing.T) {
	t.Parallel()
	n := newNode(t, calm(0, 1), true, nil)
	r, other := n.subscribe(t, "t:a", fanout.Start{}), n.subscribe(t, "t:a", fanout.Start{})
	a := mustChannel(t, "t:a")
	if err := r.client.Unsubscribe(1, mustChannel(t, "t:b")); !errors.Is(err, fanout.ErrNotSubscribed) {
		t.Errorf("error %v", err)
	}
	n.publish(t, "t:a", 1, 2)
	r.await("m2")
	if err := r.client.Unsubscribe(9, a); err != nil {
		t.Fatal(err)
	}
	r.expect("subscribed t:a", "m1", "m2", "unsubscribed t:a")
	if r.last.n.Token != 9 {
		t.Errorf("token %d", r.last.n.Token)
	}
	n.publish(t, "t:a", 3, 4)
	other.expect("subscribed t:a", "m1", "m2", "m3", "m4")
	r.expect()
	if err := r.client.Unsubscribe(1, a); !errors.Is(err, fanout.ErrNotSubscribed) {
		t.Errorf("error %v", err)
	}
	r.add("t:a", fanout.Start{Positions: []fanout.Position{n.position(t, "t:a", 2)}})
	r.expect("subscribed t:a", "m3", "m4", "caught up t:a")
	if got := n.metric(t, "subscriptions"); got != 2 {
		t.Errorf("%v subscriptions are counted", got)
	}
}

// TestUnsubscribeWhilePending ends a subscription that waits for the log.
func TestUnsubscribeWhilePending(t *testing.T) {
	t.Parallel()
	n := newNode(t, calm(0, 1), true, nil)
	release, waiting := make(chan struct{}), make(chan struct{}, 1)
	n.gate.setLocate(func(context.Context) error {
		waiting <- struct{}{}
		<-release
		return nil
	})
	r := n.reader(t, 100)
	r.add("t:a", fanout.Start{})
	<-waiting
	if err := r.client.Unsubscribe(9, mustChannel(t, "t:a")); err != nil {
		t.Fatal(err)
	}
	r.await("unsubscribed t:a")
	if len(r.told) != 2 || !strings.HasPrefix(r.told[0], "failed t:a: fanout: not subscribed") {
		t.Fatalf("told %q", r.told)
	}
	r.told = nil
	n.gate.setLocate(nil)
	r.add("t:a", fanout.Start{}) // the channel is free again at once
	r.expect("subscribed t:a")
	close(release)
	n.publish(t, "t:a", 1, 2)
	r.expect("m1", "m2")
	if got := n.metric(t, "subscriptions"); got != 1 {
		t.Errorf("%v subscriptions are counted", got)
	}
}

func TestSubscribeFails(t *testing.T) {
	t.Parallel()
	n := newNode(t, calm(0, 1), true, nil)
	n.gate.setLocate(func(context.Context) error { return fmt.Errorf("locate: %w", fanout.ErrUnknownNamespace) })
	r := n.reader(t, 100)
	r.add("t:a", fanout.Start{})
	r.expect("failed t:a: locate: " + fanout.ErrUnknownNamespace.Error())
	if !errors.Is(r.last.n.Err, fanout.ErrUnknownNamespace) || r.last.n.Token != 7 {
		t.Errorf("notice %+v", r.last.n)
	}
	n.gate.setLocate(nil)
	n.log.setDown(true)
	r.add("t:a", fanout.Start{})
	if !eventually(5*time.Second, func() bool { r.take(); return len(r.told) > 0 }) || !errors.Is(r.last.n.Err, fanout.ErrUnavailable) {
		t.Fatalf("told %q", r.told)
	}
	r.told = nil
	n.log.setDown(false)
	r.add("t:a", fanout.Start{})
	r.await("subscribed t:a")
	n.publish(t, "t:a", 1, 1)
	r.await("m1")
}

// TestOverlap: a connection gets a message once, however its subscriptions overlap.
func TestOverlap(t *testing.T) {
	t.Parallel()
	for name, subs := range map[string][]string{
		"channel, then pattern":  {"t:a", "t:*"},
		"pattern, then channel":  {"t:*", "t:a"},
		"two patterns":           {"t:*", "t:>"},
		"patterns and a channel": {"t:>", "t:a", "t:*"},
	} {
		for _, exact := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, exact %v", name, exact), func(t *testing.T) {
				t.Parallel()
				n := newNode(t, calm(0, 1), exact, nil)
				r := n.reader(t, 1000)
				for _, s := range subs {
					r.add(s, fanout.Start{})
					r.await("subscribed " + s)
				}
				r.told = nil
				n.publish(t, "t:a", 1, 10)
				n.publish(t, "t:b", 11, 20)
				r.await("m20")
				r.expect(msgs(1, 20)...)
				// What one of them leaves, the others take over.
				if err := r.client.Unsubscribe(1, mustChannel(t, subs[0])); err != nil {
					t.Fatal(err)
				}
				r.expect("unsubscribed " + subs[0])
				n.publish(t, "t:a", 21, 30)
				r.expect(msgs(21, 30)...)
			})
		}
	}
}

// TestSlowSink: one that is full falls behind alone and catches up from the ring.
func TestSlowSink(t *testing.T) {
	t.Parallel()
	n := newNode(t, calm(0, 1), true, nil)
	slow := n.reader(t, 3)
	slow.add("t:a", fanout.Start{})
	slow.await("subscribed t:a")
	fast := n.subscribe(t, "t:a", fanout.Start{})
	fast.expect("subscribed t:a")
	logReads := n.metric(t, "reads_total", "log")
	n.publish(t, "t:a", 1, 200)
	fast.expect(msgs(1, 200)...)
	if got := n.metric(t, "fell_behind_total"); got != 1 {
		t.Errorf("%v fell behind, want the slow one", got)
	}
	slow.await("m200")
	slow.expect(join([]string{"subscribed t:a"}, msgs(1, 200))...)
	if got := n.metric(t, "reads_total", "log"); got != logReads {
		t.Errorf("the log was read %v times for what the ring had", got-logReads)
	}
	if got := n.metric(t, "reads_total", "ring"); got == 0 {
		t.Error("the ring was not read")
	}
	n.publish(t, "t:a", 201, 202)
	slow.expect("m201", "m202")
}

// TestCrowdReturns: many clients that come back to one position share few reads.
func TestCrowdReturns(t *testing.T) {
	t.Parallel()
	const crowd = 500
	n := newNode(t, calm(0, 1), true, func(cfg *fanout.HubConfig) { cfg.RingMessages, cfg.ReadBatch = 0, 100 })
	n.publish(t, "t:a", 1, 250)
	start := fanout.Start{Positions: []fanout.Position{n.position(t, "t:a", 50)}}
	n.subscribe(t, "t:a", fanout.Start{})
	before := n.gate.reads.Load()
	readers := make([]*reader, crowd)
	for i := range readers {
		readers[i] = n.reader(t, 1000)
		readers[i].add("t:a", start)
	}
	want := join([]string{"subscribed t:a"}, msgs(51, 250), []string{"caught up t:a"})
	for _, r := range readers {
		r.expect(want...)
	}
	if got := n.gate.reads.Load() - before; got > 12 {
		t.Errorf("%d reads of the log for %d clients", got, crowd)
	}
	n.publish(t, "t:a", 251, 251)
	for _, r := range readers {
		r.expect("m251")
	}
}

func TestRingServesLateJoiners(t *testing.T) {
	t.Parallel()
	n := newNode(t, calm(0, 1), true, nil)
	n.subscribe(t, "t:a", fanout.Start{})
	n.publish(t, "t:a", 1, 100)
	n.dispatched(t)
	n.subscribe(t, "t:a", fanout.Start{Last: 100}).await("caught up t:a")
	before := n.gate.reads.Load()
	for i := range 50 {
		r := n.subscribe(t, "t:a", fanout.Start{Positions: []fanout.Position{n.position(t, "t:a", i+1)}})
		r.expect(join([]string{"subscribed t:a"}, msgs(i+2, 100), []string{"caught up t:a"})...)
		last := n.subscribe(t, "t:a", fanout.Start{Last: i + 1})
		last.expect(join([]string{"subscribed t:a"}, msgs(100-i, 100), []string{"caught up t:a"})...)
	}
	if got := n.gate.reads.Load() - before; got != 0 {
		t.Errorf("%d reads of the log for what the ring has", got)
	}
	if n.metric(t, "ring_bytes") == 0 {
		t.Error("the ring's bytes are not counted")
	}
}

func TestPurgeIsToldAsGap(t *testing.T) {
	t.Parallel()
	n := newNode(t, calm(0, 1), true, nil)
	live := n.subscribe(t, "t:a", fanout.Start{})
	pattern := n.subscribe(t, "t:*", fanout.Start{})
	n.publish(t, "t:a", 1, 5)
	n.publish(t, "t:b", 6, 6)
	old := n.position(t, "t:a", 2)
	n.log.store(mustChannel(t, "t:a"), fanout.KindPurge, "")
	n.publish(t, "t:a", 7, 8)
	live.expect("subscribed t:a", "m1", "m2", "m3", "m4", "m5", "gap t:a purged", "m7", "m8")
	pattern.expect("subscribed t:*", "m1", "m2", "m3", "m4", "m5", "m6", "gap t:a purged", "m7", "m8")
	back := n.subscribe(t, "t:a", fanout.Start{Positions: []fanout.Position{old}})
	back.expect("subscribed t:a not recovered: purged", "m7", "m8", "caught up t:a")
	n.log.store(mustChannel(t, "t:a"), fanout.KindDeleted, "")
	live.expect("deleted t:a 0")
}
