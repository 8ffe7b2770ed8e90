package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
)

func mustJSON(tb testing.TB, v any) string {
	tb.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

func TestPublish(t *testing.T) {
	for _, tc := range []struct {
		name, body, data string
		binary           bool
		key              string
		headers          map[string]string
	}{
		{"object", `{"data":{"text":"hello"}}`, `{"text":"hello"}`, false, "", nil},
		{"spaces are dropped", " { \"data\" :\n [ 1 , 2 ] } ", `[1,2]`, false, "", nil},
		{"null", `{"data":null}`, `null`, false, "", nil},
		{"false", `{"data":false}`, `false`, false, "", nil},
		{"empty string", `{"data":""}`, `""`, false, "", nil},
		{"number as written", `{"data":1.000e+2}`, `1.000e+2`, false, "", nil},
		{"big number as written", `{"data":12345678901234567890}`, `12345678901234567890`, false, "", nil},
		{"UTF-8", `{"data":"žluť 🐎"}`, `"žluť 🐎"`, false, "", nil},
		{"deepest", `{"data":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`, strings.Repeat("[", 64) + strings.Repeat("]", 64), false, "", nil},
		{"bytes", `{"data_base64":"AAH/"}`, "\x00\x01\xff", true, "", nil},
		{"no bytes", `{"data_base64":""}`, "", true, "", nil},
		{"key", `{"data":1,"idempotency_key":"!a-b~"}`, `1`, false, "!a-b~", nil},
		{"longest key", `{"data":1,"idempotency_key":"` + strings.Repeat("k", 128) + `"}`, `1`, false, strings.Repeat("k", 128), nil},
		{"headers", `{"headers":{"content-type":"text/plain","X-é":"x"},"data":1}`, ``, false, "", nil},
		{"headers with escapes", `{"data":1,"headers":{"X-A":"a\"\\\u00e9","b":""}}`, `1`, false, "", map[string]string{"X-A": `a"\é`, "b": ""}},
		{"escaped names", `{"d\u0061ta":1}`, `1`, false, "", nil},
		{"null is absent", `{"data":1,"data_base64":null,"idempotency_key":null,"headers":null}`, `1`, false, "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHarness(t)
			res := h.do(t, "POST", lobby, tc.body)
			if strings.Contains(tc.body, "X-é") { // a header's name is ASCII
				if res.status != 400 || res.field != "headers" || len(h.log.stored) != 0 {
					t.Errorf("status %d, field %q", res.status, res.field)
				}
				return
			}
			if res.status != 201 || len(h.log.stored) != 1 {
				t.Fatalf("status %d, %d stored: %s", res.status, len(h.log.stored), res.body)
			}
			p := h.log.stored[0]
			if string(p.Data) != tc.data || p.Binary != tc.binary || p.Key != tc.key || p.Channel.String() != "chat:lobby" {
				t.Errorf("stored %+v", p)
			}
			if fmt.Sprint(p.Headers) != fmt.Sprint(tc.headers) {
				t.Errorf("headers %v, want %v", p.Headers, tc.headers)
			}
			want := `{"code":201,"message":"stored","data":{"channel":"chat:lobby","offset":1,` +
				`"position":"3fGk2a0b-1-d5t66o6qudlx","time":1732290000123,"duplicate":false}}` + "\n"
			if got := string(res.body); got != strings.ReplaceAll(want, "3fGk2a0b-1-d5t66o6qudlx", positionAt(1).String()) {
				t.Errorf("body %s", got)
			}
		})
	}
}

func TestPublishDuplicate(t *testing.T) {
	h := newHarness(t)
	first := h.do(t, "POST", lobby, `{"data":1,"idempotency_key":"k"}`)
	again := h.do(t, "POST", lobby, `{"data":1}`, "Idempotency-Key", "k")
	if again.status != 201 || again.data["duplicate"] != true || again.data["position"] != first.data["position"] || len(h.log.stored) != 1 {
		t.Errorf("%s\n%s", first.body, again.body)
	}
}

// TestPublishRefuses: each bad input is 400, names its field, says what is wrong,
// and nothing is stored.
func TestPublishRefuses(t *testing.T) {
	manyHeaders := map[string]string{}
	for i := range 33 {
		manyHeaders[fmt.Sprint("h", i)] = ""
	}
	for _, tc := range []struct{ name, body, field, says string }{
		{"empty", ` `, "body", "ends at byte 1"},
		{"not JSON", `hello`, "body", "body: is not JSON; it must be an object"},
		{"string", `"hello"`, "body", "must be an object, not a string"},
		{"array", `[1]`, "body", "must be an object, not an array"},
		{"number", `12`, "body", "must be an object, not a number"},
		{"null", `null`, "body", "must be an object, not null"},
		{"cut", `{"data":{"a":1}`, "body", "ends at byte 15 where a comma or } is expected"},
		{"cut in data", `{"data":{"a":1`, "body", "ends at byte 14 where a closing bracket"},
		{"cut in a string", `{"data":"a\"`, "body", "ends at byte 12 in a string"},
		{"cut in a name", `{"dat`, "body", "ends at byte 5 in a string"},
		{"trailing comma", `{"data":1,}`, "body", `unexpected '}' at byte 10 where a member name`},
		{"no comma", `{"data":1 "headers":{}}`, "body", `unexpected '"' at byte 10 where a comma or }`},
		{"no colon", `{"data" 1}`, "body", `unexpected '1' at byte 8 where a colon`},
		{"no value", `{"data":}`, "body", `unexpected '}' at byte 8 where a value`},
		{"bare name", `{data:1}`, "body", `unexpected 'd' at byte 1`},
		{"trailing garbage", `{"data":1} x`, "body", `unexpected 'x' at byte 11 after the end`},
		{"two texts", `{"data":1}{"data":2}`, "body", `unexpected '{' at byte 10 after the end`},
		{"byte order mark", "\ufeff{\"data\":1}", "body", ""},
		{"zero byte", "{\"data\":1}\x00", "body", "after the end"},
		{"bad UTF-8 in a name", "{\"\xff\":1}", "body", "UTF-8"},
		{"bad UTF-8 outside", "{\"data\":1\xff}", "data", "UTF-8"},

		{"no data", `{}`, "data", "is missing"},
		{"both", `{"data":1,"data_base64":""}`, "data_base64", "together with data"},
		{"data twice", `{"data":1,"data":2}`, "data", "given twice"},
		{"data is not JSON", `{"data":hello}`, "data", "is not JSON"},
		{"data has a bad literal", `{"data":[tru]}`, "data", "is not JSON: unexpected ']' at byte 4"},
		{"data has mixed brackets", `{"data":[1}}`, "data", "unexpected '}' at byte 2"},
		{"data has a bad number", `{"data":01}`, "data", "is not JSON"},
		{"data has a bare control character", "{\"data\":\"a\nb\"}", "data", "control character"},
		{"data is not UTF-8", "{\"data\":\"\xff\"}", "data", "UTF-8 at byte 1"},
		{"data has half a surrogate pair", `{"data":"\ud800"}`, "data", "surrogate"},
		{"data is too deep", `{"data":` + strings.Repeat("[", 65) + strings.Repeat("]", 65) + `}`, "data", "64 levels"},

		{"base64 is a number", `{"data_base64":1}`, "data_base64", "must be a string, not a number"},
		{"base64 of another alphabet", `{"data_base64":"AAH_"}`, "data_base64", "standard alphabet"},
		{"base64 without padding", `{"data_base64":"AAE"}`, "data_base64", "padding"},
		{"base64 with loose bits", `{"data_base64":"AAF="}`, "data_base64", "is not base64"},
		{"base64 with a line break", `{"data_base64":"AA\nH/"}`, "data_base64", "line breaks"},

		{"key is empty", `{"data":1,"idempotency_key":""}`, "idempotency_key", "has 0 bytes, it must have 1 to 128"},
		{"key is too long", `{"data":1,"idempotency_key":"` + strings.Repeat("k", 129) + `"}`, "idempotency_key", "has 129 bytes"},
		{"key is not ASCII", `{"data":1,"idempotency_key":"é"}`, "idempotency_key", "printable ASCII"},
		{"key has a control character", `{"data":1,"idempotency_key":"a\u0000"}`, "idempotency_key", "printable ASCII"},
		{"key has a space", `{"data":1,"idempotency_key":"a b"}`, "idempotency_key", "without spaces"},
		{"key is a number", `{"data":1,"idempotency_key":7}`, "idempotency_key", "must be a string, not a number"},
		{"key with half a surrogate pair", `{"data":1,"idempotency_key":"\udc00"}`, "idempotency_key", "surrogate"},
		{"key twice", `{"data":1,"idempotency_key":null,"idempotency_key":"a"}`, "idempotency_key", "given twice"},

		{"headers are a list", `{"data":1,"headers":[]}`, "headers", "object of strings, not an array"},
		{"header is a number", `{"data":1,"headers":{"a":1}}`, "headers", "must be a string, not a number"},
		{"header name is empty", `{"data":1,"headers":{"":"x"}}`, "headers", `the name ""`},
		{"header name has a space", `{"data":1,"headers":{"a b":"x"}}`, "headers", `the name "a b"`},
		{"header name is too long", `{"data":1,"headers":{"` + strings.Repeat("h", 65) + `":"x"}}`, "headers", "1 to 64"},
		{"header value is too long", `{"data":1,"headers":{"a":"` + strings.Repeat("v", 1025) + `"}}`, "headers", "has 1025 bytes, at most 1024"},
		{"header value has a line break", `{"data":1,"headers":{"a":"x\r\ny: z"}}`, "headers", "control character"},
		{"header value has half a surrogate pair", `{"data":1,"headers":{"a":"\ud800"}}`, "headers", "surrogate"},
		{"header twice", `{"data":1,"headers":{"a":"x","a":"y"}}`, "headers", `"a" is given twice`},
		{"too many headers", `{"data":1,"headers":` + mustJSON(t, manyHeaders) + `}`, "headers", "more than 32"},
		{"headers are cut", `{"data":1,"headers":{"a":"x"`, "body", "ends at byte 28"},

		{"ttl is text", `{"data":1,"ttl":"60"}`, "ttl", "must be a number, not a string"},
		{"ttl is negative", `{"data":1,"ttl":-1}`, "ttl", "-1 must be a whole number from 0"},
		{"ttl has a fraction", `{"data":1,"ttl":1.5}`, "ttl", "1.5 must be a whole number"},
		{"ttl is less than a second", `{"data":1,"ttl":0.5}`, "ttl", "0.5 must be a whole number from 0 to 315360000"},
		{"ttl has an exponent", `{"data":1,"ttl":1e3}`, "ttl", "1e3 must be a whole number"},
		{"ttl is too long", `{"data":1,"ttl":315360001}`, "ttl", "from 1 to 315360000 seconds"},
		{"ttl twice", `{"data":1,"ttl":1,"ttl":1}`, "ttl", "given twice"},
		{"deliver_at is an object", `{"data":1,"deliver_at":{}}`, "deliver_at", "must be a number, not an object"},
		{"deliver_at is in seconds", `{"data":1,"deliver_at":1795443363}`, "deliver_at", "deliver_at is in milliseconds"},
		{"deliver_at is too far", `{"data":1,"deliver_at":9007199254740991}`, "deliver_at", "at most a year from now"},
		{"deliver_at is beyond numbers", `{"data":1,"deliver_at":9007199254740992}`, "deliver_at", "whole number from 0 to 9007199254740991"},
		{"delay is negative", `{"data":1,"delay":-5}`, "delay", "whole number"},
		{"delay is too long", `{"data":1,"delay":31536000001}`, "delay", "31536000000 milliseconds, a year"},
		{"delay and deliver_at", `{"data":1,"delay":1,"deliver_at":1}`, "delay", "together with deliver_at"},
		{"expected_offset is text", `{"data":1,"expected_offset":"0"}`, "expected_offset", "must be a number, not a string"},
		{"expected_offset is negative", `{"data":1,"expected_offset":-1}`, "expected_offset", "whole number"},
		{"expected_offset has a leading zero", `{"data":1,"expected_offset":01}`, "expected_offset", "whole number"},
		{"expected_offset of a scheduled message", `{"data":1,"expected_offset":1,"delay":1000}`, "expected_offset", "scheduled"},
		{"exclude is a number", `{"data":1,"exclude":1}`, "exclude", "must be a string, not a number"},
		{"exclude is no connection", `{"data":1,"exclude":"me"}`, "exclude", "16 of 0-9 and a-f"},
		{"exclude in capitals", `{"data":1,"exclude":"0123456789ABCDEF"}`, "exclude", "16 of 0-9 and a-f"},
		{"conflation_key is too long", `{"data":1,"conflation_key":"` + strings.Repeat("k", 129) + `"}`, "conflation_key", "has 129 bytes, at most 128"},
		{"conflation_key has a space", `{"data":1,"conflation_key":"a b"}`, "conflation_key", "without spaces"},
		{"conflation_key is a number", `{"data":1,"conflation_key":1}`, "conflation_key", "must be a string, not a number"},
		{"updates is text", `{"data":1,"updates":"1"}`, "updates", "must be a number, not a string"},
		{"updates is negative", `{"data":1,"updates":-1}`, "updates", "whole number"},
		{"updates is a boolean", `{"data":1,"updates":true}`, "updates", "must be a number, not a boolean"},
		{"channel", `{"data":1,"channel":"chat:lobby"}`, "channel", "is in the path"},
		{"unknown", `{"data":1,"Data":2}`, "Data", "the fields are data, data_base64, idempotency_key, headers, ttl"},
		{"long unknown", `{"` + strings.Repeat("x", 500) + `":1}`, strings.Repeat("x", 64) + "…", "is not a known field"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHarness(t)
			res := h.do(t, "POST", lobby, tc.body)
			if res.status != 400 || res.field != tc.field || !strings.Contains(res.message, tc.says) {
				t.Errorf("status %d, field %q, message %q\nwant 400, %q, %q", res.status, res.field, res.message, tc.field, tc.says)
			}
			if len(res.message) > 400 {
				t.Errorf("the message has %d bytes", len(res.message))
			}
			if len(h.log.stored) != 0 {
				t.Error("it was stored")
			}
		})
	}
}

func TestPublishRequestRefused(t *testing.T) {
	const ok = `{"data":1}`
	for _, tc := range []struct {
		name, target, body string
		headers            []string
		status             int
		field, says        string
	}{
		{"form", lobby, ok, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "Content-Type", "curl"},
		{"no type", lobby, ok, []string{"Content-Type", ""}, 415, "Content-Type", "application/json"},
		{"broken type", lobby, ok, []string{"Content-Type", "application/json;;x"}, 415, "Content-Type", "application/json"},
		{"other charset", lobby, ok, []string{"Content-Type", "application/json; charset=latin1"}, 415, "Content-Type", ""},
		{"compressed", lobby, ok, []string{"Content-Encoding", "gzip"}, 415, "Content-Encoding", ""},
		{"parameter", lobby + "?ttl=60", ok, nil, 400, "ttl", "not a known parameter"},
		{"broken query", lobby + "?a=%zz", ok, nil, 400, "query", "not well-formed"},
		{"token in the URL", lobby + "?token=abc", ok, nil, 400, "token", "Authorization"},
		{"keys differ", lobby, `{"data":1,"idempotency_key":"a"}`, []string{"Idempotency-Key", "b"}, 400, "Idempotency-Key", "differs"},
		{"bad key header", lobby, ok, []string{"Idempotency-Key", strings.Repeat("k", 129)}, 400, "idempotency_key", "129 bytes"},
		{"pattern", "/v1/channels/chat:*/messages", ok, nil, 400, "channel", "patterns"},
		{"bad namespace", "/v1/channels/Chat:a/messages", ok, nil, 400, "channel", "a-z"},
		{"empty segment", "/v1/channels/chat:a..b/messages", ok, nil, 400, "channel", "empty segment"},
		{"dots", "/v1/channels/../messages", ok, nil, 400, "channel", "empty segment"},
		{"control character", "/v1/channels/chat:a%00/messages", ok, nil, 400, "channel", "control"},
		{"not UTF-8", "/v1/channels/chat:%ff/messages", ok, nil, 400, "channel", "UTF-8"},
		{"too large", lobby, `{"data":"` + strings.Repeat("x", 8<<20) + `"}`, nil, 413, "body", "more than 8388608 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHarness(t)
			res := h.do(t, "POST", tc.target, tc.body, tc.headers...)
			if res.status != tc.status || res.field != tc.field || !strings.Contains(res.message, tc.says) || len(h.log.stored) != 0 {
				t.Errorf("status %d, field %q, message %q", res.status, res.field, res.message)
			}
		})
	}
}

func TestContentTypesAccepted(t *testing.T) {
	for _, kind := range []string{"application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"} {
		h := newHarness(t)
		// kin-openapi compares media types case-sensitively, so this is not held against the specification.
		if got := h.raw(h.request("POST", lobby, `{"data":1}`, "Content-Type", kind)); got.Code != 201 {
			t.Errorf("%s: %d %s", kind, got.Code, got.Body)
		}
	}
}

func TestIdentity(t *testing.T) {
	key := auth.NewKey()
	secret := auth.HMACConfig{Secret: auth.NewSecret(strings.Repeat("s", 32))}
	verifier, err := auth.New(auth.Config{HMAC: secret, Keys: []auth.KeyConfig{{
		Name: "shop", SHA256: auth.HashKey(key), Capabilities: map[string][]auth.Action{"chat:>": {auth.Publish}},
	}}}, auth.Services{})
	if err != nil {
		t.Fatal(err)
	}
	caps, err := auth.NewCapabilities(map[string][]auth.Action{"chat:lobby": {auth.Publish, auth.History}, "user:${sub}": {auth.Manage}})
	if err != nil {
		t.Fatal(err)
	}
	mint := func(expires time.Duration) string {
		token, err := auth.Mint(secret, auth.Claims{Subject: "ann", ExpiresAt: time.Now().Add(expires), Capabilities: caps})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	ann, late := mint(time.Hour), mint(-time.Hour)
	const plain, broken = `Bearer realm="rivulet"`, `Bearer realm="rivulet", error="invalid_token"`
	for _, tc := range []struct {
		name, authorization, method, target string
		status                              int
		challenge, says                     string
	}{
		{"key", "Bearer " + key.Reveal(), "POST", lobby, 201, "", ""},
		{"scheme in another case", "bearer  " + key.Reveal(), "POST", lobby, 201, "", ""},
		{"JWT", "Bearer " + ann, "POST", lobby, 201, "", ""},
		{"nothing", "", "POST", lobby, 401, plain, "a token is needed"},
		{"other scheme", "Basic eDp5", "POST", lobby, 401, plain, "a token is needed"},
		{"garbage", "Bearer nonsense", "POST", lobby, 401, broken, "neither a JWT nor a known API key"},
		{"wrong key", "Bearer " + auth.NewKey().Reveal(), "POST", lobby, 401, broken, "unknown API key"},
		{"expired", "Bearer " + late, "POST", lobby, 401, broken, "expired"},
		{"forged", "Bearer " + ann[:len(ann)-40] + strings.Repeat("A", 40), "POST", lobby, 401, broken, "signature"},
		{"other channel", "Bearer " + ann, "POST", "/v1/channels/chat:kitchen/messages", 403, "", `publish on "chat:kitchen"`},
		{"other action", "Bearer " + key.Reveal(), "GET", lobby, 403, "", `history on "chat:lobby"`},
		{"history", "Bearer " + ann, "GET", lobby, 200, "", ""},
		{"purge needs manage", "Bearer " + ann, "DELETE", lobby, 403, "", `manage on "chat:lobby"`},
		{"purge of the own", "Bearer " + ann, "DELETE", "/v1/channels/user:ann/messages", 200, "", ""},
		{"purge of another's", "Bearer " + ann, "DELETE", "/v1/channels/user:bob/messages", 403, "", ""},
		{"history, nothing", "", "GET", lobby, 401, plain, ""},
		{"purge, nothing", "", "DELETE", lobby, 401, plain, ""},
		{"batch, nothing", "", "POST", "/v1/messages", 401, plain, ""},
		{"health needs none", "", "GET", "/healthz", 200, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHarness(t, func(h *harness) { h.auth = verifier; h.log.page.Recovered = true })
			body := ""
			if tc.method == "POST" {
				body = `{"data":1}`
			}
			res := h.do(t, tc.method, tc.target, body, "Authorization", tc.authorization)
			if res.status != tc.status || res.header.Get("WWW-Authenticate") != tc.challenge || !strings.Contains(res.message, tc.says) {
				t.Errorf("status %d, challenge %q, message %q", res.status, res.header.Get("WWW-Authenticate"), res.message)
			}
			if tc.status == 403 && res.field != "channel" {
				t.Errorf("field %q", res.field)
			}
			if tc.status >= 400 && len(h.log.stored)+len(h.log.purged) != 0 {
				t.Error("it was done")
			}
			if strings.Contains(h.logged.String(), ann) || strings.Contains(h.logged.String(), key.Reveal()) {
				t.Error("the log has the token")
			}
			if tc.name == "JWT" && (h.log.stored[0].User != "ann" || h.log.stored[0].Publisher != "user:ann") ||
				tc.name == "key" && (h.log.stored[0].User != "" || h.log.stored[0].Publisher != "key:shop") {
				t.Errorf("stored as %+v", h.log.stored[0])
			}
		})
	}
}
