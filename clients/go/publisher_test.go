package rivulet_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/protocol"
)

// request is what the API's stand-in got.
type request struct {
	Path, Token string
	Body        struct {
		Data           json.RawMessage   `json:"data"`
		DataBase64     *string           `json:"data_base64"`
		IdempotencyKey string            `json:"idempotency_key"`
		Headers        map[string]string `json:"headers"`
		Messages       []struct {
			Channel        string          `json:"channel"`
			Data           json.RawMessage `json:"data"`
			IdempotencyKey string          `json:"idempotency_key"`
		} `json:"messages"`
	}
}

// answering starts a stand-in of the API that answers the n-th request, from 1,
// with what answer writes, and returns what it got.
func answering(t *testing.T, answer func(w http.ResponseWriter, n int, r request)) (url string, got func() []request) {
	t.Helper()
	var mu sync.Mutex
	var list []request
	url = serve(t, http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
		r := request{Path: hr.URL.EscapedPath(), Token: hr.Header.Get("Authorization")}
		raw, err := io.ReadAll(hr.Body)
		if err != nil || json.Unmarshal(raw, &r.Body) != nil || hr.Method != http.MethodPost || hr.Header.Get("Content-Type") != "application/json" {
			t.Errorf("request %s %s %s: %v", hr.Method, hr.URL, raw, err)
		}
		mu.Lock()
		list = append(list, r)
		n := len(list)
		mu.Unlock()
		answer(w, n, r)
	}))
	return url, func() []request {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(list)
	}
}

const receipt = `{"channel":"chat:lobby","offset":7,"position":"p","time":1732290000123,"duplicate":true}`

func newPublisher(t *testing.T, url string, opts rivulet.PublisherOptions) *rivulet.Publisher {
	t.Helper()
	opts.Backoff = rivulet.Backoff{Base: time.Millisecond, Max: 5 * time.Millisecond}
	opts.Client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	p, err := rivulet.NewPublisher(url, opts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPublisherRepeatsUnderTheSameKey(t *testing.T) {
	url, got := answering(t, func(w http.ResponseWriter, n int, _ request) {
		switch n {
		case 1:
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"code":503,"message":"away"}`)
		case 2:
			w.WriteHeader(http.StatusGatewayTimeout)
		case 3:
			panic(http.ErrAbortHandler) // breaks the connection off
		case 4:
			fmt.Fprint(w, "no JSON")
		default:
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"code":201,"message":"stored before","data":%s}`, receipt)
		}
	})
	p := newPublisher(t, url, rivulet.PublisherOptions{Token: "secret", URLs: []string{"http://127.0.0.1:1"}})
	published, err := p.Publish(limit(t), "chat:a/b %", map[string]int{"n": 1}, rivulet.PublishOptions{Headers: map[string]string{"h": "v"}})
	if err != nil {
		t.Fatal(err)
	}
	requests := got()
	if len(requests) != 5 {
		t.Fatalf("%d requests", len(requests))
	}
	for _, r := range requests {
		if r.Path != "/v1/channels/chat:a%2Fb%20%25/messages" || r.Token != "Bearer secret" || string(r.Body.Data) != `{"n":1}` ||
			r.Body.IdempotencyKey != published.IdempotencyKey || r.Body.Headers["h"] != "v" {
			t.Errorf("request %+v", r)
		}
	}
	published.IdempotencyKey = ""
	want := rivulet.Published{Channel: "chat:lobby", Offset: 7, Position: "p", Time: time.UnixMilli(1732290000123), Duplicate: true}
	if published != want {
		t.Errorf("published %+v, want %+v", published, want)
	}
}

// TestPublisherSendsDataAsItIs: the bytes are those that a Client sends, so that one
// may repeat what the other began.
func TestPublisherSendsDataAsItIs(t *testing.T) {
	url, got := answering(t, func(w http.ResponseWriter, _ int, _ request) {
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"code":201,"message":"stored","data":%s}`, receipt)
	})
	const data = `"<a href='x'>&\u003c/a> \u2028"`
	if _, err := newPublisher(t, url, rivulet.PublisherOptions{}).Publish(limit(t), "a:b", json.RawMessage(data), rivulet.PublishOptions{}); err != nil {
		t.Fatal(err)
	}
	if sent := string(got()[0].Body.Data); sent != data {
		t.Errorf("sent %s, want %s", sent, data)
	}
}

func TestPublisherErrors(t *testing.T) {
	tests := []struct {
		name   string
		status int
		want   protocol.Code
	}{
		{"forbidden", http.StatusForbidden, protocol.ErrorForbidden},
		{"bad request", http.StatusBadRequest, protocol.ErrorBadRequest},
		{"conflict", http.StatusConflict, protocol.ErrorConflict},
		{"never stored", http.StatusServiceUnavailable, protocol.ErrorUnavailable},
		{"outcome unknown", http.StatusGatewayTimeout, protocol.ErrorOutcomeUnknown},
		{"bad gateway", http.StatusBadGateway, protocol.ErrorOutcomeUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			url, _ := answering(t, func(w http.ResponseWriter, _ int, _ request) {
				w.Header().Set("Retry-After", "60") // so that the context ends between attempts
				w.WriteHeader(tt.status)
				fmt.Fprint(w, `{"code":1,"message":"so","data":{"field":"data"}}`)
			})
			ctx, cancel := context.WithTimeout(limit(t), 200*time.Millisecond)
			defer cancel()
			p := newPublisher(t, url, rivulet.PublisherOptions{})
			_, err := p.Publish(ctx, "a:b", 1, rivulet.PublishOptions{IdempotencyKey: "mine"})
			if e, ok := errors.AsType[*rivulet.Error](err); !ok || e.Code != tt.want || e.IdempotencyKey != "mine" {
				t.Errorf("error %v, want code %d with the key", err, tt.want)
			}
		})
	}
}

func TestPublishBatchRepeatsWhatFailed(t *testing.T) {
	result := func(status int) string {
		if status == http.StatusCreated {
			return fmt.Sprintf(`{"code":201,"message":"stored","data":%s}`, receipt)
		}
		return fmt.Sprintf(`{"code":%d,"message":"so","data":{"field":"channel"}}`, status)
	}
	url, got := answering(t, func(w http.ResponseWriter, n int, r request) {
		var results []string
		status := http.StatusCreated
		switch n {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"code":503,"message":"away"}`)
			return
		case 2:
			status = http.StatusGatewayTimeout
			results = []string{result(201), result(503), result(403), result(504)}
		default:
			results = []string{result(201), result(201)}
		}
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"code":%d,"message":"x","data":{"results":[%s]}}`, status, strings.Join(results, ","))
		_ = r
	})
	p := newPublisher(t, url, rivulet.PublisherOptions{})
	var batch []rivulet.Outgoing
	for i := range 4 {
		batch = append(batch, rivulet.Outgoing{Channel: fmt.Sprint("a:", i), Data: i, PublishOptions: rivulet.PublishOptions{IdempotencyKey: fmt.Sprint("k", i)}})
	}
	outcomes, err := p.PublishBatch(limit(t), batch)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range outcomes {
		if e, refused := errors.AsType[*rivulet.Error](o.Err); refused != (i == 2) || refused && e.Code != protocol.ErrorForbidden {
			t.Errorf("outcome %d: %+v", i, o)
		}
		if o.IdempotencyKey != fmt.Sprint("k", i) || i != 2 && o.Offset != 7 {
			t.Errorf("outcome %d: %+v", i, o)
		}
	}
	var keys [][]string
	for _, r := range got() {
		var list []string
		for _, m := range r.Body.Messages {
			list = append(list, m.IdempotencyKey)
		}
		keys = append(keys, list)
	}
	want := [][]string{{"k0", "k1", "k2", "k3"}, {"k0", "k1", "k2", "k3"}, {"k1", "k3"}}
	if !slices.EqualFunc(keys, want, slices.Equal) {
		t.Errorf("requests %v, want %v", keys, want)
	}
}

func TestPublishBatchThatFails(t *testing.T) {
	url, _ := answering(t, func(w http.ResponseWriter, _ int, _ request) { w.WriteHeader(http.StatusUnauthorized) })
	p := newPublisher(t, url, rivulet.PublisherOptions{})
	outcomes, err := p.PublishBatch(limit(t), []rivulet.Outgoing{{Channel: "a:b", Data: 1}, {Channel: "a:b", Data: 2}})
	if err != nil || len(outcomes) != 2 {
		t.Fatalf("%v, %v", outcomes, err)
	}
	for _, o := range outcomes {
		if e, ok := errors.AsType[*rivulet.Error](o.Err); !ok || e.Code != protocol.ErrorUnauthorized || e.IdempotencyKey == "" || e.IdempotencyKey != o.IdempotencyKey {
			t.Errorf("outcome %+v", o)
		}
	}
	if _, err := p.PublishBatch(limit(t), make([]rivulet.Outgoing, 1001)); err == nil {
		t.Error("took 1,001 messages")
	}
	if _, err := p.PublishBatch(limit(t), []rivulet.Outgoing{{Data: func() {}}}); err == nil {
		t.Error("took a function")
	}
	if outcomes, err := p.PublishBatch(limit(t), nil); err != nil || len(outcomes) != 0 {
		t.Errorf("an empty batch: %v, %v", outcomes, err)
	}
}
