package test_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
)

// published sends a publish and expects it to be stored.
func (k *socket) published(c protocol.PublishCommand) *protocol.PublishedEvent {
	k.t.Helper()
	k.send(protocol.Command{Publish: &c})
	ev := k.reply()
	if ev.Published == nil {
		k.t.Fatalf("publish to %s: %s", c.Channel, shown(ev))
	}
	return ev.Published
}

// push reads the next event that is no reply.
func (k *socket) push() protocol.Event {
	k.t.Helper()
	for {
		if ev := k.next(); ev.ID == 0 && ev.Ping == nil && ev.CaughtUp == nil && ev.Position == nil {
			return ev
		}
	}
}

// both reads a channel's folded history over HTTP and over WebSocket.
func both(t *testing.T, n *local, k *socket, c protocol.HistoryCommand) (pages [2][]string) {
	t.Helper()
	query := url.Values{"order": {c.Order}, "limit": {fmt.Sprint(c.Limit)}}
	if c.Fold != "" {
		query.Set("fold", c.Fold)
	}
	for {
		k.send(protocol.Command{History: &c})
		ev := k.reply()
		if ev.History == nil {
			t.Fatalf("history: %s", shown(ev))
		}
		var page protocol.HistoryEvent
		n.call(http.MethodGet, messagesPath(c.Channel)+"?"+query.Encode(), nil, nil).into(t, &page)
		for i, p := range []*protocol.HistoryEvent{&page, ev.History} {
			for _, m := range p.Messages {
				pages[i] = append(pages[i], fmt.Sprintf("%s@%d/%d", m.Data, m.Offset, m.Updates))
			}
		}
		if page.More != ev.History.More || page.Position != ev.History.Position {
			t.Fatalf("HTTP answers %+v, WebSocket %+v", page, ev.History)
		}
		if !page.More {
			return pages
		}
		if c.Order == "desc" {
			c.Before = page.Position
			query.Set("before", page.Position)
		} else {
			c.After = page.Position
			query.Set("after", page.Position)
		}
	}
}

// TestVersionsAndDeletion: subscribers are told of versions and deletions as they
// happen, and whoever comes later finds what is left, over any transport.
func TestVersionsAndDeletion(t *testing.T) {
	t.Parallel()
	n := startLocal(t, localConfig(t))
	sub, k := n.socket(), n.socket()
	sub.subscribe(protocol.SubscribeCommand{Channel: "t:a"})
	text := func(s string) json.RawMessage { return json.RawMessage(`"` + s + `"`) }
	first := k.published(protocol.PublishCommand{Channel: "t:a", Data: text("first")})
	second := k.published(protocol.PublishCommand{Channel: "t:a", Data: text("second")})
	k.published(protocol.PublishCommand{Channel: "t:a", Data: text("first, better"), Updates: first.Offset})
	k.published(protocol.PublishCommand{Channel: "t:a", Data: text("second, secret"), Updates: second.Offset})
	third := k.published(protocol.PublishCommand{Channel: "t:a", Data: text("third")})
	k.published(protocol.PublishCommand{Channel: "t:a", Data: text("first, best"), Updates: first.Offset})
	for _, updates := range []uint64{0, 0, first.Offset, second.Offset, 0, first.Offset} {
		if ev := sub.push(); ev.Message == nil || ev.Message.Updates != updates {
			t.Errorf("got %s, want a version of %d", shown(ev), updates)
		}
	}
	for order, want := range map[string]string{"asc": `["first, best"@6/1 "second, secret"@4/2 "third"@5/0]`, "desc": `["third"@5/0 "second, secret"@4/2 "first, best"@6/1]`} {
		for _, limit := range []int{1, 2, 10} {
			got := both(t, n, k, protocol.HistoryCommand{Channel: "t:a", Fold: protocol.FoldLatest, Order: order, Limit: limit})
			if fmt.Sprint(got[0]) != want || fmt.Sprint(got[1]) != want {
				t.Errorf("%s by %d: %v", order, limit, got)
			}
		}
	}
	k.send(protocol.Command{Publish: &protocol.PublishCommand{Channel: "t:a", Data: text("x"), Updates: 99}})
	if ev := k.reply(); ev.Error == nil || ev.Error.Code != protocol.ErrorNotFound || ev.Error.Field != "updates" {
		t.Errorf("an update of nothing: %s", shown(ev))
	}
	stale := first.Offset
	k.send(protocol.Command{Publish: &protocol.PublishCommand{Channel: "t:a", Data: text("x"), ExpectedOffset: &stale}})
	if ev := k.reply(); ev.Error == nil || ev.Error.Code != protocol.ErrorConflict || ev.Error.Field != "expected_offset" {
		t.Errorf("a stale expectation: %s", shown(ev))
	}

	if r := n.call(http.MethodDelete, fmt.Sprintf("%s/%d", messagesPath("t:a"), second.Offset), nil, nil); r.status != http.StatusOK {
		t.Fatalf("delete: %d %s", r.status, r.Message)
	}
	if ev := sub.push(); ev.Deleted == nil || ev.Deleted.Offset != second.Offset {
		t.Errorf("got %s, want the deletion", shown(ev))
	}
	want := `["first"@1/0 "first, better"@3/1 "third"@5/0 "first, best"@6/1]`
	if got := both(t, n, k, protocol.HistoryCommand{Channel: "t:a", Order: "asc", Limit: 2}); fmt.Sprint(got[0]) != want || fmt.Sprint(got[1]) != want {
		t.Errorf("what is left: %v", got)
	}
	later := n.socket()
	if ev := later.subscribe(protocol.SubscribeCommand{Channel: "t:a", Position: first.Position}); !ev.Recovered {
		t.Errorf("a deletion is no hole: %+v", ev)
	}
	for _, offset := range []uint64{3, third.Offset, 6} {
		if ev := later.push(); ev.Message == nil || ev.Message.Offset != offset {
			t.Errorf("later: got %s, want the message at %d", shown(ev), offset)
		}
	}
	if ev := later.push(); ev.Deleted == nil {
		t.Errorf("later: got %s, want the deletion", shown(ev))
	}
}

// TestShortLived: a message with a TTL is delivered, and then gone for everybody.
func TestShortLived(t *testing.T) {
	t.Parallel()
	n := startLocal(t, localConfig(t))
	sub, k := n.socket(), n.socket()
	start := sub.subscribe(protocol.SubscribeCommand{Channel: "t:a"})
	k.published(protocol.PublishCommand{Channel: "t:a", Data: json.RawMessage("1"), TTL: 1})
	k.published(protocol.PublishCommand{Channel: "t:a", Data: json.RawMessage("2")})
	for _, want := range []string{"1", "2"} {
		if ev := sub.push(); ev.Message == nil || string(ev.Message.Data) != want {
			t.Errorf("got %s, want %s", shown(ev), want)
		}
	}
	eventually(t, "the message to be gone", func() bool {
		return len(both(t, n, k, protocol.HistoryCommand{Channel: "t:a", Order: "asc", Limit: 10})[0]) == 1
	})
	later := n.socket()
	if ev := later.subscribe(protocol.SubscribeCommand{Channel: "t:a", Position: start.Position}); !ev.Recovered {
		t.Errorf("an end of a TTL is no hole: %+v", ev)
	}
	if ev := later.push(); ev.Message == nil || string(ev.Message.Data) != "2" {
		t.Errorf("later: got %s", shown(ev))
	}
}

// TestLaterOverWebSocket: a scheduled message comes to subscribers when it is due.
func TestLaterOverWebSocket(t *testing.T) {
	t.Parallel()
	n := startLocal(t, localConfig(t))
	sub, k := n.socket(), n.socket()
	sub.subscribe(protocol.SubscribeCommand{Channel: "t:a"})
	p := k.published(protocol.PublishCommand{Channel: "t:a", Data: json.RawMessage("1"), Delay: 300, Exclude: "0000000000000000"})
	if p.Schedule == "" || p.DeliverAt < time.Now().UnixMilli()-60_000 {
		t.Fatalf("published %+v", p)
	}
	ev := sub.push()
	if ev.Message == nil || string(ev.Message.Data) != "1" || ev.Message.Time < p.DeliverAt {
		t.Errorf("got %s, due at %d", shown(ev), p.DeliverAt)
	}
	eventually(t, "nothing to wait", func() bool {
		return n.call(http.MethodGet, "/v1/schedules/"+p.Schedule, nil, nil).status == http.StatusNotFound
	})
}
