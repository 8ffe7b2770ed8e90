package webhook_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/auth/signature"
	"github.com/rivulet-rt/rivulet/broker/webhook"
)

func TestSignature(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	body, key := []byte(`{"events":[]}`), []byte("secret")
	header := signature.Sign(key, body, now)
	// For ever: receivers compute the same.
	if header != "t=1700000000,v1=3947de27ec923573170fccda604ddfb25583ff98dc51e96cca2e11c59545026a" {
		t.Fatal(header)
	}
	sum := strings.TrimPrefix(header, "t=1700000000,")
	for name, c := range map[string]struct {
		header string
		key    string
		body   string
		later  time.Duration
		ok     bool
	}{
		"right":         {header: header, key: "secret", body: string(body), ok: true},
		"clock behind":  {header: header, key: "secret", body: string(body), later: -time.Minute, ok: true},
		"two keys":      {header: "t=1700000000,v1=00ff," + sum, key: "secret", body: string(body), ok: true},
		"unknown part":  {header: "v0=x, " + header, key: "secret", body: string(body), ok: true},
		"other key":     {header: header, key: "Secret", body: string(body)},
		"other body":    {header: header, key: "secret", body: string(body) + " "},
		"old":           {header: header, key: "secret", body: string(body), later: 6 * time.Minute},
		"from later":    {header: header, key: "secret", body: string(body), later: -6 * time.Minute},
		"other time":    {header: "t=1700000001," + sum, key: "secret", body: string(body)},
		"no time":       {header: sum, key: "secret", body: string(body)},
		"no sum":        {header: "t=1700000000", key: "secret", body: string(body)},
		"empty":         {key: "secret", body: string(body)},
		"sum is no hex": {header: "t=1700000000,v1=zz", key: "secret", body: string(body)},
	} {
		err := signature.Verify([]byte(c.key), []byte(c.body), c.header, now.Add(c.later), 5*time.Minute)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, signature.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add("t=1,v1=00", []byte("x"))
	f.Add(",,=,t=,v1", []byte(""))
	f.Fuzz(func(t *testing.T, header string, body []byte) {
		if signature.Verify([]byte("k"), body, header, time.Unix(1, 0), time.Hour) == nil && !strings.Contains(header, "v1=") {
			t.Fatalf("%q is accepted", header)
		}
	})
}

func TestBadWebhooksAreNamed(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*webhook.Hook)
		want   string
	}{
		"name":           {func(h *webhook.Hook) { h.Name = "A b" }, `name is "A b", must be 1 to 32 characters of a-z, 0-9 and -`},
		"no name":        {func(h *webhook.Hook) { h.Name = "" }, `name is "", must be`},
		"no url":         {func(h *webhook.Hook) { h.URL = "" }, "url is not set"},
		"not a url":      {func(h *webhook.Hook) { h.URL = "https://a b\x00" }, "url is not a URL"},
		"scheme":         {func(h *webhook.Hook) { h.URL = "ftp://example.com/x" }, `url is "ftp://example.com/x", must be like https://`},
		"no host":        {func(h *webhook.Hook) { h.URL = "https:///x" }, "must be like https://"},
		"fragment":       {func(h *webhook.Hook) { h.URL = "https://example.com/x#y" }, "leave out what follows #"},
		"plain http":     {func(h *webhook.Hook) { h.URL = "http://u:hidden@example.com/x?k=hidden" }, `url is "http://example.com/x", must be https: anybody on the way could read it; set insecure: true`},
		"no secret":      {func(h *webhook.Hook) { h.Secret = nil }, "secret is not set; set secret or secret_file"},
		"short secret":   {func(h *webhook.Hook) { h.Secret = []byte("hidden") }, "secret has 6 bytes, must have at least 16"},
		"no events":      {func(h *webhook.Hook) { h.Events = nil }, "events is empty, must be a list of some of [channel.occupied"},
		"unknown event":  {func(h *webhook.Hook) { h.Events = []webhook.Type{"message.sent"} }, `events is "message.sent", must be of [channel.occupied`},
		"test event":     {func(h *webhook.Hook) { h.Events = []webhook.Type{webhook.Test} }, `events is "test", must be`},
		"event twice":    {func(h *webhook.Hook) { h.Events = append(h.Events, h.Events...) }, `events is "message.published" twice, must be each once`},
		"no channels":    {func(h *webhook.Hook) { h.Channels = nil }, "channels is empty"},
		"timeout":        {func(h *webhook.Hook) { h.Timeout = time.Hour }, "timeout is 1h0m0s, must be 100ms to 1m0s"},
		"max age":        {func(h *webhook.Hook) { h.MaxAge = 30 * 24 * time.Hour }, "max_age is 720h0m0s, must be 1s to 72h0m0s"},
		"batch":          {func(h *webhook.Hook) { h.Batch = -1 }, "batch is -1, must be 1 to 1000"},
		"concurrency":    {func(h *webhook.Hook) { h.Concurrency = 1000 }, "concurrency is 1000, must be 1 to 256"},
		"letter pattern": {func(h *webhook.Hook) { h.DeadLetters = patterns(t, "default:>")[0] }, "dead_letters is default:>, must be one channel"},
	} {
		h := hook(t, "a", "https://example.com/x", webhook.MessagePublished)
		c.change(&h)
		err := webhook.Config{Hooks: []webhook.Hook{h}}.Validate()
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, url := range []string{"https://example.com", "http://localhost:1/x", "http://127.0.0.1/x", "http://[::1]:80/"} {
		if errs := hook(t, "a", url, webhook.MessagePublished).Validate(); errs != nil {
			t.Errorf("%s: %v", url, errs)
		}
	}
	two := []webhook.Hook{hook(t, "a", "https://example.com", webhook.SessionExpired), hook(t, "a", "https://example.com", webhook.SessionExpired)}
	if err := (webhook.Config{Hooks: two}).Validate(); err == nil || !strings.Contains(err.Error(), "name is used twice") {
		t.Errorf("two of a name: %v", err)
	}
}

func TestTestEvent(t *testing.T) {
	status := http.StatusNoContent
	rcv := receive(t, func(_ int, _ []webhook.Event, w http.ResponseWriter) { w.WriteHeader(status) })
	n := run(t, brokerConfig(t), quick(hook(t, "a", rcv.URL, webhook.MessagePublished)))
	if res, ok := n.Test(t.Context(), "a"); !ok || res.Status != status || res.Error != "" {
		t.Errorf("%+v, %v", res, ok)
	}
	if got := rcv.events(); len(got) != 1 || got[0].Type != webhook.Test || got[0].ID == "" {
		t.Errorf("%+v", got)
	}
	status = http.StatusTeapot
	if res, ok := n.Test(t.Context(), "a"); !ok || res.Status != status || !strings.Contains(res.Error, "418") {
		t.Errorf("%+v, %v", res, ok)
	}
	rcv.Close()
	if res, ok := n.Test(t.Context(), "a"); !ok || res.Status != 0 || res.Error == "" || strings.Contains(res.Error, rcv.URL+"/") {
		t.Errorf("%+v, %v", res, ok)
	}
	if _, ok := n.Test(t.Context(), "b"); ok {
		t.Error("a webhook that is not there")
	}
}

// Events beyond what the log may keep are discarded, oldest first, and counted.
func TestDiscardedEventsAreCounted(t *testing.T) {
	release := make(chan struct{})
	rcv := receive(t, func(int, []webhook.Event, http.ResponseWriter) { <-release })
	n := run(t, brokerConfig(t), quick(hook(t, "a", rcv.URL, webhook.SessionExpired)))
	var channels []string
	for i := range 60 { // about 14 kB
		channels = append(channels, fmt.Sprintf("user:%0190d", i))
	}
	list := patterns(t, channels...)
	const events = 1500 // 20 MB, where a partition may keep 8
	for i := range events {
		if err := n.SessionExpired(t.Context(), "ann", fmt.Sprint(i), time.Time{}, list); err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	eventually(t, 30*time.Second, func() (bool, string) {
		delivered, lost := n.counter(t, "rivulet_webhook_delivered_total", "a"), n.counter(t, "rivulet_webhook_discarded_total", "a")
		return delivered+lost == events && lost > 0, fmt.Sprintf("%v delivered, %v discarded", delivered, lost)
	})
}
