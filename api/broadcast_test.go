package api_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
)

func TestAtomic(t *testing.T) {
	h := newHarness(t)
	res := h.do(t, "POST", "/v1/messages", `{"atomic":true,"messages":[{"channel":"chat:a","data":1},{"channel":"chat:a","data":2}]}`)
	list, _ := res.data["results"].([]any)
	if res.status != 201 || len(list) != 2 || fmt.Sprint(h.log.atomic) != "[2]" || len(h.log.stored) != 2 {
		t.Errorf("%d %s, atomic %v", res.status, res.body, h.log.atomic)
	}
	if h.do(t, "POST", "/v1/messages", `{"atomic":false,"messages":[{"channel":"chat:a","data":1}]}`); len(h.log.atomic) != 1 {
		t.Error("atomic: false is atomic")
	}
}

func TestAtomicRefused(t *testing.T) {
	const body = `{"atomic":true,"messages":[{"channel":"chat:a","data":1},{"channel":"chat:a","data":2}]}`
	for name, c := range map[string]struct {
		err    error
		body   string
		status int
		field  string
		says   string
	}{
		"a bad message":      {nil, `{"atomic":true,"messages":[{"channel":"chat:a","data":1},{"channel":"chat:a"}]}`, 400, "messages[1].data", "messages[1].data: is missing"},
		"a bad channel":      {nil, `{"atomic":true,"messages":[{"channel":"chat:*","data":1}]}`, 400, "messages[0].channel", "none of the batch"},
		"a key":              {&fanout.BatchError{Index: 1, Err: fanout.ErrKeyConflict}, body, 409, "messages[1].idempotency_key", "none of the batch"},
		"an expected offset": {&fanout.BatchError{Index: 0, Err: &fanout.ExpectedOffsetError{Last: 5}}, body, 409, "messages[0].expected_offset", "has the offset 5"},
		"not known which":    {&fanout.BatchError{Index: -1, Err: fanout.ErrExpectedOffset}, body, 409, "expected_offset", "none of the batch"},
		"an original":        {&fanout.BatchError{Index: 1, Err: fanout.ErrNoMessage}, body, 404, "messages[1].updates", "none of the batch"},
		"many partitions":    {&fanout.BatchError{Index: 1, Err: fanout.ErrNotAtomic}, body, 422, "messages[1].channel", "one partition"},
		"input":              {&fanout.BatchError{Index: 1, Err: &fanout.InputError{Field: "deliver_at", Problem: "no"}}, body, 400, "messages[1].deliver_at", "messages[1].deliver_at: no; none of the batch"},
		"a delay": {
			&fanout.BatchError{Index: 0, Err: &fanout.InputError{Field: "deliver_at", Problem: "no"}},
			`{"atomic":true,"messages":[{"channel":"chat:a","data":1,"delay":1000}]}`, 400, "messages[0].delay", "messages[0].delay: no; none of the batch",
		},
		"unavailable":          {&fanout.BatchError{Index: -1, Err: fanout.ErrUnavailable}, body, 503, "", "nothing was stored"},
		"outcome unknown":      {&fanout.BatchError{Index: -1, Err: &fanout.OutcomeUnknownError{Cause: errors.New("lost")}}, body, 504, "", "all be stored, or none"},
		"outcome open a while": {&fanout.BatchError{Index: -1, Err: &fanout.OutcomeUnknownError{RetryUntil: time.Now(), Cause: errors.New("lost")}}, body, 504, "", "retry_until"},
	} {
		h := newHarness(t, func(h *harness) { h.log.err = c.err })
		res := h.do(t, "POST", "/v1/messages", c.body)
		if res.status != c.status || res.field != c.field || !strings.Contains(res.message, c.says) || len(h.log.stored) != 0 {
			t.Errorf("%s: %d %q %s", name, res.status, res.field, res.message)
		}
	}
}

func TestBroadcast(t *testing.T) {
	h := newHarness(t, func(h *harness) { h.log.errs = map[string]error{"full": fanout.ErrDiskFull} })
	res := h.do(t, "POST", "/v1/broadcast", `{"channels":["user:ann","bob"],"data":{"a":1},"headers":{"k":"v"},"ttl":5,"exclude":"0123456789abcdef"}`, "Idempotency-Key", "key")
	list, _ := res.data["results"].([]any)
	if res.status != 201 || len(list) != 2 || len(h.log.stored) != 2 {
		t.Fatalf("%d %s", res.status, res.body)
	}
	for i, want := range []string{"user:ann", "default:bob"} {
		if p := h.log.stored[i]; p.Channel.String() != want || p.Key != "key" || p.TTL != 5*time.Second || p.Exclude == "" || string(p.Data) != `{"a":1}` {
			t.Errorf("stored %+v", p)
		}
	}
	res = h.do(t, "POST", "/v1/broadcast", `{"channels":["user:ann","user:new"],"data":{"a":1},"idempotency_key":"key"}`)
	if list, _ := res.data["results"].([]any); res.status != 201 || !strings.Contains(fmt.Sprint(list[0]), "duplicate:true") || !strings.Contains(fmt.Sprint(list[1]), "duplicate:false") {
		t.Errorf("again, with one more: %s", res.body)
	}
	res = h.do(t, "POST", "/v1/broadcast", `{"channels":["a","full","b*"],"data":1}`)
	if list, _ := res.data["results"].([]any); res.status != 504 || len(list) != 3 || !strings.Contains(fmt.Sprint(list[2]), "code:400") {
		t.Errorf("some fail: %d %s", res.status, res.body)
	}
}

func TestBroadcastBadInput(t *testing.T) {
	many := make([]string, 1001)
	for i := range many {
		many[i] = fmt.Sprint("c", i)
	}
	for name, c := range map[string]struct{ body, field, says string }{
		"no channels":           {`{"data":1}`, "channels", "1 to 1000"},
		"empty":                 {`{"channels":[],"data":1}`, "channels", "1 to 1000"},
		"too many":              {`{"channels":` + mustJSON(t, many) + `,"data":1}`, "channels", "more than 1000"},
		"not a list":            {`{"channels":"a","data":1}`, "channels", "must be an array"},
		"a number":              {`{"channels":["a",1],"data":1}`, "channels[1]", "must be a string"},
		"twice":                 {`{"channels":["a","b","default:a"],"data":1}`, "channels[2]", "given twice"},
		"list twice":            {`{"channels":["a"],"channels":["b"],"data":1}`, "channels", "given twice"},
		"no data":               {`{"channels":["a"]}`, "data", "is missing"},
		"both":                  {`{"channels":["a"],"data":1,"data_base64":""}`, "data_base64", "together"},
		"data twice":            {`{"channels":["a"],"data":1,"data":1}`, "data", "given twice"},
		"channel":               {`{"channels":["a"],"channel":"b","data":1}`, "channel", "the fields are channels"},
		"unknown":               {`{"channels":["a"],"data":1,"atomic":true}`, "atomic", "the fields are channels"},
		"expected_offset":       {`{"channels":["a"],"data":1,"expected_offset":0}`, "expected_offset", "about one channel"},
		"updates":               {`{"channels":["a"],"data":1,"updates":1}`, "updates", "about one channel"},
		"ttl":                   {`{"channels":["a"],"data":1,"ttl":-1}`, "ttl", "whole number"},
		"key":                   {`{"channels":["a"],"data":1,"idempotency_key":"a b"}`, "idempotency_key", "printable"},
		"trailing":              {`{"channels":["a"],"data":1} x`, "body", "after the end"},
		"a list":                {`["a"]`, "body", "must be an object"},
		"header with a line":    {`{"channels":["a"],"data":1,"headers":{"a":"x\r\n"}}`, "headers", "control character"},
		"delay and deliver_at":  {`{"channels":["a"],"data":1,"delay":1,"deliver_at":1}`, "delay", "together"},
		"half a surrogate pair": {`{"channels":["\ud800"],"data":1}`, "channels[0]", "surrogate"},
	} {
		h := newHarness(t)
		res := h.do(t, "POST", "/v1/broadcast", c.body)
		if res.status != 400 || res.field != c.field || !strings.Contains(res.message, c.says) || len(h.log.stored) != 0 {
			t.Errorf("%s: %d %q %s", name, res.status, res.field, res.message)
		}
	}
	large := `{"channels":` + mustJSON(t, many[:1000]) + `,"data":"` + strings.Repeat("x", 68<<10) + `"}`
	if res := newHarness(t).do(t, "POST", "/v1/broadcast", large); res.status != 413 || res.field != "data" || !strings.Contains(res.message, "several broadcasts") {
		t.Errorf("too much together: %d %s", res.status, res.message)
	}
	caps, err := auth.NewCapabilities(map[string][]auth.Action{"chat:a": {auth.Publish}})
	if err != nil {
		t.Fatal(err)
	}
	h := newHarness(t, func(h *harness) { h.auth = fixed{auth.Claims{Subject: "ann", Capabilities: caps}} })
	if res := h.do(t, "POST", "/v1/broadcast", `{"channels":["chat:a","chat:b"],"data":1}`); res.status != 403 || len(h.log.stored) != 1 {
		t.Errorf("a channel that is not allowed: %d %s", res.status, res.body)
	}
	if res := h.do(t, "POST", "/v1/broadcast", `{"channels":["chat:a"],"data":1,"idempotency_key":"a"}`, "Idempotency-Key", "b"); res.status != 400 || res.field != "Idempotency-Key" {
		t.Errorf("two keys: %d %s", res.status, res.body)
	}
}
