package test_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/cmd"
	"github.com/rivulet-rt/rivulet/protocol"
)

// What a client may rely on while it is connected, and when it comes back at once.

// kinds names the events, messages by their data.
func kinds(events []protocol.Event) string {
	var out []string
	for _, ev := range events {
		switch {
		case ev.Subscribed != nil:
			out = append(out, "subscribed")
		case ev.Unsubscribed != nil:
			out = append(out, "unsubscribed")
		case ev.CaughtUp != nil:
			out = append(out, "caught_up")
		case ev.Message != nil:
			out = append(out, string(ev.Message.Data))
		case ev.Error != nil:
			out = append(out, fmt.Sprint("error:", ev.Error.Code))
		case ev.Published != nil:
			out = append(out, "published")
		default:
			out = append(out, shown(ev))
		}
	}
	return strings.Join(out, " ")
}

// collect reads events up to one that is the last, by its name in kinds.
func (k *socket) collect(last string) (events []protocol.Event) {
	k.t.Helper()
	for {
		ev := k.next()
		if events = append(events, ev); kinds([]protocol.Event{ev}) == last {
			return events
		}
	}
}

func TestOrderOfEvents(t *testing.T) {
	t.Parallel()
	n := startLocal(t, localConfig(t))
	at := n.publishAll("t:a", 1, 4)
	k := n.socket()
	k.send(protocol.Command{Subscribe: &protocol.SubscribeCommand{Channel: "t:a", Position: at[1]}})
	got := kinds(k.collect("caught_up"))
	n.publishAll("t:a", 5, 6)
	got += " " + kinds(k.collect("6"))
	if want := "subscribed 2 3 4 caught_up 5 6"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestReplayMeetsLive: clients that come back while messages are published get each
// once and in order, whatever is read from the log and whatever comes live.
func TestReplayMeetsLive(t *testing.T) {
	t.Parallel()
	n := startLocal(t, localConfig(t))
	const count, step = 600, 20
	first := n.publishAll("t:a", 1, step)[1]
	var followers []*follower
	for next := step + 1; next <= count; next += step {
		n.publishAll("t:b", next, next+step-1)
		followers = append(followers,
			n.socket().follow(protocol.SubscribeCommand{Channel: "t:a", Position: first}),
			&n.events("channel=t:a", first).follower)
		n.publishAll("t:a", next, next+step-1)
	}
	for i, f := range followers {
		f.readTo(count)
		f.told(fmt.Sprint("client ", i), numbers(2, count))
	}
}

// TestOverlap: a message comes once to a connection, however many of its
// subscriptions match it.
func TestOverlap(t *testing.T) {
	t.Parallel()
	n := startLocal(t, localConfig(t, func(ns *cmd.NamespaceConfig) { ns.Partitions = 4 }))
	for name, order := range map[string][]string{
		"channel first": {"t:o.a", "t:o.*", "t:>"},
		"pattern first": {"t:>", "t:o.*", "t:o.a"},
	} {
		k := n.socket()
		for _, channel := range order {
			k.subscribe(protocol.SubscribeCommand{Channel: channel})
		}
		for i := range 10 {
			n.publish("t:o.a", i)
			n.publish("t:o.b", i)
			n.publish("t:c", i)
		}
		got := map[string]transcript{}
		for range 30 {
			ev := k.next()
			if ev.Message == nil {
				t.Fatalf("%s: %s", name, shown(ev))
			}
			seen := got[ev.Message.Channel]
			seen.add(string(ev.Message.Data))
			got[ev.Message.Channel] = seen
		}
		n.publish("t:o.a", "end") // whatever came twice comes before it
		if ev := k.next(); ev.Message == nil || string(ev.Message.Data) != `"end"` {
			t.Errorf("%s: one too many: %s", name, shown(ev))
		}
		for _, channel := range []string{"t:o.a", "t:o.b", "t:c"} {
			if seen := got[channel].String(); seen != numbers(0, 9) {
				t.Errorf("%s: %s got %s", name, channel, seen)
			}
		}
	}
}

func TestSecondSubscription(t *testing.T) {
	t.Parallel()
	n := startLocal(t, localConfig(t))
	k := n.socket()
	k.subscribe(protocol.SubscribeCommand{Channel: "t:a"})
	k.subscribe(protocol.SubscribeCommand{Channel: "t:a.*"})
	k.subscribe(protocol.SubscribeCommand{Channel: "default:x"})
	for _, channel := range []string{"t:a", "t:a.*", "x"} {
		k.send(protocol.Command{Subscribe: &protocol.SubscribeCommand{Channel: channel}})
		if ev := k.reply(); ev.Error == nil || ev.Error.Code != protocol.ErrorConflict || ev.Error.Field != "channel" || ev.Error.Temporary {
			t.Errorf("a second subscription to %s: %s", channel, shown(ev))
		}
	}
	n.publish("t:a", 1)
	if got := kinds(k.collect("1")); got != "1" {
		t.Errorf("the first subscription got %s", got)
	}
}

func TestUnsubscribe(t *testing.T) {
	t.Parallel()
	n := startLocal(t, localConfig(t))
	k := n.socket()
	k.subscribe(protocol.SubscribeCommand{Channel: "t:a"})
	k.subscribe(protocol.SubscribeCommand{Channel: "t:b"})
	n.publishAll("t:a", 1, 200)
	k.send(protocol.Command{Unsubscribe: &protocol.UnsubscribeCommand{Channel: "t:a"}})
	before := k.collect("unsubscribed")
	if got := kinds(before[:len(before)-1]); !strings.HasPrefix(numbers(1, 200), got) {
		t.Errorf("before unsubscribed came %s", got)
	}
	n.publishAll("t:a", 201, 210)
	n.publish("t:b", 1000) // of the same stream: comes after whatever t:a would have brought
	if got := kinds(k.collect("1000")); got != "1000" {
		t.Errorf("after unsubscribed came %s", got)
	}
	k.send(protocol.Command{Unsubscribe: &protocol.UnsubscribeCommand{Channel: "t:a"}})
	if ev := k.reply(); ev.Error == nil || ev.Error.Code != protocol.ErrorNotFound {
		t.Errorf("unsubscribed twice: %s", shown(ev))
	}
	k.subscribe(protocol.SubscribeCommand{Channel: "t:a", Last: 1})
	if got := kinds(k.collect("caught_up")); got != "210 caught_up" {
		t.Errorf("subscribed again: %s", got)
	}
}

func TestPublishOverWebSocket(t *testing.T) {
	t.Parallel()
	n := startLocal(t, localConfig(t))
	sub := n.socket().follow(protocol.SubscribeCommand{Channel: "t:a"})
	k := n.socket()
	publish := func(data, key string) protocol.Event {
		k.send(protocol.Command{Publish: &protocol.PublishCommand{
			Channel: "t:a", Data: json.RawMessage(data), IdempotencyKey: key, Headers: map[string]string{"kind": "test"},
		}})
		return k.reply()
	}
	first := publish(`{"text": "hi"}`, "k1").Published
	if first == nil || first.Channel != "t:a" || first.Offset == 0 || first.Position == "" || first.Time == 0 || first.Duplicate {
		t.Fatalf("published: %+v", first)
	}
	again := publish(`{"text":"hi"}`, "k1").Published
	if again == nil || !again.Duplicate || again.Offset != first.Offset || again.Position != first.Position {
		t.Errorf("published again: %+v, want the first one's %+v", again, first)
	}
	if ev := publish(`{"text":"other"}`, "k1"); ev.Error == nil || ev.Error.Code != protocol.ErrorConflict || ev.Error.Field != "idempotency_key" {
		t.Errorf("the key with other data: %s", shown(ev))
	}
	m := sub.take().Message
	if m == nil || string(m.Data) != `{"text":"hi"}` || m.Offset != first.Offset || m.Position != first.Position ||
		m.Time != first.Time || m.ID != "k1" || m.Headers["kind"] != "test" {
		t.Errorf("delivered %+v, published %+v", m, first)
	}
	// Many at once: each has its answer, and the channel has them in its own order.
	const many = 100
	for i := range many {
		k.send(protocol.Command{Publish: &protocol.PublishCommand{Channel: "t:a", Data: json.RawMessage(fmt.Sprint(i))}})
	}
	offsets := map[uint64]string{}
	for range many {
		ev := k.next()
		if ev.Published == nil {
			t.Fatalf("got %s", shown(ev))
		}
		offsets[ev.Published.Offset] = ev.Published.Position
	}
	for range many {
		if m := sub.take().Message; m == nil || offsets[m.Offset] != m.Position {
			t.Fatalf("delivered %+v, which nobody published", m)
		}
	}
}

// TestEventStreamOfSeveralChannels: one token resumes them all, exactly.
func TestEventStreamOfSeveralChannels(t *testing.T) {
	t.Parallel()
	n := startLocal(t, localConfig(t, func(ns *cmd.NamespaceConfig) { ns.Partitions = 4 }))
	const query, channels, total, perStream = "channel=t:a&channel=t:b&channel=t:c&channel=t:d&channel=t:e", 5, 200, 17
	got := map[string]transcript{}
	want := map[string]transcript{}
	publish := func(from, to int) {
		for i := from; i < to; i++ {
			channel := "t:" + string(rune('a'+i*7%channels))
			n.publish(channel, i)
			seen := want[channel]
			seen.add(fmt.Sprint(i))
			want[channel] = seen
		}
	}
	e := n.events(query, "") // live from now
	for received, published := 0, 0; received < total; {
		if published < total { // some while it is there, some while it is away
			publish(published, published+25)
			published += 25
		}
		for range min(perStream, total-received) {
			ev := e.next()
			for ev.Message == nil {
				if ev.Subscribed != nil && !ev.Subscribed.Recovered || ev.Gap != nil {
					t.Fatalf("resumed with %s: %s", e.id, shown(ev))
				}
				ev = e.next()
			}
			seen := got[ev.Message.Channel]
			seen.add(string(ev.Message.Data))
			got[ev.Message.Channel] = seen
			received++
		}
		e.close()
		e = n.events(query, e.id)
	}
	for channel, list := range want {
		if !slices.Equal(got[channel], list) {
			t.Errorf("%s: got %s, want %s", channel, got[channel], list)
		}
	}
}

// TestTwoNodesShareALog: what is published on one reaches the subscribers of the
// other, live and on the way back.
func TestTwoNodesShareALog(t *testing.T) {
	t.Parallel()
	log := startLog(t)
	a, b := startLocal(t, remoteConfig(t, log.url())), startLocal(t, remoteConfig(t, log.url()))
	nodes := []*local{a, b}
	var followers []*follower
	for _, n := range nodes {
		followers = append(followers,
			n.socket().follow(protocol.SubscribeCommand{Channel: "t:o.a"}),
			n.socket().follow(protocol.SubscribeCommand{Channel: "t:*.a"}),
			&n.events("channel=t:o.a", "").follower)
	}
	var at []string
	for i := 1; i <= 20; i++ {
		at = append(at, nodes[i%2].publish("t:o.a", i))
	}
	for i, f := range followers {
		f.readTo(20)
		f.told(fmt.Sprint("client ", i), numbers(1, 20))
	}
	// A position is good everywhere, and says the same.
	for i, p := range at {
		nodes[i%2].expect("on the other node", "t:o.a", p, numbers(i+2, 20))
	}
	first := a.stored(a.post("t:o.b", "x", "key"))
	second := b.stored(b.post("t:o.b", "x", "key"))
	if !second.Duplicate || second.Position != first.Position {
		t.Errorf("the key is stored twice: %+v and %+v", first, second)
	}
	if r := b.post("t:o.b", "y", "key"); r.status != http.StatusConflict {
		t.Errorf("the key with other data: %d %s", r.status, r.Message)
	}
}
