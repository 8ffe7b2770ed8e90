package test_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/cmd"
	"github.com/rivulet-rt/rivulet/protocol"
)

// The reverse of what is gone: whoever missed nothing, or only what the log still
// has, is never told that history is gone.

func TestNothingMissed(t *testing.T) {
	t.Parallel()
	n := startLocal(t, localConfig(t))
	empty := n.socket().follow(protocol.SubscribeCommand{Channel: "t:empty"})
	n.expect("a channel that never had a message", "t:empty", empty.at, "")
	at := n.publishAll("t:a", 1, 3)
	n.expect("at the end", "t:a", at[3], "")
	n.publishAll("t:b", 100, 120)
	n.expect("another channel went on", "t:a", at[3], "")
	n.expect("its place is as good", "t:empty", empty.at, "")
	n.publish("t:empty", 7)
	n.expect("its first message", "t:empty", empty.at, "7")
	for i := 1; i <= 3; i++ {
		n.expect("each place", "t:a", at[i], numbers(i+1, 3))
	}
}

func TestLastAndSince(t *testing.T) {
	t.Parallel()
	n := startLocal(t, localConfig(t))
	n.publishAll("t:a", 1, 5)
	n.publishAll("t:b", 100, 110)
	page := n.call(http.MethodGet, messagesPath("t:a"), nil, nil)
	earliest := protocolHistory(t, page).Messages[0].Time
	eventually(t, "another millisecond", func() bool { return time.Now().UnixMilli() > earliest+10 })
	middle := time.Now().UnixMilli()
	n.publishAll("t:a", 6, 8)
	n.publishAll("t:b", 111, 111)
	for _, c := range []struct {
		name  string
		start protocol.SubscribeCommand
		query string
		want  string
	}{
		{"the last two", protocol.SubscribeCommand{Last: 2}, "last=2", "7 8"},
		{"the last one", protocol.SubscribeCommand{Last: 1}, "last=1", "8"},
		{"as many as there are", protocol.SubscribeCommand{Last: 8}, "last=8", numbers(1, 8)},
		{"more than there are", protocol.SubscribeCommand{Last: 1000}, "last=1000", numbers(1, 8)},
		{"since the beginning", protocol.SubscribeCommand{Since: 1}, "since=1", numbers(1, 8)},
		{"since the first", protocol.SubscribeCommand{Since: earliest}, fmt.Sprint("since=", earliest), numbers(1, 8)},
		{"since the middle", protocol.SubscribeCommand{Since: middle}, fmt.Sprint("since=", middle), "6 7 8"},
		{"since tomorrow", protocol.SubscribeCommand{Since: middle + 86_400_000}, fmt.Sprint("since=", middle+86_400_000), ""},
	} {
		c.start.Channel = "t:a"
		f := n.socket().follow(c.start)
		f.catchUp()
		f.told(c.name+", WebSocket", c.want)
		e := n.events("channel=t:a&"+c.query, "")
		e.catchUp()
		e.told(c.name+", SSE", c.want)
		n.expect(c.name+", and back", "t:a", f.at, "")
		f.close()
		e.close()
	}
}

func protocolHistory(t *testing.T, r response) protocol.HistoryEvent {
	t.Helper()
	var page protocol.HistoryEvent
	r.into(t, &page)
	return page
}

// TestPatternResumes: a pattern over several streams comes back with one position
// for each.
func TestPatternResumes(t *testing.T) {
	t.Parallel()
	cfg := localConfig(t, func(ns *cmd.NamespaceConfig) { ns.Partitions, ns.MaxPerChannel = 4, 20 })
	n := startLocal(t, cfg)
	channels := []string{"t:o.a", "t:o.b", "t:o.c", "t:o.d", "t:o.e", "t:o.f"}
	next := 0
	publish := func(count int) (want []string) {
		for range count {
			next++
			n.publish(channels[next%len(channels)], next)
			want = append(want, fmt.Sprint(next))
		}
		return want
	}
	f := n.socket().follow(protocol.SubscribeCommand{Channel: "t:o.*"})
	for _, want := range publish(12) {
		f.readTo(want)
	}
	if len(f.places) < 2 {
		t.Fatalf("the channels share a stream: %q", f.places)
	}
	f.close()
	missed := publish(30)
	n.publish("t:other", 0)
	back := n.socket().follow(protocol.SubscribeCommand{Channel: "t:o.>", Positions: f.positions()})
	back.catchUp()
	if got := slices.Clone(back.seen); !sameSet(got, missed) {
		t.Errorf("after 30 missed messages came %s, want %s in any order", got, missed)
	}
	again := n.socket().follow(protocol.SubscribeCommand{Channel: "t:o.*", Positions: back.positions()})
	again.catchUp()
	again.told("nothing missed", "")
	back.close()
	again.close()
	// One channel goes over its limit, and a pattern hears of it; from the log, as
	// the ring of a node that was there has it all.
	n.publishAll("t:o.a", 1000, 1030)
	n.stop()
	n = startLocal(t, cfg)
	over := n.socket().follow(protocol.SubscribeCommand{Channel: "t:o.*", Positions: f.positions()})
	over.readTo(1030)
	if got := over.seen.String(); !strings.Contains(got, "lost:retention") && !strings.Contains(got, "gap:retention") {
		t.Errorf("one channel is over its limit, and nobody said so: %s", got)
	}
}

func sameSet(a, b []string) bool {
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// TestQuietChannelStaysProvable: all messages of a channel have aged out while
// another one of its stream is busy; who was there all the time comes back as if
// nothing had happened, since nothing has.
func TestQuietChannelStaysProvable(t *testing.T) {
	t.Parallel()
	const retention = 4 * time.Second
	n := startLocal(t, localConfig(t, func(ns *cmd.NamespaceConfig) { ns.MaxAge = cmd.Duration(retention) }))
	first := n.publishAll("t:quiet", 1, 1)[1]
	f := n.socket().follow(protocol.SubscribeCommand{Channel: "t:quiet", Position: first})
	f.catchUp()
	still := n.keepBusy("t:busy")
	fresh := 0
	f.until(func(ev protocol.Event) bool {
		if ev.Position != nil {
			fresh++
		}
		return ev.Position != nil && len(n.history("t:quiet", "")) == 0
	})
	if fresh < 3 {
		t.Errorf("%d fresh positions within the retention, want one each quarter", fresh)
	}
	n.expect("with the fresh position", "t:quiet", f.at, "")
	n.publish("t:quiet", 2)
	n.expect("with the fresh position, one missed", "t:quiet", f.at, "2")
	f.readTo(2)
	f.told("who stayed", "2")
	still()
}

// keepBusy publishes to a channel ten times a second until the result is called.
func (s *site) keepBusy(channel string) (still func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if a := s.post(channel, "busy", ""); a.status != http.StatusCreated {
					s.t.Errorf("publish to %s: %d %s", channel, a.status, a.Message)
				}
			}
		}
	})
	still = func() {
		cancel()
		wg.Wait()
	}
	s.t.Cleanup(still)
	return still
}

// TestKill9IsNoLoss: the server is killed, and starts again on the same folder.
func TestKill9IsNoLoss(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := serve(t, data, "127.0.0.1:0")
	n := newSite(t, p.url())
	at := n.publishAll("t:a", 1, 5)
	n.publishAll("t:b", 100, 105)
	quiet := n.socket().subscribe(protocol.SubscribeCommand{Channel: "t:quiet"}).Position
	live := n.socket().follow(protocol.SubscribeCommand{Channel: "t:a"})
	n.publishAll("t:a", 6, 6)
	live.readTo(6)
	p.kill(t)
	p = serve(t, data, "127.0.0.1:0")
	n = newSite(t, p.url())
	n.expect("nothing missed", "t:a", live.at, "")
	n.expect("a place without a message", "t:quiet", quiet, "")
	for i := 1; i <= 5; i++ {
		n.expect("some missed", "t:a", at[i], numbers(i+1, 6))
	}
	n.publishAll("t:a", 7, 8)
	n.expect("and new ones", "t:a", live.at, "7 8")
	n.publish("t:quiet", 1)
	n.expect("and its first", "t:quiet", quiet, "1")
}
