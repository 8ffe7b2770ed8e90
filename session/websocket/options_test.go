package websocket_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
)

func TestPublishOptionsBadInput(t *testing.T) {
	c := start(t, nil, tokens(t)).dial(t, "?token=ann", nil)
	c.next()
	for i, tc := range []struct{ name, fields, field string }{
		{"ttl is negative", `"ttl":-1`, "ttl"},
		{"ttl is text", `"ttl":"60"`, "ttl"},
		{"ttl has a fraction", `"ttl":1.5`, "ttl"},
		{"ttl is too long", `"ttl":315360001`, "ttl"},
		{"deliver_at is negative", `"deliver_at":-1`, "deliver_at"},
		{"deliver_at is in seconds", `"deliver_at":1795443363`, "deliver_at"},
		{"deliver_at is too far", `"deliver_at":9007199254740991`, "deliver_at"},
		{"delay is negative", `"delay":-1`, "delay"},
		{"delay is too long", `"delay":31536000001`, "delay"},
		{"delay and deliver_at", `"delay":1,"deliver_at":1`, "delay"},
		{"expected_offset is negative", `"expected_offset":-1`, "expected_offset"},
		{"expected_offset is text", `"expected_offset":"1"`, "expected_offset"},
		{"expected_offset of a scheduled message", `"expected_offset":1,"delay":1000`, "expected_offset"},
		{"exclude is no connection", `"exclude":"me"`, "exclude"},
		{"exclude is a number", `"exclude":1`, "exclude"},
		{"conflation_key is long", `"conflation_key":"` + strings.Repeat("k", 129) + `"`, "conflation_key"},
		{"conflation_key has a space", `"conflation_key":"a b"`, "conflation_key"},
		{"updates is negative", `"updates":-1`, "updates"},
		{"updates is text", `"updates":"1"`, "updates"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c.send(`{"id":%d,"publish":{"channel":"chat:a","data":1,%s}}`, i+1, tc.fields)
			c.wantError(uint64(i+1), protocol.ErrorBadRequest, tc.field)
		})
	}
	c.send(`{"id":99,"history":{"channel":"chat:a","fold":"newest"}}`)
	c.wantError(99, protocol.ErrorBadRequest, "fold")
}

// TestExclude: the connection that a message names gets everything but that message.
func TestExclude(t *testing.T) {
	n := start(t, nil, open())
	me, other := n.dial(t, "", nil), n.dial(t, "", nil)
	me.send(`{"id":1,"connect":{}}`)
	id := me.next().Connected.Client
	me.subscribe(2, "chat:a", "")
	other.subscribe(2, "chat:a", "")
	other.send(`{"id":3,"publish":{"channel":"chat:a","data":"hidden","exclude":"%s"}}`, id)
	other.send(`{"id":4,"publish":{"channel":"chat:a","data":"shown","exclude":"%s"}}`, strings.Repeat("0", 16))
	if ev := me.next(); ev.Message == nil || string(ev.Message.Data) != `"shown"` {
		t.Errorf("the excluded one got %s", show(ev))
	}
	got := ""
	for range 4 {
		if ev := other.next(); ev.Message != nil {
			got += string(ev.Message.Data)
		}
	}
	if got != `"hidden""shown"` {
		t.Errorf("the other got %s", got)
	}
}

func TestPublishLater(t *testing.T) {
	c := start(t, nil, open()).dial(t, "", nil)
	at := time.Now().Add(time.Hour).UnixMilli()
	for i, fields := range []string{fmt.Sprintf(`"deliver_at":%d`, at), `"delay":3600000`} {
		c.send(`{"id":%d,"publish":{"channel":"chat:a","data":1,%s}}`, i+1, fields)
		ev := c.next()
		p := ev.Published
		if p == nil || p.Schedule == "" || p.Offset != 0 || p.Position != "" || p.Time != 0 || p.DeliverAt < at || p.DeliverAt > at+60_000 {
			t.Errorf("%s: got %s", fields, show(ev))
		}
	}
	c.send(`{"id":9,"publish":{"channel":"chat:a","data":1,"deliver_at":1000000000000}}`)
	if ev := c.next(); ev.Published == nil || ev.Published.Schedule != "" || ev.Published.Offset == 0 {
		t.Errorf("due in the past: got %s", show(ev))
	}
}

// TestMessageTellsOptions: whoever gets a message is told what it updates and outdates.
func TestMessageTellsOptions(t *testing.T) {
	n := start(t, nil, open())
	c := n.dial(t, "", nil)
	c.subscribe(1, "chat:a", "")
	c.send(`{"id":2,"publish":{"channel":"chat:a","data":1,"updates":7,"conflation_key":"k","ttl":60}}`)
	for range 2 {
		if ev := c.next(); ev.Message != nil && (ev.Message.Updates != 7 || ev.Message.ConflationKey != "k") {
			t.Errorf("got %s", show(ev))
		}
	}
}
