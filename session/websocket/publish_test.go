package websocket_test

import (
	"testing"

	"github.com/rivulet-rt/rivulet/protocol"
)

// TestPublishAsStrictAsHTTP: what POST refuses is refused here, too.
func TestPublishAsStrictAsHTTP(t *testing.T) {
	c := start(t, nil, tokens(t)).dial(t, "?token=ann", nil)
	c.next()
	for i, tc := range []struct{ name, fields, field string }{
		{"empty key", `"data":1,"idempotency_key":""`, "idempotency_key"},
		{"line break in base64", `"data_base64":"AA\n=="`, "data_base64"},
		{"line end after base64", `"data_base64":"AA==\r\n"`, "data_base64"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c.send(`{"id":%d,"publish":{"channel":"chat:a",%s}}`, i+1, tc.fields)
			c.wantError(uint64(i+1), protocol.ErrorBadRequest, tc.field)
		})
	}
	c.send(`{"id":9,"publish":{"channel":"chat:a","data":1,"idempotency_key":null}}`)
	if ev := c.next(); ev.ID != 9 || ev.Published == nil {
		t.Errorf("a key of null is none; got %s", show(ev))
	}
}
