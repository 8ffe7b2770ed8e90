package test_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/cmd"
	"github.com/rivulet-rt/rivulet/protocol"
)

// The log cannot take what is published: the node says exactly what is known.

// TestPublishWhileTheLogIsDown: refusals are true, connections stay, and all goes on
// as if nothing had been when the log is back.
func TestPublishWhileTheLogIsDown(t *testing.T) {
	t.Parallel()
	log := startLog(t)
	n := startLocal(t, remoteConfig(t, log.url()))
	sub := n.socket().follow(protocol.SubscribeCommand{Channel: "t:a"})
	k := n.socket()
	n.publish("t:a", 1)
	log.stop()
	next := 1
	eventually(t, "a publish to be refused", func() bool {
		next++
		r := n.post("t:a", next, "")
		if r.status != http.StatusServiceUnavailable && r.status != http.StatusGatewayTimeout {
			t.Fatalf("published without a log: %d %s", r.status, r.Message)
		}
		return r.status == http.StatusServiceUnavailable
	})
	for _, r := range []response{
		n.post("t:a", "refused", ""),
		n.post("t:a", "refused", "key"),
		n.call(http.MethodDelete, messagesPath("t:a"), nil, nil),
	} {
		if r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" || !strings.Contains(r.Message, "nothing was stored") {
			t.Errorf("without a log: %d, Retry-After %q, %s", r.status, r.header.Get("Retry-After"), r.Message)
		}
	}
	if r := n.call(http.MethodPost, "/v1/messages", nil, []byte(`{"messages":[{"channel":"t:a","data":"refused"}]}`)); r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" {
		t.Errorf("a batch without a log: %d %s", r.status, r.Message)
	}
	if r := n.call(http.MethodGet, "/readyz", nil, nil); r.status != http.StatusServiceUnavailable {
		t.Errorf("ready without a log: %d %s", r.status, r.Message)
	}
	if r := n.call(http.MethodGet, "/healthz", nil, nil); r.status != http.StatusOK {
		t.Errorf("not alive without a log: %d %s", r.status, r.Message)
	}
	asked := map[uint64]string{ // the first waits for a while, in case the log comes back
		k.send(protocol.Command{Subscribe: &protocol.SubscribeCommand{Channel: "t:new"}}):                               "subscribe",
		k.send(protocol.Command{Publish: &protocol.PublishCommand{Channel: "t:a", Data: json.RawMessage(`"refused"`)}}): "publish",
		k.send(protocol.Command{History: &protocol.HistoryCommand{Channel: "t:a"}}):                                     "history",
	}
	if r := n.call(http.MethodGet, "/v1/events?channel=t:new", nil, nil); r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" {
		t.Errorf("an event stream without a log: %d %s", r.status, r.Message)
	}
	for range asked {
		if ev := k.next(); ev.Error == nil || ev.Error.Code != protocol.ErrorUnavailable || !ev.Error.Temporary || ev.Error.RetryAfterMS == 0 {
			t.Errorf("%s without a log: %s", asked[ev.ID], shown(ev))
		}
	}
	log.start()
	n.healed()
	n.publish("t:a", "end")
	sub.readTo(`"end"`) // on the connection that was there all the time
	if got := n.history("t:a", "").String(); got != sub.seen.String() || slices.Contains(sub.seen, `"refused"`) {
		t.Errorf("the subscriber was told\n%s\nand the log has\n%s", sub.seen, got)
	}
	k.subscribe(protocol.SubscribeCommand{Channel: "t:new"})
}

// TestLostAcknowledgement: a message is stored and nobody hears of it.
func TestLostAcknowledgement(t *testing.T) {
	t.Parallel()
	log := startLog(t)
	p := startProxy(t, log.address())
	n := startLocal(t, remoteConfig(t, p.url()))
	js := log.js()
	stream, err := js.Stream(t.Context(), "CH_t_1_0")
	if err != nil {
		t.Fatal(err)
	}
	sub := n.socket().follow(protocol.SubscribeCommand{Channel: "t:a"})
	k := n.socket()
	overWebSocket := func(data, key string) protocol.Event {
		k.send(protocol.Command{Publish: &protocol.PublishCommand{Channel: "t:a", Data: json.RawMessage(data), IdempotencyKey: key}})
		return k.reply()
	}
	// lose runs a publish whose acknowledgement is lost.
	lose := func(stored uint64, publish func()) {
		p.silence()
		done := make(chan struct{})
		go func() {
			defer close(done)
			publish()
		}()
		eventually(t, "the message to be stored", func() bool {
			info, err := stream.Info(t.Context())
			return err == nil && info.State.LastSeq == stored
		})
		p.refuse()
		<-done
		p.flow()
		eventually(t, "the node to publish again", func() bool { return n.post("other:a", 0, "").status == http.StatusCreated })
	}
	var keyed, plain response
	lose(1, func() { keyed = n.post("t:a", 1, "k1") })
	lose(2, func() { plain = n.post("t:a", 2, "") })
	var ws protocol.Event
	lose(3, func() { ws = overWebSocket("3", "k3") })

	for what, r := range map[string]response{"same idempotency key": keyed, "may store it twice": plain} {
		if r.status != http.StatusGatewayTimeout || !strings.Contains(r.Message, "may or may not be stored") || !strings.Contains(r.Message, what) {
			t.Errorf("%d %s, want 504 that says %q", r.status, r.Message, what)
		}
	}
	var data struct {
		RetryUntil int64 `json:"retry_until"`
	}
	keyed.into(t, &data)
	if keyed.header.Get("Retry-After") == "" || data.RetryUntil == 0 || plain.header.Get("Retry-After") != "" {
		t.Errorf("Retry-After %q until %d, and %q without a key", keyed.header.Get("Retry-After"), data.RetryUntil, plain.header.Get("Retry-After"))
	}
	if ws.Error == nil || ws.Error.Code != protocol.ErrorOutcomeUnknown || !ws.Error.Temporary {
		t.Errorf("over WebSocket: %s", shown(ws))
	}
	// The retry that the errors speak of.
	eventually(t, "the retry to have an answer", func() bool {
		r := n.post("t:a", 1, "k1")
		if r.status == http.StatusCreated && !n.stored(r).Duplicate {
			t.Errorf("the retry was stored again: %s", r.Data)
		}
		return r.status == http.StatusCreated
	})
	eventually(t, "the retry over WebSocket to have an answer", func() bool {
		ev := overWebSocket("3", "k3")
		if ev.Published != nil && !ev.Published.Duplicate {
			t.Errorf("the retry was stored again: %s", shown(ev))
		}
		return ev.Published != nil
	})
	n.publish("t:a", 4)
	sub.readTo(4)
	sub.told("a subscriber", "1 2 3 4")
	if got := n.history("t:a", "").String(); got != "1 2 3 4" {
		t.Errorf("the log has %s", got)
	}
}

// TestNewerTopology: a log that a later version has set up is not touched.
func TestNewerTopology(t *testing.T) {
	t.Parallel()
	log := startLog(t)
	n := startLocal(t, remoteConfig(t, log.url()))
	n.publish("t:a", 1)
	n.stop()
	kv, err := log.js().KeyValue(t.Context(), "RIVULET_TOPOLOGY")
	if err != nil {
		t.Fatal(err)
	}
	const newer = `{"version":999,"applied":[]}`
	if _, err := kv.PutString(t.Context(), "topology", newer); err != nil {
		t.Fatal(err)
	}
	n2, err := cmd.New(remoteConfig(t, log.url()), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	err = n2.Start(bounded(t))
	if err == nil || !strings.Contains(err.Error(), "newer than this program") || !strings.Contains(err.Error(), "version 999") {
		t.Errorf("start: %v", err)
	}
	if err := n2.Stop(context.WithoutCancel(t.Context())); err != nil {
		t.Errorf("stop: %v", err)
	}
	var out, stderr strings.Builder
	args := []string{"serve", "--dev", "--listen", "127.0.0.1:0", "--nats-url", log.url()}
	code := cmd.Main(bounded(t), args, cmd.Streams{Out: &out, Err: &stderr})
	if code != cmd.ExitFailed || !strings.Contains(stderr.String(), "version 999") {
		t.Errorf("serve: exit code %d:\n%s", code, stderr.String())
	}
	if entry, err := kv.Get(t.Context(), "topology"); err != nil || string(entry.Value()) != newer {
		t.Errorf("the record is now %v, %v", entry, err)
	}
	stream, err := log.js().Stream(t.Context(), "CH_t_1_0")
	if err != nil || stream.CachedInfo().State.Msgs != 1 {
		t.Errorf("the log: %+v, %v", stream, err)
	}
}

// TestRetriesStoreOnce: a retry after every kind of refusal, until it is
// taken, stores a message once.
func TestRetriesStoreOnce(t *testing.T) {
	t.Parallel()
	log := startLog(t)
	p := startProxy(t, log.address())
	n := startLocal(t, remoteConfig(t, p.url()))
	answers := map[int]int{}
	for i := 1; i <= 60; i++ {
		switch i % 15 {
		case 3:
			p.reset()
		case 6:
			p.refuse()
		case 9:
			log.stop()
			log.start()
		}
		eventually(t, "a message to be stored", func() bool {
			r := n.post("t:a", i, fmt.Sprint("key-", i))
			answers[r.status]++
			switch r.status {
			case http.StatusServiceUnavailable, http.StatusGatewayTimeout:
				p.flow()
			case http.StatusCreated:
				return true
			default:
				t.Fatalf("publish %d: %d %s", i, r.status, r.Message)
			}
			return false
		})
	}
	if got := n.history("t:a", "").String(); got != numbers(1, 60) {
		t.Errorf("the log has %s", got)
	}
	if answers[http.StatusServiceUnavailable]+answers[http.StatusGatewayTimeout] == 0 {
		t.Errorf("nothing was ever refused: %v", answers)
	}
}
