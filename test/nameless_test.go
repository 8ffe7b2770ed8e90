package test_test

import (
	"net/http"
	"testing"

	"github.com/rivulet-rt/rivulet/protocol"
)

// TestNamelessReadsAreLimited: who has no name may read as much as one caller may from their
// address, over HTTP, event streams and polls together; from another address is another.
func TestNamelessReadsAreLimited(t *testing.T) {
	t.Parallel()
	cfg := localConfig(t)
	cfg.Limits.Exempt = nil
	cfg.Limits.ReadsPerCaller = 100 // 400 at once
	n := startLocal(t, cfg)
	n.publish("t:a", 1)
	history := func() refusal {
		return refusalOf(n.site.call(http.MethodGet, messagesPath("t:a")+"?limit=150", nil, nil))
	}
	for name, read := range map[string]func() refusal{
		"history": history,
		"events":  func() refusal { return overHTTP(n.site, "/v1/events?last=150", "t:a") },
		"poll":    func() refusal { return overHTTP(n.site, "/v1/poll?timeout=0&last=150", "t:a") },
	} {
		last := refusal{}
		for range 20 {
			if last = read(); last.code != 0 {
				break
			}
		}
		if last.code != 4429 {
			t.Errorf("%s: %+v after 20 reads of 150 messages, of 100 a second", name, last)
		}
	}
	k := &socket{Conn: dialFrom(t, n, "127.0.0.9"), t: t}
	k.subscribe(protocol.SubscribeCommand{Channel: "t:a", Last: 150})
}

func refusalOf(a response) refusal {
	if a.status == http.StatusOK {
		return refusal{}
	}
	return refusal{4000 + a.status, a.Message}
}
