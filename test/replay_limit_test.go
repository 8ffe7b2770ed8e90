package test_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
)

// TestReplaysAreHeldToReads: what is sent after an old position, over a WebSocket or as an event
// stream, counts as read. It comes whole and in order, as fast as its caller may read; the
// caller may begin others beside it, and whoever comes from elsewhere is not held up.
func TestReplaysAreHeldToReads(t *testing.T) {
	t.Parallel()
	const messages, rate = 1200, 50
	// What may be read at once pays for four times as many messages, and so does the read with
	// which a replay begins.
	const free = 4 * (4*rate + 10)
	const least = time.Duration(messages-free) * time.Second / (4 * rate)
	for name, replay := range map[string]func(n *local, channel, at string) *follower{
		"WebSocket": func(n *local, channel, at string) *follower {
			k := &socket{Conn: dialFrom(n.t, n, "127.0.0.8"), t: n.t}
			return k.follow(protocol.SubscribeCommand{Channel: channel, Position: at})
		},
		"event stream": func(n *local, channel, at string) *follower { // from 127.0.0.1
			return &n.events("channel="+channel+"&position="+at, "").follower
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := localConfig(t)
			cfg.Limits.Exempt = nil
			cfg.Limits.ReadsPerCaller = rate
			n := startLocal(t, cfg)
			at := n.publishAll("t:a", 0, messages)[0]
			begin := time.Now()
			f := replay(n, "t:a", at)
			last := 0
			f.until(func(ev protocol.Event) bool {
				if ev.Message != nil {
					if last++; string(ev.Message.Data) != strconv.Itoa(last) {
						t.Fatalf("message %s, want %d", ev.Message.Data, last)
					}
				}
				if last == 900 { // in the middle, when all that may come at once has
					replay(n, "t:b", n.publish("t:b", 0)).catchUp()
				}
				return ev.CaughtUp != nil
			})
			if took := time.Since(begin); last != messages || took < least {
				t.Errorf("%d of %d messages came within %v, want %v at least", last, messages, took, least)
			}
			n.publish("t:a", messages+1)
			f.readTo(messages + 1) // live
			other := &socket{Conn: dialFrom(t, n, "127.0.0.9"), t: t}
			begin = time.Now()
			g := other.follow(protocol.SubscribeCommand{Channel: "t:a", Position: at})
			g.readTo(free)
			if took := time.Since(begin); took > least {
				t.Errorf("another's %d messages came within %v", free, took)
			}
		})
	}
}

// TestAResumeThatIsRefusedGoesOn: who resumes far too often is told when to come back, and is
// then sent all that it missed.
func TestAResumeThatIsRefusedGoesOn(t *testing.T) {
	t.Parallel()
	cfg := localConfig(t)
	cfg.Limits.Exempt = nil
	cfg.Limits.ReadsPerCaller = 50 // 200 at once: 20 subscriptions
	n := startLocal(t, cfg)
	at := n.publishAll("t:a", 0, 5)[0]
	k := &socket{Conn: dialFrom(t, n, "127.0.0.8"), t: t}
	resume := protocol.Command{Subscribe: &protocol.SubscribeCommand{Channel: "t:a", Position: at}}
	var refused *protocol.ErrorEvent
	for range 100 {
		id := k.send(resume)
		ev := k.next()
		if ev.ID != id {
			t.Fatalf("answered with %s", shown(ev))
		}
		if refused = ev.Error; refused != nil {
			break
		}
		k.collect("caught_up")
		k.send(protocol.Command{Unsubscribe: &protocol.UnsubscribeCommand{Channel: "t:a"}})
		k.collect("unsubscribed")
	}
	if refused == nil || refused.Code != protocol.ErrorTooManyRequests || !refused.Temporary || refused.RetryAfterMS <= 0 || refused.RetryAfterMS > 1000 {
		t.Fatalf("after 100 resumes: %+v", refused)
	}
	<-time.After(time.Duration(refused.RetryAfterMS) * time.Millisecond) // as it was told to
	id := k.send(resume)
	if ev := k.next(); ev.ID != id || ev.Subscribed == nil || !ev.Subscribed.Recovered {
		t.Fatalf("when it was told to come back: %s", shown(ev))
	}
	if got := kinds(k.collect("caught_up")); got != "1 2 3 4 5 caught_up" {
		t.Errorf("resumed with %s", got)
	}
}

// TestLeavingAPacedReplay: a subscription that ends while its replay waits for its turn holds up none
// of the connection's others.
func TestLeavingAPacedReplay(t *testing.T) {
	t.Parallel()
	cfg := localConfig(t)
	cfg.Limits.Exempt = nil
	cfg.Limits.ReadsPerCaller = 50
	n := startLocal(t, cfg)
	at := n.publishAll("t:a", 0, 2000)[0]
	k := &socket{Conn: dialFrom(t, n, "127.0.0.8"), t: t}
	k.follow(protocol.SubscribeCommand{Channel: "t:b"})
	k.send(protocol.Command{Subscribe: &protocol.SubscribeCommand{Channel: "t:a", Position: at}})
	k.collect("subscribed")
	for got := 0; got < 900; { // 840 come at once
		if ev := k.next(); ev.Message != nil {
			got++
		}
	}
	k.send(protocol.Command{Unsubscribe: &protocol.UnsubscribeCommand{Channel: "t:a"}})
	k.collect("unsubscribed")
	n.publish("t:b", 7)
	n.publish("t:b", 8)
	for _, want := range []string{"7", "8"} {
		if ev := k.next(); ev.Message == nil || ev.Message.Channel != "t:b" || string(ev.Message.Data) != want {
			t.Fatalf("after the end of a replay: %s, want message %s", shown(ev), want)
		}
	}
}

// TestAStreamBeginsBesideItsReplay: that an event stream has missed more of one channel than may come
// at once, or than has room before anything is sent, does not keep it from beginning with the others.
func TestAStreamBeginsBesideItsReplay(t *testing.T) {
	t.Parallel()
	for name, reads := range map[string]int{
		"more than may come": 20, // and the others in over 15 s: no stream has so long to begin
		"more than has room": 0,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := localConfig(t)
			cfg.Limits.Exempt = nil
			cfg.Limits.ReadsPerCaller = reads
			n := startLocal(t, cfg)
			n.publish("t:a", 0)
			n.publish("t:b", 0)
			const query = "channel=t:a&channel=t:b"
			before := n.events(query, "")
			before.read()
			before.read() // both have begun
			before.close()
			n.events("channel=t:a", "").read() // who stays: t:a begins from memory, before t:b does from the log
			n.publishAll("t:a", 1, 2000)
			n.publish("t:b", 1)
			f := n.events(query, before.id)
			got := map[string]int{}
			for begun := 0; begun < 2 || reads == 0 && (got["t:a"] < 2000 || got["t:b"] < 1); {
				switch ev := f.read(); {
				case ev.Subscribed != nil:
					begun++
				case ev.Message != nil:
					got[ev.Message.Channel]++
				}
			}
			if reads == 0 && (got["t:a"] != 2000 || got["t:b"] != 1) {
				t.Errorf("got %v", got)
			}
		})
	}
}
