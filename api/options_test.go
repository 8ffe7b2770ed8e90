package api_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

func TestPublishOptions(t *testing.T) {
	h := newHarness(t)
	res := h.do(t, "POST", lobby, `{"data":1,"ttl":60,"expected_offset":0,"exclude":"0123456789abcdef","conflation_key":"k","updates":7}`)
	if res.status != 201 {
		t.Fatalf("%d %s", res.status, res.message)
	}
	p := h.log.stored[0]
	if p.TTL != time.Minute || p.Expected == nil || *p.Expected != 0 || p.Exclude != "0123456789abcdef" || p.ConflationKey != "k" || p.Updates != 7 || p.DeliverAt != 0 {
		t.Errorf("stored %+v", p)
	}
	// None of them, however written, asks for anything.
	none := `{"data":1,"ttl":null,"deliver_at":null,"delay":null,"expected_offset":null,"exclude":null,"conflation_key":null,"updates":null}`
	zero := strings.NewReplacer(`"expected_offset":null,`, "", `key":null`, `key":""`, `exclude":null`, `exclude":""`, "null", "0").Replace(none)
	for _, body := range []string{none, zero, `{"data":1}`} {
		before := len(h.log.stored)
		if res := h.do(t, "POST", lobby, body); res.status != 201 {
			t.Fatalf("%s: %d %s", body, res.status, res.message)
		}
		p := h.log.stored[before]
		if p.TTL != 0 || p.Expected != nil || p.Exclude != "" || p.ConflationKey != "" || p.Updates != 0 || p.DeliverAt != 0 {
			t.Errorf("%s: stored %+v", body, p)
		}
	}
}

func TestDeliverAt(t *testing.T) {
	h := newHarness(t)
	at := time.Now().Add(time.Hour).UnixMilli()
	for body, want := range map[string]int64{
		fmt.Sprintf(`{"data":1,"deliver_at":%d}`, at): at,
		`{"data":1,"delay":3600000}`:                  at,
		`{"data":1,"deliver_at":1000000000000}`:       0, // in the past: now
	} {
		res := h.do(t, "POST", lobby, body)
		if want == 0 {
			if res.message != "stored" || len(h.log.stored) != 1 {
				t.Errorf("%s: %s", body, res.body)
			}
			continue
		}
		got, _ := res.data["deliver_at"].(float64)
		if int64(got) < want || int64(got) > want+60_000 || res.status != 201 || res.message != "scheduled" || res.data["schedule"] == "" || res.data["offset"] != nil {
			t.Errorf("%s: %s, want %d", body, res.body, want)
		}
	}
}

func TestOptionErrors(t *testing.T) {
	for name, c := range map[string]struct {
		err         error
		status      int
		field, says string
	}{
		"expected, the last is known": {&fanout.ExpectedOffsetError{Last: 17}, 409, "expected_offset", "has the offset 17"},
		"expected":                    {fanout.ErrExpectedOffset, 409, "expected_offset", "another offset"},
		"updates":                     {fanout.ErrNoMessage, 404, "updates", "no message at that offset"},
		"updates a version":           {&fanout.InputError{Field: "updates", Problem: "3 is itself a version of 1"}, 400, "updates", "version of 1"},
	} {
		h := newHarness(t, func(h *harness) { h.log.err = fmt.Errorf("publish: %w", c.err) })
		res := h.do(t, "POST", lobby, `{"data":1,"expected_offset":3,"updates":3}`)
		if res.status != c.status || res.field != c.field || !strings.Contains(res.message, c.says) {
			t.Errorf("%s: %d %q %q", name, res.status, res.field, res.message)
		}
		res = h.do(t, "POST", "/v1/messages", `{"messages":[{"channel":"chat:lobby","data":1,"updates":3}]}`)
		if res.status != c.status {
			t.Errorf("%s, in a batch: %d", name, res.status)
		}
	}
}
