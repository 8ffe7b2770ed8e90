package websocket_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	gorilla "github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/session"
)

func TestHandshake(t *testing.T) {
	n := start(t, func(c *session.Config) { c.Origins = []string{"https://app.example", "https://*.wild.example"} }, tokens(t))
	host := strings.TrimPrefix(n.url, "ws://")
	for _, tc := range []struct {
		name        string
		header      http.Header
		query       string
		status      int
		subprotocol string
		message     string // part of it
	}{
		{name: "nothing special", status: 101},
		{name: "json", header: http.Header{"Sec-Websocket-Protocol": {"rivulet.v1.json"}}, status: 101, subprotocol: "rivulet.v1.json"},
		{name: "json among others", header: http.Header{"Sec-Websocket-Protocol": {"mqtt, rivulet.v1.json"}}, status: 101, subprotocol: "rivulet.v1.json"},
		{name: "unknown subprotocols", header: http.Header{"Sec-Websocket-Protocol": {"mqtt, wamp"}}, status: 400, message: "offer rivulet.v1.json"},
		{name: "protobuf", header: http.Header{"Sec-Websocket-Protocol": {"rivulet.v1.protobuf"}}, status: 101, subprotocol: "rivulet.v1.protobuf"},
		{name: "what the client would rather have", header: http.Header{"Sec-Websocket-Protocol": {"rivulet.v1.protobuf, rivulet.v1.json"}}, status: 101, subprotocol: "rivulet.v1.protobuf"},
		{name: "own host", header: http.Header{"Origin": {"http://" + host}}, status: 101},
		{name: "allowed origin", header: http.Header{"Origin": {"https://app.example"}}, status: 101},
		{name: "allowed origin in capitals", header: http.Header{"Origin": {"HTTPS://App.Example"}}, status: 101},
		{name: "allowed subdomain", header: http.Header{"Origin": {"https://a.b.wild.example"}}, status: 101},
		{name: "other scheme", header: http.Header{"Origin": {"http://app.example"}}, status: 403, message: "http://app.example"},
		{name: "other port", header: http.Header{"Origin": {"https://app.example:8443"}}, status: 403},
		{name: "no subdomain", header: http.Header{"Origin": {"https://wild.example"}}, status: 403},
		{name: "name that ends alike", header: http.Header{"Origin": {"https://evilwild.example"}}, status: 403},
		{name: "longer name", header: http.Header{"Origin": {"https://app.example.evil.example"}}, status: 403},
		{name: "null origin", header: http.Header{"Origin": {"null"}}, status: 403},
		{name: "good token", header: http.Header{"Authorization": {"bearer ann"}}, status: 101},
		{name: "bad token", header: http.Header{"Authorization": {"Bearer wrong"}}, status: 401, message: "token"},
		{name: "bad token in the query", query: "?token=wrong", status: 401, message: "token"},
		{name: "expired token", query: "?token=expired", status: 401, message: "expired"},
		{name: "broken verifier", query: "?token=broken", status: 500, message: "internal error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conn, resp, err := gorilla.DefaultDialer.DialContext(t.Context(), n.url+tc.query, tc.header)
			if resp == nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != tc.status {
				t.Fatalf("status %d, want %d", resp.StatusCode, tc.status)
			}
			if err == nil {
				if conn.Subprotocol() != tc.subprotocol {
					t.Errorf("subprotocol %q, want %q", conn.Subprotocol(), tc.subprotocol)
				}
				_ = conn.Close()
				return
			}
			wantRefusal(t, resp, tc.message)
			if tc.status == 401 && resp.Header.Get("WWW-Authenticate") == "" {
				t.Error("401 without WWW-Authenticate")
			}
		})
	}
}

// wantRefusal checks the JSON body of a refused handshake.
func wantRefusal(tb testing.TB, resp *http.Response, message string) {
	tb.Helper()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	var body map[string]any
	if err := json.Unmarshal(raw, &body); err != nil {
		tb.Fatalf("%v in %q", err, raw)
	}
	text, _ := body["message"].(string)
	if body["code"] != float64(resp.StatusCode) || text == "" || !strings.Contains(text, message) {
		tb.Errorf("body %s, want code %d and %q", raw, resp.StatusCode, message)
	}
	if data, ok := body["data"]; !ok {
		tb.Errorf("body %s has no data", raw)
	} else if fields, ok := data.(map[string]any); data != nil {
		_, temporary := fields["retry_after_ms"]
		if !ok || !temporary && !strings.HasPrefix(text, fmt.Sprint(fields["field"], ": ")) {
			tb.Errorf("body %s, want data null, when to try again, or the field that the message begins with", raw)
		}
		if temporary != (resp.Header.Get("Retry-After") != "") {
			tb.Errorf("body %s, Retry-After %q: want both or none", raw, resp.Header.Get("Retry-After"))
		}
	}
	if strings.Contains(text, "secretly") {
		tb.Errorf("the text of an internal error got out: %s", raw)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/json" {
		tb.Errorf("content type %q", got)
	}
}

// TestNotAHandshake sends requests that no WebSocket library would.
func TestNotAHandshake(t *testing.T) {
	n := start(t, nil, open())
	upgrade := http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	for _, tc := range []struct {
		name   string
		method string
		change func(http.Header)
		status int
		header string // that the answer must have
	}{
		{"plain GET", http.MethodGet, func(h http.Header) { clear(h) }, 426, "Upgrade"},
		{"POST", http.MethodPost, func(http.Header) {}, 405, ""},
		{"old version", http.MethodGet, func(h http.Header) { h.Set("Sec-Websocket-Version", "8") }, 400, "Sec-Websocket-Version"},
		{"bad key", http.MethodGet, func(h http.Header) { h.Set("Sec-Websocket-Key", "x") }, 400, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tc.method, "http"+strings.TrimPrefix(n.url, "ws"), bytes.NewReader(nil))
			if err != nil {
				t.Fatal(err)
			}
			req.Header = upgrade.Clone()
			tc.change(req.Header)
			resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != tc.status {
				t.Errorf("status %d, want %d", resp.StatusCode, tc.status)
			}
			wantRefusal(t, resp, "")
			if tc.header != "" && resp.Header.Get(tc.header) == "" {
				t.Errorf("the answer has no %s", tc.header)
			}
		})
	}
	if n.registry.Len() != 0 {
		t.Errorf("%d connections are counted", n.registry.Len())
	}
}

func TestConnectionLimit(t *testing.T) {
	n := start(t, func(c *session.Config) { c.MaxConnections = 2 }, open())
	first := n.dial(t, "", nil)
	n.dial(t, "", nil)
	_, resp, err := gorilla.DefaultDialer.DialContext(t.Context(), n.url, nil)
	if err == nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("a third connection: %v", err)
	}
	defer resp.Body.Close()
	wantRefusal(t, resp, "connections")
	if resp.Header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	_ = first.Close()
	for {
		conn, resp, err := gorilla.DefaultDialer.DialContext(t.Context(), n.url, nil)
		if err == nil {
			_ = conn.Close()
			resp.Body.Close()
			break
		}
		if resp == nil || !slices.Contains([]int{503}, resp.StatusCode) {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
}
