package test_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
)

// The size of the test of webhooks whose node is killed; the full one is
// -webhooks.messages 50000 -webhooks.kills 8.
var (
	hookMessages = flag.Int("webhooks.messages", 6000, "messages that TestWebhooksSurviveKill9 publishes")
	hookKills    = flag.Int("webhooks.kills", 3, "how often TestWebhooksSurviveKill9 kills the node")
)

const hookSecret = "0123456789abcdef0123456789abcdef"

// hookEvent is one as a receiver reads it.
type hookEvent struct {
	ID       string
	Type     string
	Time     int64
	Channel  string
	User     string
	Session  string
	Channels []string
	Member   struct{ User, Client string }
	Message  struct {
		Offset uint64
		ID     string
		Data   json.RawMessage
	}
	HasSession bool `json:"has_session"`
}

// checkHook checks a signature as docs/webhooks.md tells receivers to.
func checkHook(header string, body []byte) error {
	at, sum, ok := strings.Cut(strings.TrimPrefix(header, "t="), ",v1=")
	mac := hmac.New(sha256.New, []byte(hookSecret))
	_, _ = fmt.Fprintf(mac, "%s.%s", at, body)
	if got, err := hex.DecodeString(sum); !ok || err != nil || !hmac.Equal(got, mac.Sum(nil)) {
		return fmt.Errorf("the signature %q does not fit", header)
	}
	return nil
}

// hookReceiver takes events, and now and then fails, or takes them and does not say so.
type hookReceiver struct {
	*httptest.Server
	t *testing.T

	mu       sync.Mutex // guards the following
	requests int
	next     map[string]int // by channel
	seen     map[string]bool
	events   []hookEvent
}

func receiveHooks(t *testing.T) *hookReceiver {
	t.Helper()
	r := &hookReceiver{t: t, next: map[string]int{}, seen: map[string]bool{}}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.Close)
	return r
}

func (r *hookReceiver) serve(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the node died
	}
	if err := checkHook(req.Header.Get("Rivulet-Signature"), body); err != nil {
		r.t.Error(err)
	}
	var in struct{ Events []hookEvent }
	if err := json.Unmarshal(body, &in); err != nil {
		r.t.Errorf("%v in %.200s", err, body)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests++
	if r.requests%23 == 0 {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	for _, e := range in.Events {
		r.takeLocked(e)
	}
	if r.requests%31 == 0 {
		w.WriteHeader(http.StatusBadGateway) // after they were taken
	}
}

// takeLocked checks that the messages of each channel come in order, those that come
// again apart, which have the same ID.
func (r *hookReceiver) takeLocked(e hookEvent) {
	if r.seen[e.ID] {
		return
	}
	r.seen[e.ID] = true
	r.events = append(r.events, e)
	if e.Type != "message.published" {
		return
	}
	if got := string(e.Message.Data); got != fmt.Sprint(r.next[e.Channel]) {
		r.t.Errorf("%s: got %s, expected %d", e.Channel, got, r.next[e.Channel])
	}
	r.next[e.Channel]++
}

func (r *hookReceiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.events)
}

// hookConfig is a configuration file with one webhook.
func hookConfig(t *testing.T, url, events, channels, namespace string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "rivulet.yaml")
	text := fmt.Sprintf("webhooks: [{name: test, url: %q, secret: %s, events: [%s], channels: [%s], batch: 20, timeout: 2s}]\n"+
		"events: {max_bytes: 16MiB}\nnamespaces: {default: {max_bytes: 64MiB, partitions: 4}, chat: {max_bytes: 256MiB, partitions: 4}, user: {max_bytes: 64MiB, partitions: 2%s}}\n",
		url, hookSecret, events, channels, namespace)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// webhooksRunning waits until every part of the webhooks is worked on.
func webhooksRunning(t *testing.T, n *node) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{}, Timeout: deadline}
	defer client.CloseIdleConnections()
	eventually(t, "the webhooks run", func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.url()+"/v1/webhooks", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return strings.Contains(string(body), `"state":"running"`)
	})
}

// TestWebhooksSurviveKill9: nodes are killed again and again while messages are
// published. Each that was stored reaches the receiver, in order, and without its
// repetitions once.
func TestWebhooksSurviveKill9(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		data := t.TempDir()
		surviveHooks(t, 1, *hookKills, func(config, address string) *node {
			return started(t, start(t, nil, binary(t), "serve", "--dev", "--config", config, "--listen", address, "--data", data, "--disk-budget", "4GiB"))
		})
	})
	t.Run("nats", func(t *testing.T) {
		log := startNATS(t, t.TempDir(), ownAddress(t))
		surviveHooks(t, 2, min(*hookKills, 2), func(config, address string) *node {
			return started(t, start(t, nil, binary(t), "serve", "--dev", "--config", config, "--listen", address, "--nats-url", log.url()))
		})
	})
}

// surviveHooks runs so many nodes. The messages are published to the first; the others
// are killed in their turn as well.
func surviveHooks(t *testing.T, nodes, kills int, serve func(config, address string) *node) {
	t.Helper()
	rcv := receiveHooks(t)
	config := hookConfig(t, rcv.URL, "message.published", `"chat:>"`, "")
	list := make([]*node, nodes)
	for i := range list {
		list[i] = serve(config, ownAddress(t))
		webhooksRunning(t, list[i])
	}
	const channels = 16
	each := *hookMessages / channels
	url := list[0].url()
	var publishing sync.WaitGroup
	publishing.Go(func() {
		if err := publishNumbers(t.Context(), url, channels, each); err != nil {
			t.Errorf("publish: %v", err)
		}
	})
	defer publishing.Wait()
	for k := range kills {
		eventually(t, "some to arrive", func() bool { return rcv.count() >= (k+1)*channels*each/(kills+2) })
		n := &list[k%nodes]
		(*n).kill(t)
		*n = serve(config, (*n).address)
	}
	publishing.Wait()
	eventually(t, "all to arrive", func() bool { return rcv.count() >= channels*each })
	rcv.mu.Lock()
	defer rcv.mu.Unlock()
	for c, got := range rcv.next {
		if got != each {
			t.Errorf("%s: %d of %d", c, got, each)
		}
	}
	t.Logf("%d events in %d requests", len(rcv.events), rcv.requests)
}

// publishNumbers stores 0, 1, ... in each of the channels, in order.
func publishNumbers(ctx context.Context, url string, channels, each int) error {
	transport := &http.Transport{DialContext: (&net.Dialer{}).DialContext}
	defer transport.CloseIdleConnections()
	p, err := rivulet.NewPublisher(url, rivulet.PublisherOptions{
		Client:  &http.Client{Transport: transport, Timeout: deadline},
		Backoff: rivulet.Backoff{Base: 20 * time.Millisecond, Max: 300 * time.Millisecond},
	})
	if err != nil {
		return err
	}
	for n := range each {
		list := make([]rivulet.Outgoing, channels)
		for c := range list {
			list[c] = rivulet.Outgoing{Channel: fmt.Sprintf("chat:%d", c), Data: n}
		}
		results, err := p.PublishBatch(ctx, list)
		if err != nil {
			return err
		}
		for _, r := range results {
			if r.Err != nil {
				return r.Err
			}
		}
	}
	return nil
}

// TestWebhooksTellOfClients: real clients and durable sessions, on a real node.
func TestWebhooksTellOfClients(t *testing.T) {
	rcv := receiveHooks(t)
	config := hookConfig(t, rcv.URL, "channel.occupied, channel.vacated, member.joined, member.left, message.undelivered, session.expired",
		`"chat:>", "user:>"`, ", undelivered_after: 4s, session_ttl: 10s")
	n := started(t, start(t, nil, binary(t), "serve", "--dev", "--config", config, "--listen", ownAddress(t), "--data", t.TempDir(),
		"--disk-budget", "4GiB", "--set", "events.vacated_after=1s"))
	webhooksRunning(t, n)
	client, err := rivulet.New(n.url(), rivulet.Options{Session: "phone"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	room, err := client.Subscribe(t.Context(), "chat:room", rivulet.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Subscribe(t.Context(), "user:ann", rivulet.SubscribeOptions{Durable: true, ManualAck: true}); err != nil {
		t.Fatal(err)
	}
	rcv.awaitTypes("chat:room", "channel.occupied", "member.joined")
	test := start(t, nil, binary(t), "webhooks", "test", "test", "--url", n.url())
	if err := test.wait(t); err != nil || !strings.Contains(test.stdout.String(), "was taken with 200") {
		t.Errorf("rivulet webhooks test: %v, %s", err, test.stdout)
	}
	if test = start(t, nil, binary(t), "webhooks", "test", "nope", "--url", n.url()); test.wait(t) == nil {
		t.Error("a test of a webhook that is not there succeeds")
	}
	if _, err := client.Publish(t.Context(), "user:ann", "hello", rivulet.PublishOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := room.Unsubscribe(t.Context()); err != nil {
		t.Fatal(err)
	}
	rcv.awaitTypes("chat:room", "channel.occupied", "member.joined", "member.left", "channel.vacated")
	rcv.awaitTypes("user:ann", "channel.occupied", "member.joined", "message.undelivered")
	client.Close() // the session is left to expire
	rcv.awaitTypes("", "test", "session.expired")
	rcv.mu.Lock()
	defer rcv.mu.Unlock()
	for _, e := range rcv.events {
		switch e.Type {
		case "message.undelivered":
			if e.User != "ann" || string(e.Message.Data) != `"hello"` {
				t.Errorf("%+v", e)
			}
		case "session.expired":
			if e.Session != "phone" || len(e.Channels) != 1 || e.Channels[0] != "user:ann" {
				t.Errorf("%+v", e)
			}
		}
	}
}

// awaitTypes waits until the types of a channel's events are these, in order.
func (r *hookReceiver) awaitTypes(channel string, want ...string) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%q of %q", want, channel), func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		var got []string
		for _, e := range r.events {
			if e.Channel == channel {
				got = append(got, e.Type)
			}
		}
		return slices.Equal(got, want)
	})
}
