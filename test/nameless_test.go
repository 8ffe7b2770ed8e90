package test_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

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
		return refusalOf(n.call(http.MethodGet, messagesPath("t:a")+"?limit=150", nil, nil))
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

// TestPollsArePacedWithoutLoss: all polls of a caller together get what one connection may,
// whole and in order, and one that may get nothing yet is told where to go on.
func TestPollsArePacedWithoutLoss(t *testing.T) {
	t.Parallel()
	const messages, size, rate = 40, 1000, 16 << 10
	cfg := localConfig(t)
	cfg.Limits.OutboundBytes = rate
	n := startLocal(t, cfg)
	at := n.publish("t:a", "first")
	for i := range messages {
		n.publish("t:a", fmt.Sprintf("%03d%s", i, strings.Repeat("x", size)))
	}
	begin, polls, next := time.Now(), 0, 0
	for next < messages {
		timeout := "10"
		if polls%2 == 1 {
			timeout = "0" // which finds that it may get nothing yet
		}
		p := n.poll("channel=t:a&timeout="+timeout, at)
		polls++
		bytes := 0
		for _, m := range p.Messages {
			if got := string(m.Data[1:4]); got != fmt.Sprintf("%03d", next) {
				t.Fatalf("message %s, want %d", got, next)
			}
			next++
			bytes += len(m.Data)
		}
		if bytes > rate+size || !p.Recovered || len(p.Messages) == 0 && (!p.More || p.Position != at || timeout == "10") {
			t.Errorf("%d bytes in an answer: recovered %v, more %v, from %s to %s", bytes, p.Recovered, p.More, at, p.Position)
		}
		at = p.Position
	}
	if took := time.Since(begin); took < time.Second {
		t.Errorf("40 KB came within %v, of 16 KiB a second", took)
	}
	if polls > messages {
		t.Errorf("%d polls", polls)
	}
}
