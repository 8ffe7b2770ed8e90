package sse_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/internal/hubtest"
)

func TestRefusals(t *testing.T) {
	tokens := hubtest.Tokens{Known: map[string]auth.Claims{
		"ann": hubtest.May(t, "ann", map[string][]auth.Action{"chat:>": {auth.Subscribe}, "nope:>": {auth.Subscribe}}),
	}}
	two := tokens.Known["ann"]
	two.Limits.Subscriptions = 2
	tokens.Known["two"] = two
	n := start(t, false, nil, tokens)
	n.hub.Fail("nope:x", fanout.ErrUnknownNamespace)
	n.hub.Fail("chat:away", fanout.ErrUnavailable)
	many := strings.Repeat("&channel=chat:x", 40)
	for i := range 40 {
		many = strings.Replace(many, "chat:x&", fmt.Sprintf("chat:y%d&", i), 1)
	}
	for _, tc := range []struct {
		name, query string
		header      http.Header
		status      int
		message     string
	}{
		{"no token", "channel=chat:a", nil, 401, "token"},
		{"bad token", "channel=chat:a&token=wrong", nil, 401, "token"},
		{"not allowed", "channel=other:a&token=ann", nil, 403, "other:a"},
		{"one of two not allowed", "channel=chat:a&channel=other:a&token=ann", nil, 403, "other:a"},
		{"wider than allowed", "channel=*&token=ann", nil, 403, "channel"},
		{"unknown namespace", "channel=nope:x&token=ann", nil, 404, "channel"},
		{"one of two unknown", "channel=chat:a&channel=nope:x&token=ann", nil, 404, "channel"},
		{"no channel", "token=ann", nil, 400, "channel"},
		{"empty channel", "channel=&token=ann", nil, 400, "channel"},
		{"too many channels", "token=ann" + many, nil, 400, "32"},
		{"more than the token's limit", "channel=chat:a&channel=chat:b&channel=chat:c&token=two", nil, 403, "may have 2 subscriptions"},
		{"as many as the token's limit", "channel=chat:a&channel=chat:away&token=two", nil, 503, "the log cannot be reached"},
		{"pattern and more", "channel=chat:%3E&channel=chat:a&token=ann", nil, 400, "pattern"},
		{"bad last", "channel=chat:a&last=x&token=ann", nil, 400, "last"},
		{"last zero", "channel=chat:a&last=0&token=ann", nil, 400, "last"},
		{"last too large", "channel=chat:a&last=1001&token=ann", nil, 400, "last"},
		{"bad since", "channel=chat:a&since=-1&token=ann", nil, 400, "since"},
		{"last and since", "channel=chat:a&since=1&last=1&token=ann", nil, 400, "last"},
		{"position and last", "channel=chat:a&position=hubtestA-1-1&last=1&token=ann", nil, 400, "position"},
		{"bad position", "channel=chat:a&position=x&token=ann", nil, 400, "position"},
		{"unknown parameter", "channel=chat:a&limt=5&token=ann", nil, 400, "limt: is not a known parameter; the parameters are channel, last"},
		{"misspelt channel", "chanel=chat:a&token=ann", nil, 400, "chanel: is not a known parameter"},
		{"last twice", "channel=chat:a&last=5&last=6&token=ann", nil, 400, "last: is given more than once"},
		{"bad query", "channel=%zz&token=ann", nil, 400, "query"},
		{"bad Last-Event-ID", "channel=chat:a&token=ann", http.Header{"Last-Event-Id": {"x"}}, 400, "Last-Event-ID"},
		{"long Last-Event-ID", "channel=chat:a&token=ann", http.Header{"Last-Event-Id": {strings.Repeat("x", 5000)}}, 400, "4096"},
		{"other origin", "channel=chat:a&token=ann", http.Header{"Origin": {"https://evil.example"}}, 403, "Origin"},
		{"log away", "channel=chat:away&token=ann", nil, 503, "the log cannot be reached; try again"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := n.get(t, tc.query, tc.header)
			raw, err := io.ReadAll(s.Body)
			if err != nil {
				t.Fatal(err)
			}
			var body struct {
				Code    int
				Message string
				Data    struct{ Field string }
			}
			if err := json.Unmarshal(raw, &body); err != nil {
				t.Fatalf("%v in %q", err, raw)
			}
			if s.StatusCode != tc.status || body.Code != tc.status || !strings.Contains(body.Message, tc.message) {
				t.Errorf("got %d %s, want %d and %q", s.StatusCode, raw, tc.status, tc.message)
			}
			if field := body.Data.Field; field == "" && tc.status != 503 || field != "" && !strings.HasPrefix(body.Message, field+": ") {
				t.Errorf("data.field is %q in %s", field, raw)
			}
			if (s.StatusCode == http.StatusServiceUnavailable) != (s.Header.Get("Retry-After") != "") {
				t.Errorf("Retry-After %q with %d", s.Header.Get("Retry-After"), s.StatusCode)
			}
		})
	}
	if n.registry.Len() != 0 || n.hub.Clients() != 0 {
		t.Errorf("%d connections and %d clients are left", n.registry.Len(), n.hub.Clients())
	}
}

// TestBrowsersComeBack: an EventSource takes 503 for final, so it gets a stream.
func TestBrowsersComeBack(t *testing.T) {
	n := start(t, false, func(c *session.Config) { c.MaxConnections = 1; c.CommandTimeout = 50 * time.Millisecond }, open())
	n.hub.Fail("chat:away", fanout.ErrUnavailable)
	n.hub.Fail("chat:silent", nil)
	browser := http.Header{"Accept": {"text/event-stream"}}
	wantTold := func(query, code string) {
		t.Helper()
		s := n.get(t, query, browser)
		ev, ok := s.next()
		if s.StatusCode != http.StatusOK || !ok || ev.name != "disconnect" || ev.retry == "" || !strings.Contains(ev.data, code) || ev.id != "" {
			t.Errorf("got %s %+v", s.Status, ev)
		}
		if ev, ok := s.next(); ok {
			t.Errorf("%+v after the disconnect", ev)
		}
	}
	wantTold("channel=chat:away", "4004")
	wantTold("channel=chat:silent", "4004")
	s := n.open(t, "channel=chat:a", browser)
	s.want("subscribed", "chat:a")
	wantTold("channel=chat:a", "4003")
	if got := n.get(t, "channel=chat:a", nil); got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" {
		t.Errorf("others get %s", got.Status)
	}
	if got := n.get(t, "channel=", browser); got.StatusCode != http.StatusBadRequest {
		t.Errorf("a bad request gets %s; to come back would not help", got.Status)
	}
}
