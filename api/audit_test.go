package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// auditedLine returns what the audit log says of the one request that made it, as key=value.
func auditedLine(tb testing.TB, log *bytes.Buffer) map[string]any {
	tb.Helper()
	var found map[string]any
	for line := range bytes.Lines(log.Bytes()) {
		var entry struct {
			Level, Msg string
			Audit      map[string]any
		}
		if err := json.Unmarshal(line, &entry); err != nil {
			tb.Fatalf("%v: %s", err, line)
		}
		if entry.Audit == nil {
			continue
		}
		if found != nil || entry.Msg != "control action" || entry.Level != "INFO" {
			tb.Fatalf("a line too many: %s", line)
		}
		found = entry.Audit
	}
	return found
}

// TestAuditSaysOfWhom: a line of the audit log names the key, the token or the user that it
// is about, which the path does not, in bounds, whether it was done or refused.
func TestAuditSaysOfWhom(t *testing.T) {
	long := strings.Repeat("ü", 100)                                                                    // 200 bytes
	token := "eyJhbGciOiJIUzI1NiJ9." + strings.Repeat("p", 60) + "." + strings.Repeat("s", 43) + "tail" // by mistake
	for _, tc := range []struct {
		name, method, target, body string
		outcome                    string
		noted                      map[string]any
	}{
		{"a key is made", "POST", "/v1/keys", `{"name":"shop","capabilities":{"orders:>":["publish"]}}`, "done", map[string]any{"key": "shop"}},
		{"a key is refused", "POST", "/v1/keys", `{"name":"no name\nwho=root","capabilities":{}}`, "refused", map[string]any{"key": "no name\nwho=root"}},
		{"a long name", "POST", "/v1/keys", `{"name":"` + strings.Repeat("k", 5000) + `","capabilities":{}}`, "refused", map[string]any{"key": strings.Repeat("k", 64) + "…"}},
		{"a token", "POST", "/v1/revocations", `{"token_id":"7f3a"}`, "done", map[string]any{"token_id": "7f3a"}},
		{"a user", "POST", "/v1/revocations", `{"user":"ann","reason":"hush"}`, "done", map[string]any{"user": "ann"}},
		{"a user with a long name", "POST", "/v1/revocations", `{"user":"` + long + `"}`, "done", map[string]any{"user": long}},
		{"a user, before", "POST", "/v1/revocations", `{"user":"ann","issued_before":1767225600}`, "done", map[string]any{"user": "ann", "issued_before": 1767225600.0}},
		{"everybody", "POST", "/v1/revocations", `{"issued_before":1767225600}`, "done", map[string]any{"everybody": true, "issued_before": 1767225600.0}},
		{"a token and a user", "POST", "/v1/revocations", `{"token_id":"t","user":"u"}`, "refused", map[string]any{"token_id": "t", "user": "u"}},
		{"a whole token", "POST", "/v1/revocations", `{"token_id":"` + token + `"}`, "done", map[string]any{"token_id": token[:64] + "…"}},
		{"a user again", "DELETE", "/v1/revocations?user=nobody", "", "refused", map[string]any{"user": "nobody"}},
		{"a token again", "DELETE", "/v1/revocations?token_id=7f3a", "", "refused", map[string]any{"token_id": "7f3a"}},
		{"everybody again", "DELETE", "/v1/revocations?everybody=true", "", "refused", map[string]any{"everybody": true}},
		{"a reset", "POST", "/v1/users/alice/sessions/phone-1/reset", `{"to":"now","channel":"chat:lobby"}`, "done", map[string]any{"channel": "chat:lobby"}},
		{"a key of the path", "DELETE", "/v1/keys/ci", "", "refused", map[string]any{}},
		{"a key in place of its name", "DELETE", "/v1/keys/rvk_" + strings.Repeat("k", 43), "", "refused", map[string]any{}},
		{"a key as the name of another", "POST", "/v1/keys", `{"name":"rvk_` + strings.Repeat("k", 43) + `","capabilities":{"orders:>":["publish"]}}`, "refused", map[string]any{"key": "[API key]"}},
		{"a purge", "DELETE", lobby + "?x=hush", "", "refused", map[string]any{}},
		{"a disconnect", "DELETE", "/v1/users/ann/connections?reason=hush", "", "done", map[string]any{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHarness(t, func(h *harness) { h.json = true })
			w := h.raw(h.request(tc.method, tc.target, tc.body))
			line := auditedLine(t, &h.logged)
			if line == nil {
				t.Fatalf("%d %s, and no line of the audit log", w.Code, w.Body)
			}
			if line["outcome"] != tc.outcome || line["status"] != fmt.Sprint(w.Code) || line["who"] != "anonymous" || line["request"] != w.Header().Get("X-Request-Id") ||
				!strings.HasPrefix(tc.target, strings.TrimSuffix(fmt.Sprint(line["what"]), "[API key]")) {
				t.Errorf("%d: %v", w.Code, line)
			}
			for _, name := range []string{"who", "action", "what", "from", "outcome", "status", "request"} {
				delete(line, name)
			}
			if fmt.Sprint(line) != fmt.Sprint(tc.noted) {
				t.Errorf("noted %v, want %v", line, tc.noted)
			}
			if all := h.logged.String(); strings.Contains(all, "hush") || strings.Contains(all, "tail") || strings.Contains(all, "rvk_") {
				t.Errorf("it says too much: %s", all)
			}
		})
	}
}
