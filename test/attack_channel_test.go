package test_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// narrow is a node and a token with which chat:>, one:*, t:a/b and the user's own channel
// are allowed, and nothing else; secrets lie in other channels.
func narrow(t *testing.T) (*fortress, *visitor, string) {
	t.Helper()
	f := besiege(t, fmt.Sprintf(`
namespaces: {chat: {max_bytes: 64MiB}, chat2: {max_bytes: 64MiB}, one: {max_bytes: 64MiB}, user: {max_bytes: 64MiB}, default: {max_bytes: 64MiB}}
auth: {hmac: {secret: %s}}
`, attackSecret))
	v := visit(t, f.node)
	token := func(sub, caps string) string {
		return forged(t, "HS256", `{"alg":"HS256"}`, fmt.Sprintf(`{"sub":%q,"iat":%d,"exp":%d,"caps":%s}`, sub, time.Now().Unix(), time.Now().Add(time.Hour).Unix(), caps), []byte(attackSecret))
	}
	admin := http.Header{"Authorization": {"Bearer " + token("admin", `{"*:>":["publish"]}`)}}
	for _, channel := range []string{"chat2:x", "one:a.b", "user:e\u0301", "user:bob", "default:chat"} {
		if status, _, text := v.request(http.MethodPost, messagesPath(channel), `{"data":"the secret"}`, admin); status != http.StatusCreated {
			t.Fatalf("%s: %d %s", channel, status, text)
		}
	}
	all := `["subscribe","publish","history","presence","manage"]`
	return f, v, token("\u00e9", `{"chat:>":`+all+`,"one:*":`+all+`,"user:${sub}":`+all+`}`)
}

// TestAttackCapabilities: no way to write a channel gets out of what is allowed, at any door.
// 200 is one that is allowed, and another channel than the one it looks like.
func TestAttackCapabilities(t *testing.T) {
	t.Parallel()
	f, v, token := narrow(t)
	defer f.stands(t, 64<<20)
	_, conn := v.handshake(http.Header{"Authorization": {"Bearer " + token}})
	id := 0
	for channel, want := range map[string]int{
		"chat:x": 200, "chat:x.y": 200, "one:a": 200, "user:\u00e9": 200, // what is allowed
		"chat2:x":           403, // a longer namespace
		"one:a.b":           403, // more segments than * stands for
		"chat":              403, // default:chat
		"default:chat:x":    403, // the colon belongs to the name
		"user:bob":          403,
		"user:e\u0301":      403, // looks the same, in another normal form
		"user:E\u0301":      403,
		"user:\u00c9":       403, // in capitals
		"chat\uff1ax":       403, // a fullwidth colon is no colon
		"\u0441hat:x":       400, // a Cyrillic letter
		"chat\u200b:x":      400, // a space without width
		"CHAT:x":            400,
		" chat:x":           400,
		"chat :x":           400,
		"chat:":             400,
		":x":                400,
		"":                  400,
		"chat:.":            400,
		"chat:..":           400,
		"chat:a..b":         400,
		"chat:.a":           400,
		"chat:a.":           400,
		"chat:x/../chat2:x": 400, // empty segments
		"chat:../chat2:x":   400,
		"chat:x\x00":        400,
		"chat\x00:x":        400,
		"chat:x\r\nchat2:x": 400,
		"chat:x\u2028":      400,
		"one:a%2Eb":         200, // a segment with a percent sign
		"one:a\uff0eb":      200, // a fullwidth dot is no dot
		"one:a\\.b":         403,
		"one:a/b":           200, // a slash is no dot
		"chat:*":            400, // patterns: see below
		"chat:>":            400,
		"*:>":               400,
	} {
		for door, got := range v.doors(token, channel) {
			pattern := strings.ContainsAny(channel, "*>") && (door == "events" || door == "poll")
			if got == http.StatusCreated {
				got = http.StatusOK
			}
			noPath := channel == "" && got == http.StatusNotFound
			if got != want && !pattern && !noPath {
				t.Errorf("%q by %s: %d, want %d", channel, door, got, want)
			}
		}
		name, _ := json.Marshal(channel)
		for _, command := range []string{`"publish":{"data":1,"channel":%s}`, `"history":{"channel":%s}`, `"subscribe":{"channel":%s}`} {
			id++
			if strings.ContainsAny(channel, "*>") {
				continue
			}
			code := told(t, conn, id, fmt.Sprintf(command, name))
			if code != 0 && code != 4000+want || code == 0 && want != http.StatusOK {
				t.Errorf("%q by %s: %d, want %d", channel, command, code, want)
			}
		}
	}
	for pattern, want := range map[string]int{
		"chat:>": 0, "chat:*": 0, "chat:a.>": 0, "one:*": 0, "chat:${sub}": 0, // a channel of that name
		"one:>": 4403, "one:*.*": 4403, "one:a.*": 4403, "chat2:>": 4403, "user:*": 4403, "user:>": 4403, ">": 4403, "*": 4403,
		"*:>": 4400, "*:x": 4400, "cha*:x": 4400, "chat:>.x": 4400, "chat:a*": 4400, "chat:a.*b": 4400,
	} {
		id++
		name, _ := json.Marshal(pattern)
		code := told(t, conn, id, fmt.Sprintf(`"subscribe":{"channel":%s}`, name))
		if code != want {
			t.Errorf("pattern %s by a command: %d, want %d", pattern, code, want)
		}
		status, _, _ := v.request(http.MethodGet, "/v1/events?channel="+url.QueryEscape(pattern), "", http.Header{"Authorization": {"Bearer " + token}})
		if want == 0 && status != http.StatusOK || want != 0 && status != want-4000 {
			t.Errorf("pattern %s by an event stream: %d, want %d", pattern, status, want)
		}
	}
}

// TestAttackPaths: what stands in a path is decoded once, and never resolved.
func TestAttackPaths(t *testing.T) {
	t.Parallel()
	f, _, token := narrow(t)
	defer f.stands(t, 64<<20)
	for target, want := range map[string]int{
		"/v1/channels/chat%3Ax/messages":                      200,
		"/v1/channels/one:a%252Eb/messages":                   200, // one:a%2Eb
		"/v1/channels/chat2%3Ax/messages":                     403,
		"/v1/channels/one:a%2Eb/messages":                     403,
		"/v1/channels/one:a%2eb/messages":                     403,
		"/v1/channels/chat:%00/messages":                      400,
		"/v1/channels/chat%00:x/messages":                     400,
		"/v1/channels/chat:x%0d%0aX-Injected:%201/messages":   400,
		"/v1/channels/chat:%c0%ae/messages":                   400, // a dot, longer than it may be
		"/v1/channels/one:a%c0%aeb/messages":                  400,
		"/v1/channels/chat:%ff/messages":                      400,
		"/v1/channels/chat:%ed%a0%80/messages":                400, // half a surrogate
		"/v1/channels/chat:x%2F..%2F..%2Fchat2:x/messages":    400,
		"/v1/channels/%2e%2e%2fchat2:x/messages":              400,
		"/v1/channels/%2e%2e/messages":                        400,
		"/v1/channels/chat:x/../chat2:x/messages":             404,
		"/v1/channels/chat:x/messages/../../chat2:x/messages": 404,
		"/v1/channels/./chat2:x/messages":                     404,
		"/v1/channels//chat2:x/messages":                      404,
		"/v1/channels/chat2:x/messages/":                      404,
		"/v1/channels/chat:x;/../chat2:x/messages":            404,
		"/v1/./channels/chat2:x/messages":                     404,
		"//v1/channels/chat2:x/messages":                      404,
		"/V1/channels/chat2:x/messages":                       404,
		"/v1%2Fchannels%2Fchat2:x%2Fmessages":                 404,
		"/../../../../etc/passwd":                             404,
		"/%2e%2e/%2e%2e/%2e%2e/etc/passwd":                    404,
		"/..%2f..%2f..%2fetc%2fpasswd":                        404,
		"/..\\..\\..\\etc\\passwd":                            404,
		"/v1/events?channel=chat:x&channel=chat2:x":           403,
		"/v1/events?channel=chat%253Ax":                       403, // default:chat%3Ax
		"/v1/events?channel=chat:x;channel=chat2:x":           400,
		"/v1/events?channel=%zz":                              400,
		"/v1/poll?channel=chat:x&channel=chat2:x&timeout=1":   403,
		"/v1/poll?channel=chat:x%00":                          400,
	} {
		status, head := raw(t, f.url(), "GET "+target+" HTTP/1.1\r\nHost: node\r\nConnection: close\r\nAuthorization: Bearer "+token+"\r\n\r\n")
		if status != want {
			t.Errorf("%s: %d, want %d", target, status, want)
		}
		if head.Get("X-Injected") != "" || head.Get("Location") != "" {
			t.Errorf("%s: answered with the header %v", target, head)
		}
	}
}
