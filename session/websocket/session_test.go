package websocket_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/internal/hubtest"
)

func TestConnect(t *testing.T) {
	t.Run("open node", func(t *testing.T) {
		c := start(t, func(c *session.Config) { c.Node = "n1" }, open()).dial(t, "", nil)
		c.send(`{"id":7,"connect":{"name":"test","version":"1"}}`)
		ev := c.next()
		if ev.ID != 7 || ev.Connected == nil || ev.Connected.Node != "n1" || ev.Connected.PingInterval != 25 || len(ev.Connected.Client) != 16 || ev.Connected.MaxFrame != 0 {
			t.Errorf("got %s", show(ev))
		}
		c.send(`{"id":8,"connect":{}}`)
		c.wantError(8, protocol.ErrorConflict, "")
	})
	t.Run("open node, left out", func(t *testing.T) {
		c := start(t, nil, open()).dial(t, "", nil)
		if ev := c.subscribe(1, "chat:a", ""); ev.Channel != "chat:a" || ev.Position == "" || !ev.Recovered {
			t.Errorf("got %+v", ev)
		}
	})
	t.Run("token in connect", func(t *testing.T) {
		c := start(t, func(c *session.Config) { c.MaxFrame = 1000 }, tokens(t)).dial(t, "", nil)
		c.send(`{"id":1,"subscribe":{"channel":"chat:a"}}`)
		c.wantError(1, protocol.ErrorUnauthorized, "")
		c.send(`{"id":2,"connect":{"token":"ann"}}`)
		if ev := c.next(); ev.Connected == nil || ev.ID != 2 || ev.Connected.MaxFrame != 1000 {
			t.Fatalf("got %s", show(ev))
		}
		c.subscribe(3, "chat:a", "")
	})
	t.Run("token in the handshake", func(t *testing.T) {
		n := start(t, nil, tokens(t))
		for _, c := range []*client{
			n.dial(t, "?token=ann", nil),
			n.dial(t, "", http.Header{"Authorization": {"Bearer ann"}}),
		} {
			if ev := c.next(); ev.Connected == nil || ev.ID != 0 {
				t.Fatalf("got %s, want connected pushed", show(ev))
			}
			c.subscribe(1, "chat:a", "")
		}
	})
	t.Run("token in connect goes before the handshake's", func(t *testing.T) {
		c := start(t, nil, tokens(t)).dial(t, "?token=ann", nil)
		c.next()
		c.send(`{"id":1,"connect":{"token":"read-only"}}`)
		c.next()
		c.send(`{"id":2,"publish":{"channel":"chat:a","data":1}}`)
		c.wantError(2, protocol.ErrorForbidden, "channel")
	})
	for _, tc := range []struct {
		token string
		code  protocol.Code
	}{
		{"wrong", protocol.CloseUnauthorized},
		{"", protocol.CloseUnauthorized},
		{"expired", protocol.CloseTokenExpired},
	} {
		t.Run("refused token "+tc.token, func(t *testing.T) {
			c := start(t, nil, tokens(t)).dial(t, "", nil)
			c.send(`{"id":1,"connect":{"token":%q}}`, tc.token)
			c.wantError(1, protocol.ErrorUnauthorized, "token")
			c.wantClose(tc.code)
		})
	}
	t.Run("a fault of the verifier", func(t *testing.T) {
		c := start(t, nil, tokens(t)).dial(t, "", nil)
		c.send(`{"id":1,"connect":{"token":"broken"}}`)
		if ev := c.wantError(1, protocol.ErrorInternal, ""); strings.Contains(ev.Message, "secret") {
			t.Errorf("the text of an internal error got out: %q", ev.Message)
		}
		c.send(`{"id":2,"connect":{"token":"ann"}}`)
		if ev := c.next(); ev.Connected == nil {
			t.Errorf("got %s; the client may try again", show(ev))
		}
	})
	t.Run("names too long", func(t *testing.T) {
		c := start(t, nil, open()).dial(t, "", nil)
		c.send(`{"id":1,"connect":{"name":%q}}`, strings.Repeat("n", 65))
		c.wantError(1, protocol.ErrorBadRequest, "name")
	})
}

func TestRefresh(t *testing.T) {
	c := start(t, nil, tokens(t)).dial(t, "?token=ann", nil)
	c.next()
	c.subscribe(1, "chat:a", "")
	c.subscribe(2, "chat:b", "")
	c.send(`{"id":3,"refresh":{"token":"bob"}}`)
	c.wantError(3, protocol.ErrorForbidden, "token")
	c.send(`{"id":4,"refresh":{"token":"wrong"}}`)
	c.wantError(4, protocol.ErrorUnauthorized, "token")
	c.send(`{"id":5,"refresh":{}}`)
	c.wantError(5, protocol.ErrorBadRequest, "token")
	c.send(`{"id":6,"refresh":{"token":"ann2"}}`)
	if ev := c.next(); ev.Connected == nil || ev.ID != 6 {
		t.Fatalf("got %s", show(ev))
	}
	ev := c.next()
	if ev.ID != 0 || ev.Unsubscribed == nil || ev.Unsubscribed.Channel != "chat:a" || ev.Unsubscribed.Code != protocol.ErrorRevoked {
		t.Fatalf("got %s, want the subscription that the new token does not allow to end", show(ev))
	}
	c.send(`{"id":7,"subscribe":{"channel":"chat:a"}}`)
	c.wantError(7, protocol.ErrorForbidden, "channel")
	c.send(`{"id":8,"unsubscribe":{"channel":"chat:b"}}`)
	if ev := c.next(); ev.ID != 8 || ev.Unsubscribed == nil || ev.Unsubscribed.Code != 0 {
		t.Errorf("got %s", show(ev))
	}
}

// TestLateUnsubscribed: answers to unsubscribe that come after a new subscribe to the
// channel leave the new subscription known, so that a refresh can end it.
func TestLateUnsubscribed(t *testing.T) {
	n := start(t, nil, tokens(t))
	c := n.dial(t, "?token=ann", nil)
	if ev := c.next(); ev.Connected == nil {
		t.Fatalf("got %s", show(ev))
	}
	c.subscribe(1, "chat:a", "")
	release := n.hub.Delay()
	c.send(`{"id":2,"unsubscribe":{"channel":"chat:a"}}`)
	c.send(`{"id":1,"unsubscribe":{"channel":"chat:a"}}`)
	c.subscribe(1, "chat:a", "")
	release()
	if ev := c.next(); ev.ID != 2 || ev.Unsubscribed == nil || ev.Unsubscribed.Code != 0 {
		t.Fatalf("got %s, want unsubscribed", show(ev))
	}
	c.wantError(1, protocol.ErrorNotFound, "channel")
	c.send(`{"id":4,"subscribe":{"channel":"chat:a"}}`)
	c.wantError(4, protocol.ErrorConflict, "channel")
	c.send(`{"id":5,"refresh":{"token":"ann2"}}`)
	if ev := c.next(); ev.ID != 5 || ev.Connected == nil {
		t.Fatalf("got %s, want connected", show(ev))
	}
	if ev := c.next(); ev.ID != 0 || ev.Unsubscribed == nil || ev.Unsubscribed.Code != protocol.ErrorRevoked {
		t.Fatalf("got %s, want the subscription to be revoked", show(ev))
	}
}

func TestSubscribeAndReceive(t *testing.T) {
	n := start(t, nil, open())
	c := n.dial(t, "", nil)
	before := n.hub.Publish("chat:a", `"before"`)
	n.hub.Publish("chat:a", `{"n":1}`)
	got := c.subscribe(1, "chat:a", fmt.Sprintf(`,"position":%q`, before.String()))
	if got.Position != before.String() {
		t.Errorf("subscribed at %s, want %s", got.Position, before)
	}
	want := `{"message":{"channel":"chat:a","offset":2,"position":"hubtestA-2-x2qxvk","time":2000,"data":{"n":1}}}`
	if got := c.raw(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	n.hub.Publish("chat:b", `"of another channel"`)
	live := n.hub.Publish("chat:a", `"live"`)
	if ev := c.next(); ev.Message == nil || ev.Message.Position != live.String() || string(ev.Message.Data) != `"live"` {
		t.Errorf("got %s", show(ev))
	}
	c.send(`{"id":2,"subscribe":{"channel":"chat:a"}}`)
	c.wantError(2, protocol.ErrorConflict, "channel")
	c.send(`{"id":3,"unsubscribe":{"channel":"chat:a"}}`)
	if ev := c.next(); ev.ID != 3 || ev.Unsubscribed == nil || ev.Unsubscribed.Channel != "chat:a" {
		t.Errorf("got %s", show(ev))
	}
	c.send(`{"id":4,"unsubscribe":{"channel":"chat:a"}}`)
	c.wantError(4, protocol.ErrorNotFound, "channel")
	c.subscribe(5, "chat:>", `,"last":2`)
	for _, channel := range []string{"chat:b", "chat:a"} {
		if ev := c.next(); ev.Message == nil || ev.Message.Channel != channel {
			t.Errorf("got %s, want a message of %s", show(ev), channel)
		}
	}
}

func TestNotices(t *testing.T) {
	n := start(t, nil, open())
	c := n.dial(t, "", nil)
	c.subscribe(1, "chat:a", "")
	channel, err := fanout.ParseChannel("chat:a")
	if err != nil {
		t.Fatal(err)
	}
	pattern, err := fanout.ParsePattern("chat:>")
	if err != nil {
		t.Fatal(err)
	}
	at := []fanout.Position{{Stream: hubtest.Tag(), Offset: 9, Time: 1}}
	for _, tc := range []struct {
		name   string
		notice fanout.Notice
		want   string
	}{
		{"caught up", fanout.Notice{Kind: fanout.NoticeCaughtUp, Channel: channel, Positions: at}, `{"caught_up":{"channel":"chat:a","position":"hubtestA-9-1"}}`},
		{"caught up with a pattern", fanout.Notice{Kind: fanout.NoticeCaughtUp, Channel: pattern, Positions: at}, `{"caught_up":{"channel":"chat:>","positions":["hubtestA-9-1"]}}`},
		{"gap", fanout.Notice{Kind: fanout.NoticeGap, Channel: channel, Positions: at, Reason: "purged"}, `{"gap":{"channel":"chat:a","position":"hubtestA-9-1","reason":"purged"}}`},
		{"position", fanout.Notice{Kind: fanout.NoticePosition, Channel: channel, Positions: at}, `{"position":{"channel":"chat:a","position":"hubtestA-9-1"}}`},
		{"deleted", fanout.Notice{Kind: fanout.NoticeDeleted, Channel: channel, Positions: at, Target: 4}, `{"deleted":{"channel":"chat:a","offset":4,"position":"hubtestA-9-1"}}`},
		{
			"not recovered",
			fanout.Notice{Kind: fanout.NoticeSubscribed, Channel: channel, Positions: at, Reason: "retention"},
			`{"subscribed":{"channel":"chat:a","position":"hubtestA-9-1","recovered":false,"reason":"retention"}}`,
		},
		{
			"ended by a fault",
			fanout.Notice{Kind: fanout.NoticeFailed, Channel: channel, Err: fanout.ErrUnavailable},
			`{"unsubscribed":{"channel":"chat:a","code":4600,"reason":"the log cannot be reached; try again"}}`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n.hub.Notify(tc.notice)
			if got := c.raw(); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestSubscribeFails(t *testing.T) {
	n := start(t, func(c *session.Config) { c.MaxSubscriptions = 2 }, open())
	n.hub.Fail("nope:x", fanout.ErrUnknownNamespace)
	n.hub.Fail("chat:away", fmt.Errorf("broker: %w", fanout.ErrUnavailable))
	c := n.dial(t, "", nil)
	for i, tc := range []struct {
		name, fields, field string
		code                protocol.Code
	}{
		{"unknown namespace", `"channel":"nope:x"`, "channel", protocol.ErrorNotFound},
		{"log away", `"channel":"chat:away"`, "", protocol.ErrorUnavailable},
		{"no channel", ``, "channel", protocol.ErrorBadRequest},
		{"bad channel", `"channel":"chat:a..b"`, "channel", protocol.ErrorBadRequest},
		{"bad namespace", `"channel":"Chat:a"`, "channel", protocol.ErrorBadRequest},
		{"bad position", `"channel":"chat:a","position":"x"`, "position", protocol.ErrorBadRequest},
		{"two starts", `"channel":"chat:a","last":1,"since":1`, "position", protocol.ErrorBadRequest},
		{"last too large", `"channel":"chat:a","last":1001`, "last", protocol.ErrorBadRequest},
		{"last negative", `"channel":"chat:a","last":-1`, "last", protocol.ErrorBadRequest},
		{"since negative", `"channel":"chat:a","since":-1`, "since", protocol.ErrorBadRequest},
		{"two positions of one stream", `"channel":"chat:>","positions":["hubtestA-1-1","hubtestA-2-1"]`, "positions", protocol.ErrorBadRequest},
		{"wrong type", `"channel":5`, "channel", protocol.ErrorBadRequest},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c.send(`{"id":%d,"subscribe":{%s}}`, i+1, tc.fields)
			c.wantError(uint64(i+1), tc.code, tc.field)
		})
	}
	c.subscribe(100, "chat:a", "")
	c.subscribe(101, "chat:b", "")
	c.send(`{"id":103,"subscribe":{"channel":"chat:a"}}`)
	c.wantError(103, protocol.ErrorConflict, "channel")
	c.send(`{"id":102,"subscribe":{"channel":"chat:c"}}`)
	c.wantError(102, protocol.ErrorForbidden, "channel")
}

func TestPublish(t *testing.T) {
	n := start(t, nil, tokens(t))
	c := n.dial(t, "?token=ann", nil)
	connected := c.next()
	c.subscribe(1, "chat:a", "")
	c.send(`{"id":2,"publish":{"channel":"chat:a","data": {"b" : [1, 2]},"idempotency_key":"k1","headers":{"X-Kind":"é"}}}`)
	published, message := c.next(), c.next()
	if published.Published == nil {
		published, message = message, published
	}
	if p := published.Published; p == nil || published.ID != 2 || p.Offset != 1 || p.Position == "" || p.Time != 1000 || p.Channel != "chat:a" {
		t.Errorf("got %s", show(published))
	}
	m := message.Message
	if m == nil || string(m.Data) != `{"b":[1,2]}` || m.ID != "k1" || m.User != "ann" || m.Client != connected.Connected.Client || m.Headers["X-Kind"] != "é" {
		t.Errorf("got %s", show(message))
	}
	c.send(`{"id":3,"publish":{"channel":"chat:a","data_base64":"AAEC"}}`)
	a, b := c.next(), c.next()
	if a.Message == nil {
		a, b = b, a
	}
	if a.Message == nil || a.Message.DataBase64 == nil || *a.Message.DataBase64 != "AAEC" || a.Message.Data != nil || b.ID != 3 {
		t.Errorf("got %s and %s", show(a), show(b))
	}
}

func TestPublishBadInput(t *testing.T) {
	many := make([]string, 33)
	for i := range many {
		many[i] = fmt.Sprintf(`"h%d":"v"`, i)
	}
	c := start(t, nil, tokens(t)).dial(t, "?token=ann", nil)
	c.next()
	for i, tc := range []struct {
		name, fields, field string
		code                protocol.Code
	}{
		{"no data", `"channel":"chat:a"`, "data", protocol.ErrorBadRequest},
		{"two data", `"channel":"chat:a","data":1,"data_base64":""`, "data", protocol.ErrorBadRequest},
		{"bad base64", `"channel":"chat:a","data_base64":"A"`, "data_base64", protocol.ErrorBadRequest},
		{"pattern", `"channel":"chat:>","data":1`, "channel", protocol.ErrorBadRequest},
		{"no channel", `"data":1`, "channel", protocol.ErrorBadRequest},
		{"too deep", `"channel":"chat:a","data":` + strings.Repeat("[", 65) + strings.Repeat("]", 65), "data", protocol.ErrorBadRequest},
		{"not allowed", `"channel":"other:a","data":1`, "channel", protocol.ErrorForbidden},
		{"long key", `"channel":"chat:a","data":1,"idempotency_key":"` + strings.Repeat("k", 129) + `"`, "idempotency_key", protocol.ErrorBadRequest},
		{"key with space", `"channel":"chat:a","data":1,"idempotency_key":"a b"`, "idempotency_key", protocol.ErrorBadRequest},
		{"key not ASCII", `"channel":"chat:a","data":1,"idempotency_key":"é"`, "idempotency_key", protocol.ErrorBadRequest},
		{"too many headers", `"channel":"chat:a","data":1,"headers":{` + strings.Join(many, ",") + `}`, "headers", protocol.ErrorBadRequest},
		{"header name", `"channel":"chat:a","data":1,"headers":{"a b":"c"}`, "headers", protocol.ErrorBadRequest},
		{"header without name", `"channel":"chat:a","data":1,"headers":{"":"c"}`, "headers", protocol.ErrorBadRequest},
		{"long header", `"channel":"chat:a","data":1,"headers":{"a":"` + strings.Repeat("v", 1025) + `"}`, "headers", protocol.ErrorBadRequest},
		{"header with line end", `"channel":"chat:a","data":1,"headers":{"a":"b\r\nc"}`, "headers", protocol.ErrorBadRequest},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c.send(`{"id":%d,"publish":{%s}}`, i+1, tc.fields)
			c.wantError(uint64(i+1), tc.code, tc.field)
		})
	}
}

// TestPublishOrder: publishes are under way together, in their order, and a log
// that does not answer stops neither pings nor, for ever, the connection.
func TestPublishOrder(t *testing.T) {
	n := start(t, func(c *session.Config) { c.MaxPublishes = 4; c.CommandTimeout = 15 * time.Second }, open())
	c, reader := n.dial(t, "", nil), n.dial(t, "", nil)
	reader.subscribe(1, "chat:a", "")
	release := n.hub.Hold()
	for i := range 20 {
		c.send(`{"id":%d,"publish":{"channel":"chat:a","data":%d}}`, i+1, i)
		if i == 2 {
			c.send(`{"ping":{}}`)
			if ev := c.next(); ev.Pong == nil {
				t.Errorf("got %s; a publish that waits must not stop the reading", show(ev))
			}
		}
	}
	hubtest.Eventually(t, "the first publish is under way", func() bool { return len(n.hub.Batches()) == 1 })
	release()
	var offsets []uint64
	for range 20 {
		ev := c.next()
		if ev.Published == nil || ev.Published.Offset != ev.ID {
			t.Fatalf("got %s; publishes of one connection must keep their order", show(ev))
		}
		offsets = append(offsets, ev.Published.Offset)
	}
	for i := range 20 {
		if ev := reader.next(); ev.Message == nil || string(ev.Message.Data) != fmt.Sprint(i) {
			t.Fatalf("got %s, want %d next", show(ev), i)
		}
	}
	if !slices.IsSorted(offsets) {
		t.Errorf("offsets %v", offsets)
	}
	if sizes := n.hub.Batches(); slices.Max(sizes) > 4 || len(sizes) > 19 {
		t.Errorf("batches of %v; what waited goes together, at most 4", sizes)
	}
}

func TestPublishTimesOut(t *testing.T) {
	n := start(t, func(c *session.Config) { c.CommandTimeout = 20 * time.Millisecond }, open())
	defer n.hub.Hold()()
	c := n.dial(t, "", nil)
	c.send(`{"id":1,"publish":{"channel":"chat:a","data":1}}`)
	c.wantError(1, protocol.ErrorOutcomeUnknown, "")
}

func TestHistory(t *testing.T) {
	n := start(t, func(c *session.Config) { c.HardBuffer = 128 << 10 }, tokens(t))
	c := n.dial(t, "?token=ann", nil)
	c.next()
	for i := range 5 {
		n.hub.Publish("chat:a", fmt.Sprint(i))
	}
	c.send(`{"id":1,"history":{"channel":"chat:a","limit":3}}`)
	ev := c.next()
	if h := ev.History; h == nil || ev.ID != 1 || len(h.Messages) != 3 || !h.More || !h.Recovered || h.Position != h.Messages[2].Position {
		t.Fatalf("got %s", show(ev))
	}
	c.send(`{"id":2,"history":{"channel":"chat:a","after":%q}}`, ev.History.Position)
	if ev := c.next(); ev.History == nil || len(ev.History.Messages) != 2 || ev.History.More {
		t.Fatalf("got %s", show(ev))
	}
	c.send(`{"id":3,"history":{"channel":"chat:none"}}`)
	if got := c.raw(); !strings.Contains(got, `"messages":[]`) {
		t.Errorf("got %s", got)
	}
	for range 40 {
		n.hub.Publish("chat:big", `"`+strings.Repeat("x", 4000)+`"`)
	}
	c.send(`{"id":4,"history":{"channel":"chat:big"}}`)
	ev = c.next()
	if h := ev.History; h == nil || !h.More || len(h.Messages) == 0 || len(h.Messages) > 16 || h.Position != h.Messages[len(h.Messages)-1].Position {
		t.Errorf("a page of 160 KB was not cut to 64: %.200s", show(ev))
	}
	for i, tc := range []struct {
		name, fields, field string
		code                protocol.Code
	}{
		{"limit too large", `"channel":"chat:a","limit":1001`, "limit", protocol.ErrorBadRequest},
		{"limit negative", `"channel":"chat:a","limit":-1`, "limit", protocol.ErrorBadRequest},
		{"order", `"channel":"chat:a","order":"up"`, "order", protocol.ErrorBadRequest},
		{"after", `"channel":"chat:a","after":"x"`, "after", protocol.ErrorBadRequest},
		{"before", `"channel":"chat:a","before":"x"`, "before", protocol.ErrorBadRequest},
		{"since and after", `"channel":"chat:a","after":"hubtestA-1-1","since":1`, "since", protocol.ErrorBadRequest},
		{"pattern", `"channel":"chat:>"`, "channel", protocol.ErrorBadRequest},
		{"not allowed", `"channel":"other:a"`, "channel", protocol.ErrorForbidden},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c.send(`{"id":%d,"history":{%s}}`, i+10, tc.fields)
			c.wantError(uint64(i+10), tc.code, tc.field)
		})
	}
}

func TestNotSupported(t *testing.T) {
	c := start(t, nil, open()).dial(t, "", nil)
	c.send(`{"id":1,"presence":{"channel":"chat:a"}}`)
	c.wantError(1, protocol.ErrorNotSupported, "channel")
	c.send(`{"id":2,"ack":{"channel":"chat:a","offset":1}}`)
	c.wantError(2, protocol.ErrorNotSupported, "")
	c.send(`{"id":3,"nak":{"channel":"chat:a","token":"t"}}`)
	c.wantError(3, protocol.ErrorNotSupported, "")
	c.send(`{"id":4,"in_progress":{"channel":"chat:a","token":"t"}}`)
	c.wantError(4, protocol.ErrorNotSupported, "")
}

func TestPings(t *testing.T) {
	c := start(t, nil, open()).dial(t, "", nil)
	c.send(`{"ping":{}}`)
	if got := c.raw(); got != `{"pong":{}}` {
		t.Errorf("got %s", got)
	}
	c.send(`{"pong":{}}`)
	pong := make(chan string, 1)
	c.SetPongHandler(func(s string) error { pong <- s; return nil })
	if err := c.WriteControl(gorilla.PingMessage, []byte("hello"), time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	c.send(`{"id":3,"ping":{}}`)
	if ev := c.next(); ev.Pong == nil || ev.ID != 3 {
		t.Errorf("got %s", show(ev))
	}
	if got := <-pong; got != "hello" {
		t.Errorf("pong with %q", got)
	}
}
