package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
)

// results returns the codes and fields of a batch's results.
func (r *response) results() (codes []int, fields []string) {
	var body struct {
		Data struct {
			Results []struct {
				Code int
				Data struct{ Field string }
			}
		}
	}
	_ = json.Unmarshal(r.body, &body)
	for _, res := range body.Data.Results {
		codes, fields = append(codes, res.Code), append(fields, res.Data.Field)
	}
	return codes, fields
}

func TestBatchStored(t *testing.T) {
	h := newHarness(t)
	res := h.do(t, "POST", "/v1/messages", `{"messages":[
		{"channel":"chat:a","data":1,"idempotency_key":"k"},
		{"channel":"lobby","data_base64":"AA==","headers":{"a":"b"}},
		{"channel":"chat:a","data":1,"idempotency_key":"k"}],"atomic":false}`)
	codes, _ := res.results()
	if res.status != 201 || res.message != "stored" || fmt.Sprint(codes) != "[201 201 201]" || len(h.log.stored) != 2 {
		t.Fatalf("%d %s", res.status, res.body)
	}
	if got := h.log.stored[1]; got.Channel.String() != "default:lobby" || !got.Binary || got.Headers["a"] != "b" {
		t.Errorf("stored %+v", got)
	}
	if !strings.Contains(string(res.body), `"message":"stored before","data":{"channel":"chat:a","offset":1`) {
		t.Errorf("no duplicate in %s", res.body)
	}
}

// TestBatchPartly: each message has its own result, and a 2xx is only given if all
// are stored.
func TestBatchPartly(t *testing.T) {
	until := time.UnixMilli(1_732_290_120_000)
	errs := map[string]error{
		"gone": fmt.Errorf("publish: %w", fanout.ErrUnknownNamespace), "busy": fanout.ErrTooBusy, "big": fanout.ErrTooLarge,
		"conflict": fanout.ErrKeyConflict, "lost": &fanout.OutcomeUnknownError{RetryUntil: until, Cause: errors.New("x")},
	}
	for _, tc := range []struct {
		name, messages string
		status         int
		codes, fields  string
	}{
		{"bad channel", `{"channel":"chat:a..b","data":1},{"channel":"chat:a","data":1}`, 400, "[400 201]", "[channel ]"},
		{"no channel", `{"data":1}`, 400, "[400]", "[channel]"},
		{"null channel", `{"channel":null,"data":1}`, 400, "[400]", "[channel]"},
		{"no data", `{"channel":"chat:a"}`, 400, "[400]", "[data]"},
		{"bad key", `{"channel":"chat:a","data":1,"idempotency_key":""}`, 400, "[400]", "[idempotency_key]"},
		{"bad header", `{"channel":"chat:a","data":1,"headers":{"a b":""}}`, 400, "[400]", "[headers]"},
		{"bad base64", `{"channel":"chat:a","data_base64":"?"}`, 400, "[400]", "[data_base64]"},
		{"unknown namespace", `{"channel":"chat:gone","data":1}`, 404, "[404]", "[channel]"},
		{"too large", `{"channel":"chat:big","data":1}`, 413, "[413]", "[data]"},
		{"conflict", `{"channel":"chat:conflict","data":1}`, 409, "[409]", "[idempotency_key]"},
		{"busy", `{"channel":"chat:a","data":1},{"channel":"chat:busy","data":1},{"channel":"chat:b..","data":1}`, 504, "[201 503 400]", "[  channel]"},
		{"all busy", `{"channel":"chat:busy","data":1},{"channel":"chat:b..","data":1}`, 503, "[503 400]", "[ channel]"},
		{"lost is worst", `{"channel":"chat:lost","data":1},{"channel":"chat:busy","data":1}`, 504, "[504 503]", "[ ]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHarness(t, func(h *harness) { h.log.errs = errs })
			res := h.do(t, "POST", "/v1/messages", `{"messages":[`+tc.messages+`]}`)
			codes, fields := res.results()
			if res.status != tc.status || fmt.Sprint(codes) != tc.codes || fmt.Sprint(fields) != tc.fields {
				t.Errorf("%d %s", res.status, res.body)
			}
			if (tc.status >= 503) != (res.header.Get("Retry-After") != "") {
				t.Errorf("Retry-After %q", res.header.Get("Retry-After"))
			}
			if stored := strings.Count(tc.codes, "201"); len(h.log.stored) != stored {
				t.Errorf("%d stored, %d said to be", len(h.log.stored), stored)
			}
			if strings.Contains(tc.codes, "504") && !strings.Contains(string(res.body), `"retry_until":1732290120000`) {
				t.Errorf("no retry_until in %s", res.body)
			}
		})
	}
}

func TestBatchForbidden(t *testing.T) {
	secret := auth.HMACConfig{Secret: auth.NewSecret(strings.Repeat("s", 32))}
	verifier, err := auth.New(auth.Config{HMAC: secret}, auth.Services{})
	if err != nil {
		t.Fatal(err)
	}
	caps, err := auth.NewCapabilities(map[string][]auth.Action{"chat:>": {auth.Publish}, "orders:>": {auth.Subscribe}})
	if err != nil {
		t.Fatal(err)
	}
	token, err := auth.Mint(secret, auth.Claims{ExpiresAt: time.Now().Add(time.Hour), Capabilities: caps})
	if err != nil {
		t.Fatal(err)
	}
	h := newHarness(t, func(h *harness) { h.auth = verifier })
	res := h.do(t, "POST", "/v1/messages", `{"messages":[{"channel":"orders:1","data":1},{"channel":"chat:1","data":1}]}`, "Authorization", "Bearer "+token)
	codes, fields := res.results()
	if res.status != 403 || fmt.Sprint(codes, fields) != "[403 201] [channel ]" || len(h.log.stored) != 1 || h.log.stored[0].Channel.String() != "chat:1" {
		t.Errorf("%d %s", res.status, res.body)
	}
}

// TestBatchRefused: the batch as a whole, with nothing stored.
func TestBatchRefused(t *testing.T) {
	list := func(n int) string {
		return `{"messages":[` + strings.TrimSuffix(strings.Repeat(`{"channel":"chat:a","data":1},`, n), ",") + `]}`
	}
	if res := newHarness(t).do(t, "POST", "/v1/messages", list(1000)); res.status != 201 {
		t.Fatalf("1,000 messages: %d %.200s", res.status, res.body)
	}
	const good = `{"channel":"chat:a","data":1}`
	for _, tc := range []struct {
		name, body  string
		status      int
		field, says string
		header      string
	}{
		{"too many", list(1001), 400, "messages", "more than 1000", ""},
		{"none", `{"messages":[]}`, 400, "messages", "1 to 1000", ""},
		{"no list", `{}`, 400, "messages", "1 to 1000", ""},
		{"not a list", `{"messages":{}}`, 400, "messages", "must be an array, not an object", ""},
		{"list itself", `[` + good + `]`, 400, "body", "must be an object, not an array", ""},
		{"list twice", `{"messages":[` + good + `],"messages":[` + good + `]}`, 400, "messages", "given twice", ""},
		{"atomic is a string", `{"atomic":"yes","messages":[` + good + `]}`, 400, "atomic", "true or false, not a string", ""},
		{"atomic twice", `{"atomic":false,"atomic":true,"messages":[` + good + `]}`, 400, "atomic", "given twice", ""},
		{"unknown", `{"ordered":true,"messages":[` + good + `]}`, 400, "ordered", "messages and atomic", ""},
		{"a message is a number", `{"messages":[` + good + `,7]}`, 400, "messages[1]", "must be an object, not a number", ""},
		{"a message's ttl is text", `{"messages":[` + good + `,{"channel":"chat:a","data":1,"ttl":"1"}]}`, 400, "messages[1].ttl", "must be a number", ""},
		{"a message has an unknown field", `{"messages":[{"channel":"chat:a","data":1,"x":1}]}`, 400, "messages[0].x", "fields are channel, data", ""},
		{"a message's data is not JSON", `{"messages":[` + good + `,{"channel":"chat:a","data":tru}]}`, 400, "messages[1].data", "is not JSON", ""},
		{"a channel is a number", `{"messages":[{"channel":1,"data":1}]}`, 400, "messages[0].channel", "must be a string", ""},
		{"cut", `{"messages":[` + good, 400, "body", "ends at byte 42", ""},
		{"trailing garbage", list(1) + "x", 400, "body", "after the end", ""},
		{"key header", list(1), 400, "Idempotency-Key", "each message", "k"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHarness(t)
			res := h.do(t, "POST", "/v1/messages", tc.body, "Idempotency-Key", tc.header)
			if res.status != tc.status || res.field != tc.field || !strings.Contains(res.message, tc.says) || len(h.log.stored) != 0 {
				t.Errorf("status %d, field %q, message %q, %d stored", res.status, res.field, res.message, len(h.log.stored))
			}
		})
	}
}
