package test_test

import (
	"net/http"
	"strings"
	"testing"
)

const upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// TestAttackOrigins: a page of another site gets no WebSocket, no event stream and no poll,
// however its origin is written (cross-site WebSocket hijacking).
func TestAttackOrigins(t *testing.T) {
	t.Parallel()
	f := besiege(t, `
namespaces: {t: {max_bytes: 64MiB}}
session: {origins: ["https://app.example", "https://*.sub.example:8443"]}
`, "--dev")
	defer f.stands(t, 64<<20)
	host := strings.TrimPrefix(f.url(), "http://")
	port := host[strings.LastIndexByte(host, ':'):]
	for origin, allowed := range map[string]bool{
		"https://app.example":          true,
		"HTTPS://App.Example":          true, // case means nothing
		"https://x.sub.example:8443":   true,
		"https://a.b.sub.example:8443": true,
		"http://" + host:               true, // the node's own

		"null":                                      false,
		"NULL":                                      false,
		"*":                                         false,
		"http://app.example":                        false,
		"wss://app.example":                         false,
		"https://app.example.":                      false,
		"https://app.example:444":                   false,
		"https://app.example:443":                   false, // no browser writes it
		"https://app.example:":                      false,
		"https://app.example:0x1bb":                 false,
		"https://user@app.example":                  false,
		"https://app.example@evil.example":          false,
		"https://app.example:x@evil.example":        false,
		"https://evil.example#@app.example":         false,
		"https://evil.example?https://app.example":  false,
		"https://evil.example/https://app.example":  false,
		"https://evil.example\\.app.example":        false,
		"https://evil.example%2f.app.example":       false,
		"https://app.example%00.evil.example":       false,
		"https://app.example.evil.example":          false,
		"https://evilapp.example":                   false,
		"https://x.app.example":                     false,
		"https://app.example evil.example":          false,
		"https://evil.example https://app.example":  false,
		"https://app.example, https://evil.example": false,
		"https://app.ex\u0430mple":                  false, // a Cyrillic letter
		"https://app\uff0eexample":                  false, // a fullwidth dot
		"https:app.example":                         false,
		"//app.example":                             false,
		"app.example":                               false,
		"https://":                                  false,
		"https://sub.example:8443":                  false, // is not below itself
		"https://.sub.example:8443":                 false,
		"https://evil-sub.example:8443":             false,
		"https://x.sub.example":                     false,
		"https://x.sub.example:8443.evil.example":   false,
		"https://*.sub.example:8443":                false,
		"http://127.0.0.1":                          true, // under --dev, pages of this machine
		"http://localhost" + port:                   true,
		"https://[::1]:1":                           true,
		"http://127.0.0.2" + port:                   false,
		"http://localhost.":                         false,
		"http://localhost:80:80":                    false,
		"http://localhost.evil.example:80":          false,
		"http://evil@" + host:                       false,
		"http://" + host + ".":                      false,
		"http://" + host + ".evil.example":          false,
		"http://[::ffff:127.0.0.1]" + port:          false,
		"http://2130706433" + port:                  false,
		"file://":                                   false,
		"file:///" + host:                           false,
		"data:text/html,x":                          false,
		"chrome-extension://abcdefghijklmnop":       false,
		"moz-extension://" + host:                   true, // names the node as its own host; no browser lets a page say so
	} {
		for target, more := range map[string]string{"/v1/ws": upgrade, "/v1/events?channel=t:a": "", "/v1/poll?channel=t:a&timeout=1": "Connection: close\r\n"} {
			status, head := raw(t, f.url(), "GET "+target+" HTTP/1.1\r\nHost: "+host+"\r\nOrigin: "+origin+"\r\n"+more+"\r\n")
			if let := status == http.StatusSwitchingProtocols || status == http.StatusOK; let != allowed || !let && status != http.StatusForbidden {
				t.Errorf("%s from %q: %d", target, origin, status)
			}
			if cors := head.Get("Access-Control-Allow-Origin"); !allowed && cors != "" {
				t.Errorf("%s from %q: the answer may be read by %q", target, origin, cors)
			}
			if head.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%s from %q: with credentials", target, origin)
			}
		}
	}
	// The rest of the API names no other origin either, so that no browser shows an answer, and
	// a page's request that asks nothing before (text/plain) is refused.
	for _, c := range []struct{ method, more string }{
		{"OPTIONS", "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n\r\n"},
		{"POST", "Content-Type: text/plain\r\nContent-Length: 10\r\n\r\n{\"data\":1}"},
		{"POST", "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 10\r\n\r\n{\"data\":1}"},
		{"POST", "Content-Length: 10\r\n\r\n{\"data\":1}"},
	} {
		status, head := raw(t, f.url(), c.method+" /v1/channels/t:a/messages HTTP/1.1\r\nHost: "+host+"\r\nOrigin: https://evil.example\r\n"+c.more)
		if status < 400 || head.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s %q: %d, %v", c.method, c.more, status, head)
		}
	}
}

// TestAttackRebinding: a page whose name is made to lead to this machine is of the same host
// as the node, for the browser; where nobody needs a token, only names of this machine do.
func TestAttackRebinding(t *testing.T) {
	t.Parallel()
	f := besiege(t, "namespaces: {t: {max_bytes: 64MiB}}", "--dev")
	defer f.stands(t, 64<<20)
	port := f.url()[strings.LastIndexByte(f.url(), ':'):]
	for name, allowed := range map[string]bool{
		"127.0.0.1": true, "localhost": true, "LOCALHOST": true, "[::1]": true, "app.localhost": true, "127.0.0.1.": false,
		"evil.example": false, "localhost.evil.example": false, "evillocalhost": false, "127.0.0.1.evil.example": false,
		"192.168.1.1": false, "169.254.169.254": false, "0x7f.1": false, "": false,
	} {
		for target, more := range map[string]string{
			"/v1/ws": upgrade, "/v1/events?channel=t:a": "", "/v1/channels/t:a/messages": "Connection: close\r\n", "/metrics": "Connection: close\r\n",
		} {
			status, _ := raw(t, f.url(), "GET "+target+" HTTP/1.1\r\nHost: "+name+port+"\r\nOrigin: http://"+name+port+"\r\n"+more+"\r\n")
			if let := status == http.StatusSwitchingProtocols || status == http.StatusOK; let != allowed || !let && status != http.StatusForbidden {
				t.Errorf("%s of the host %q: %d", target, name, status)
			}
		}
	}
}
