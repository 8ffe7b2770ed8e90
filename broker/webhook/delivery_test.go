package webhook_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/broker/webhook"
	"github.com/rivulet-rt/rivulet/fanout"
)

func TestPublishedMessagesAreDelivered(t *testing.T) {
	rcv := receive(t, nil)
	n := run(t, brokerConfig(t), quick(hook(t, "a", rcv.URL, webhook.MessagePublished)))
	p := &fanout.Publication{
		Channel: patterns(t, "chat:lobby")[0], Data: []byte(`{"text":"<hi> & ü"}`), Key: "k1", User: "ann", Client: "c1",
		Headers: map[string]string{"x": "y"},
	}
	r, err := n.broker.Publish(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.broker.Publish(t.Context(), &fanout.Publication{Channel: patterns(t, "chat:bytes")[0], Data: []byte{0, 255}, Binary: true}); err != nil {
		t.Fatal(err)
	}
	n.publish(t, "default:else", 0, 1)
	got := rcv.await(2)
	at := slices.IndexFunc(got, func(e webhook.Event) bool { return e.Channel == "chat:lobby" })
	e := got[at]
	m := e.Message
	if e.Type != webhook.MessagePublished || e.ID == "" || e.Time != m.Time || m.Offset != r.Position.Offset || m.Position != r.Position.String() ||
		m.ID != "k1" || m.User != "ann" || m.Client != "c1" || m.Headers["x"] != "y" || string(m.Data) != `{"text":"<hi> & ü"}` {
		t.Errorf("%+v, message %+v", e, m)
	}
	if b := got[1-at].Message; string(b.Bytes) != "\x00\xff" || b.Data != nil {
		t.Errorf("bytes: %+v", b)
	}
	if _, err := n.broker.Purge(t.Context(), p.Channel); err != nil {
		t.Fatal(err)
	}
	n.publish(t, "chat:lobby", 0, 1)
	if got := rcv.await(3); len(got) != 3 { // the purge's marker is no message
		t.Errorf("%d events", len(got))
	}
}

// Whatever goes wrong, every message arrives, those of a channel in order and one
// request at a time.
func TestOrderUnderFailures(t *testing.T) {
	rcv := receive(t, func(attempt int, _ []webhook.Event, w http.ResponseWriter) {
		switch rand.IntN(6) {
		case 0:
			w.WriteHeader(http.StatusInternalServerError)
		case 1:
			time.Sleep(150 * time.Millisecond) //nolint:forbidigo // longer than the sender waits
		case 2:
			w.WriteHeader(http.StatusFound)
		}
	})
	h := hook(t, "a", rcv.URL, webhook.MessagePublished)
	h.Batch, h.Timeout = 7, 100*time.Millisecond
	n := run(t, brokerConfig(t), quick(h))
	const channels, each = 10, 40
	for i := range channels {
		n.publish(t, fmt.Sprintf("chat:%d", i), 0, each)
	}
	inOrder(t, rcv.await(channels*each), each)
	if n.counter(t, "rivulet_webhook_retries_total", "a") == 0 {
		t.Error("nothing was sent again")
	}
	eventually(t, 5*time.Second, func() (bool, string) {
		list, err := n.Status(t.Context())
		return err == nil && list[0].Lag == 0 && list[0].LastError != "", fmt.Sprintf("%+v, %v", list, err)
	})
}

func TestSlowWebhookDelaysOnlyItself(t *testing.T) {
	release := make(chan struct{})
	slow := receive(t, func(int, []webhook.Event, http.ResponseWriter) { <-release })
	defer close(release)
	fast := receive(t, nil)
	h := hook(t, "slow", slow.URL, webhook.MessagePublished)
	h.Concurrency = 1
	n := run(t, brokerConfig(t), quick(h, hook(t, "fast", fast.URL, webhook.MessagePublished)))
	n.publish(t, "chat:a", 0, 500)
	inOrder(t, fast.await(500), 500)
	if len(slow.events()) != 0 {
		t.Error("the slow one has taken something")
	}
}

func TestDeadLetters(t *testing.T) {
	rcv := receive(t, func(_ int, events []webhook.Event, w http.ResponseWriter) {
		for _, e := range events {
			if e.Channel == "chat:bad" {
				w.WriteHeader(http.StatusBadRequest)
			}
		}
	})
	h := hook(t, "a", rcv.URL, webhook.MessagePublished)
	h.Channels = append(h.Channels, patterns(t, "default:>")...)
	cfg := brokerConfig(t)
	cfg.Namespaces[1].Partitions = 1
	n := run(t, cfg, quick(h))
	n.publish(t, "chat:good", 0, 10)
	n.publish(t, "chat:bad", 0, 1)
	n.publish(t, "chat:good", 10, 10)
	inOrder(t, rcv.await(20), 20) // of the refused batches the good part, then the rest
	eventually(t, 5*time.Second, func() (bool, string) {
		dead := n.counter(t, "rivulet_webhook_dead_total", "a")
		return dead == 1, fmt.Sprint(dead, " dead")
	})
	src, err := n.broker.Locate(t.Context(), h.DeadLetters)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := n.broker.Read(t.Context(), fanout.Query{Source: fanout.Source{Stream: src[0], Filter: h.DeadLetters}, Limit: 10})
	if err != nil || len(batch.Messages) != 1 {
		t.Fatalf("%d letters, %v", len(batch.Messages), err)
	}
	letter := batch.Messages[0]
	if letter.Headers["webhook"] != "a" || letter.Headers["status"] != "400" || letter.ID == "" {
		t.Errorf("letter %+v", letter.Headers)
	}
	for _, e := range rcv.events() { // nor is it told of its own dead letters
		if e.Channel == h.DeadLetters.String() {
			t.Error("the dead letter was delivered")
		}
	}
}

// Which answers are about the event: those make it a dead letter when it was refused
// alone three times, the others not before it is too old.
func TestRefusedForGood(t *testing.T) {
	for status, refused := range map[int]bool{
		400: true, 413: true, 422: true, 401: false, 404: false, 408: false, 425: false, 429: false,
	} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			rcv := receive(t, func(attempt int, events []webhook.Event, w http.ResponseWriter) {
				if events[0].Channel == "chat:bad" && (refused || attempt <= 8) {
					w.WriteHeader(status)
				}
			})
			cfg := brokerConfig(t)
			cfg.Namespaces[1].Partitions = 1
			h := hook(t, "a", rcv.URL, webhook.MessagePublished)
			h.Batch = 1
			n := run(t, cfg, quick(h))
			n.publish(t, "chat:bad", 0, 1)
			n.publish(t, "chat:good", 0, 1)
			eventually(t, 20*time.Second, func() (bool, string) {
				got := types(rcv.events(), "chat:good")
				return len(got) == 1, fmt.Sprint("the good one waits; ", got)
			})
			rcv.mu.Lock()
			requests := rcv.requests
			rcv.mu.Unlock()
			dead, want := n.counter(t, "rivulet_webhook_dead_total", "a"), 8+2
			if refused {
				want = webhook.LeastAttempts + 1
			}
			if (dead == 1) != refused || requests != want {
				t.Errorf("%v dead letters, %d requests, want %d", dead, requests, want)
			}
		})
	}
}

// An event that is too old before anybody could take it is sent three times all the same.
func TestTooOldIsSentThreeTimes(t *testing.T) {
	rcv := receive(t, func(attempt int, _ []webhook.Event, w http.ResponseWriter) {
		if attempt == 1 {
			time.Sleep(1100 * time.Millisecond) //nolint:forbidigo // until it is too old
		}
		w.WriteHeader(http.StatusInternalServerError)
	})
	h := hook(t, "a", rcv.URL, webhook.MessagePublished)
	h.MaxAge = time.Second
	n := run(t, brokerConfig(t), quick(h))
	n.publish(t, "chat:a", 0, 1)
	eventually(t, 20*time.Second, func() (bool, string) {
		return n.counter(t, "rivulet_webhook_dead_total", "a") == 1, "no dead letter"
	})
	rcv.mu.Lock()
	defer rcv.mu.Unlock()
	if rcv.requests != webhook.LeastAttempts {
		t.Errorf("%d requests", rcv.requests)
	}
}

func TestGoneDisables(t *testing.T) {
	rcv := receive(t, func(_ int, _ []webhook.Event, w http.ResponseWriter) { w.WriteHeader(http.StatusGone) })
	cfg := brokerConfig(t)
	hooks := quick(hook(t, "a", rcv.URL, webhook.MessagePublished))
	n := run(t, cfg, hooks)
	n.publish(t, "chat:a", 0, 3)
	eventually(t, 10*time.Second, func() (bool, string) {
		list, err := n.Status(t.Context())
		return err == nil && list[0].State == webhook.Disabled, fmt.Sprintf("%+v, %v", list, err)
	})
	n.publish(t, "chat:a", 3, 3)
	if n.counter(t, "rivulet_webhook_disabled", "a") != 1 {
		t.Error("the gauge does not say so")
	}
	n.stop()
	rcv.mu.Lock()
	if rcv.requests != 1 {
		t.Errorf("%d requests", rcv.requests)
	}
	rcv.answer = nil
	rcv.mu.Unlock()
	run(t, cfg, hooks) // after a restart it has all of them
	inOrder(t, rcv.await(6), 6)
}

func TestRetryAfterIsHonoured(t *testing.T) {
	var first, second time.Time
	rcv := receive(t, func(attempt int, _ []webhook.Event, w http.ResponseWriter) {
		if attempt == 1 {
			first = time.Now()
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		second = time.Now()
	})
	n := run(t, brokerConfig(t), quick(hook(t, "a", rcv.URL, webhook.MessagePublished)))
	n.publish(t, "chat:a", 0, 1)
	rcv.await(1)
	if waited := second.Sub(first); waited < time.Second {
		t.Errorf("sent again after %v", waited)
	}
}

// What was stored while nobody delivered arrives when somebody does again.
func TestRestartLosesNothing(t *testing.T) {
	rcv := receive(t, nil)
	cfg := brokerConfig(t)
	hooks := quick(hook(t, "a", rcv.URL, webhook.MessagePublished))
	n := run(t, cfg, hooks)
	n.publish(t, "chat:a", 0, 100)
	n.stop()
	n = run(t, cfg, hooks)
	n.publish(t, "chat:a", 100, 100)
	inOrder(t, rcv.await(200), 200)
}

// What a receiver says can be any amount of text; as the reason of a dead letter it holds
// nothing up.
func TestDeadLetterOfALongError(t *testing.T) {
	line := strings.Repeat("X", 40<<10) + "\r\n" // no HTTP
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = conn.Write([]byte(line))
		_ = conn.Close()
	}))
	t.Cleanup(srv.Close)
	h := hook(t, "a", srv.URL, webhook.MessagePublished)
	h.MaxAge = time.Second
	n := run(t, brokerConfig(t), quick(h))
	n.publish(t, "chat:a", 0, 1)
	eventually(t, 20*time.Second, func() (bool, string) {
		return n.counter(t, "rivulet_webhook_dead_total", "a") == 1, "no dead letter"
	})
}
