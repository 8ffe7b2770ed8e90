package api_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/api"
	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
)

// plainHandler is the API without what slows a fuzzer down.
func plainHandler(log *fakeLog) http.Handler { return plainHandlerFor(log, log) }

func plainHandlerFor(publisher api.Publisher, log *fakeLog) http.Handler {
	reg := prometheus.NewRegistry()
	return api.New(api.DefaultConfig(), api.Deps{
		Publisher: publisher, Purger: log, Scheduler: log, Groups: log, History: log, Readiness: log, Auth: auth.Open{}, Metrics: reg,
		WebSocket: http.NotFoundHandler(), Events: http.NotFoundHandler(), Poll: http.NotFoundHandler(),
	}, slog.New(slog.DiscardHandler), reg)
}

func post(h http.Handler, target string, body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, target, bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// FuzzPublishBody: what is stored is what encoding/json reads in the body, which is
// then UTF-8 and one JSON text; what is not is a 400 that names a field.
func FuzzPublishBody(f *testing.F) {
	for _, seed := range []string{
		`{"data":{"a":[1,2,{"b":null}]}}`, `{"data_base64":"AAH/","headers":{"a":"b"}}`, `{"data":1,"idempotency_key":"k"}`,
		`{"data":"\u00e9\\\""}`, `{"data":[}`, `{"data":]}`, `{"data":"`, `{"d\u0061ta":1}`, `{"data":1}x`, `{"data":{"a":"}"}}`, `{"data":1,"headers":{"\u0061":"\ud83d\ude00"}}`,
		`[[[[`, `{"":}`, "\xff", `{"data":nul}`, `{"data":-}`, `{"data":1,"data":2}`,
	} {
		f.Add([]byte(seed))
	}
	log := &fakeLog{}
	h := plainHandler(log)
	f.Fuzz(func(t *testing.T, body []byte) {
		log.stored = nil
		w := post(h, lobby, body)
		switch {
		case w.Code == 400 || w.Code == 413:
			var answer struct{ Data struct{ Field string } }
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.Data.Field == "" || len(log.stored) != 0 {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			return
		case w.Code != 201 || len(log.stored) != 1:
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		var want struct {
			Data    json.RawMessage   `json:"data"`
			Base64  []byte            `json:"data_base64"`
			Key     string            `json:"idempotency_key"`
			Headers map[string]string `json:"headers"`
		}
		if err := json.Unmarshal(body, &want); err != nil || !utf8.Valid(body) {
			t.Fatalf("stored, and it is not JSON: %v\n%q", err, body)
		}
		p := log.stored[0]
		var compact bytes.Buffer
		if !p.Binary {
			if err := json.Compact(&compact, want.Data); err != nil || !bytes.Equal(compact.Bytes(), p.Data) {
				t.Errorf("stored %q of %q", p.Data, body)
			}
		} else if !bytes.Equal(want.Base64, p.Data) {
			t.Errorf("stored bytes %q of %q", p.Data, body)
		}
		if p.Key != want.Key || len(p.Headers) != len(want.Headers) {
			t.Errorf("stored %+v of %q", p, body)
		}
		for name, value := range want.Headers {
			if p.Headers[name] != value {
				t.Errorf("header %q is %q of %q", name, p.Headers[name], body)
			}
		}
	})
}

// FuzzBatchBody: a batch is refused as a whole, or has one result per message; the
// status is 201 if and only if all are stored.
func FuzzBatchBody(f *testing.F) {
	for _, seed := range []string{
		`{"messages":[{"channel":"a","data":1},{"channel":"chat:b","data_base64":"AA=="}]}`, `{"messages":[]}`, `{"atomic":true,"messages":[{}]}`,
		`{"messages":[{"channel":"a..b","data":1}]}`, `{"messages":[{"data":[}]}]}`, `{"messages":[1,2]`, `{"messages":null}`,
	} {
		f.Add([]byte(seed))
	}
	log := &fakeLog{}
	h := plainHandler(log)
	f.Fuzz(func(t *testing.T, body []byte) {
		log.stored = nil
		w := post(h, "/v1/messages", body)
		var answer struct {
			Data struct {
				Field   string
				Results []struct{ Code int }
			}
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatalf("%v\n%s", err, w.Body)
		}
		stored := 0
		for _, r := range answer.Data.Results {
			if r.Code == 201 {
				stored++
			}
		}
		all := stored > 0 && stored == len(answer.Data.Results)
		if all != (w.Code == 201) || len(answer.Data.Results) == 0 && answer.Data.Field == "" || len(log.stored) > stored {
			t.Errorf("%d, %d stored: %s\n%q", w.Code, len(log.stored), w.Body, body)
		}
	})
}

// FuzzChannelPath: any channel name arrives as it was escaped, or is refused.
func FuzzChannelPath(f *testing.F) {
	for _, seed := range []string{"chat:lobby", "a/b", "%2F", "a%", "..", "ž", "a b", "a+b?c#d", "chat:a;b", "\xff", "", "%252F/", "a\\b", "messages"} {
		f.Add(seed)
	}
	log := &fakeLog{}
	h := plainHandler(log)
	f.Fuzz(func(t *testing.T, name string) {
		log.stored = nil
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"data":1}`))
		r.Header.Set("Content-Type", "application/json")
		target, err := url.Parse("/v1/channels/" + url.PathEscape(name) + "/messages")
		if err != nil {
			t.Fatal(err)
		}
		r.URL = target
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		want, err := fanout.ParseChannel(name)
		switch {
		case err == nil && (w.Code != 201 || log.stored[0].Channel != want):
			t.Errorf("%q: %d %s", name, w.Code, w.Body)
		case err != nil && (w.Code != 400 && w.Code != 404 || len(log.stored) != 0):
			t.Errorf("%q: %d %s", name, w.Code, w.Body)
		}
		_, _ = io.Copy(io.Discard, w.Body)
	})
}

// FuzzHistoryQuery: no query does more than fail.
func FuzzHistoryQuery(f *testing.F) {
	for _, seed := range []string{"after=" + positionAt(1).String(), "since=1&limit=2&order=desc", "limit=%zz", "a=b;c", "before=&&", "limit=99999999999999999999"} {
		f.Add(seed)
	}
	log := &fakeLog{}
	h := plainHandler(log)
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest(http.MethodGet, lobby, nil)
		r.URL.RawQuery = query
		log.asked = fanout.HistoryQuery{}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		q := log.asked
		if w.Code == 200 && (q.Limit < 1 || q.Limit > 1000 || q.Since < 0 || q.Since > 0 && !q.After.IsZero()) || w.Code != 200 && w.Code != 400 {
			t.Errorf("%q: %d, asked %+v", query, w.Code, q)
		}
	})
}
