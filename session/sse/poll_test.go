package sse_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/internal/hubtest"
	"github.com/rivulet-rt/rivulet/session/sse"
)

// polled is the answer of a poll.
type polled struct {
	Data struct {
		Deleted  []struct{ Offset uint64 }
		Position string
		More     bool
	}
}

// TestPollBoundsDeletions: what was deleted in a backlog counts like messages.
func TestPollBoundsDeletions(t *testing.T) {
	requests, err := parse(t, []string{"chat:a"}, "")
	if err != nil {
		t.Fatal(err)
	}
	sink, answer := sse.PollForTest(hubtest.New().Start(t, session.DefaultConfig(), open()), requests)
	c := requests[0].Channel
	sink.Notify(fanout.Notice{Kind: fanout.NoticeSubscribed, Channel: c, Recovered: true})
	taken := uint64(0)
	for taken < 3000 && sink.Notify(fanout.Notice{
		Kind: fanout.NoticeDeleted, Channel: c, Target: taken + 1, Positions: []fanout.Position{at("streamAA", taken+4000)},
	}) {
		taken++
	}
	if sink.Deliver(&fanout.Message{Channel: c, Position: at("streamAA", 9000), Data: []byte("1")}) {
		t.Error("a message was taken after a deletion was refused")
	}
	full, body := answer()
	var got polled
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if n := len(got.Data.Deleted); !full || n != 1000 || taken != 1000 || !got.Data.More {
		t.Errorf("%d deletions of %d taken, full %v, more %v", n, taken, full, got.Data.More)
	}
}

// TestPollBehind: a poll that does not catch up in time (the hub in memory never tells
// that it did) says how far it came, once the
// log was read at all.
func TestPollBehind(t *testing.T) {
	cfg := session.DefaultConfig()
	cfg.CommandTimeout = 50 * time.Millisecond
	hub := hubtest.New()
	poller := sse.NewPoller(hub.Start(t, cfg, open()), slog.New(slog.DiscardHandler))
	poll := func(channel string) (int, polled) {
		w := httptest.NewRecorder()
		poller.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/poll?timeout=0&last=5&channel="+channel, nil))
		var got polled
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		return w.Code, got
	}
	if status, got := poll("chat:a"); status != http.StatusOK || !got.Data.More || got.Data.Position == "" {
		t.Errorf("behind: %d %+v", status, got)
	}
	hub.Fail("chat:b", nil) // gets no answer at all
	if status, _ := poll("chat:b"); status != http.StatusServiceUnavailable {
		t.Errorf("not begun: %d", status)
	}
}

// TestPollForNothing: whoever wants to know whether the node is there and the token good
// asks for no channel and no time.
func TestPollForNothing(t *testing.T) {
	tokens := hubtest.Tokens{Known: map[string]auth.Claims{"ann": hubtest.May(t, "ann", map[string][]auth.Action{"chat:>": {auth.Subscribe}})}}
	registry := hubtest.New().Start(t, session.DefaultConfig(), tokens)
	poller := sse.NewPoller(registry, slog.New(slog.DiscardHandler))
	for query, want := range map[string]int{
		"timeout=0&token=ann":          http.StatusOK,
		"timeout=0&token=ann&resume=1": http.StatusOK,
		"timeout=0&token=bob":          http.StatusUnauthorized,
		"timeout=0":                    http.StatusUnauthorized,
		"token=ann":                    http.StatusBadRequest,
		"timeout=1&token=ann":          http.StatusBadRequest,
		"timeout=0&channel=&token=ann": http.StatusBadRequest,
	} {
		w := httptest.NewRecorder()
		poller.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/poll?"+query, nil))
		if w.Code != want {
			t.Errorf("%s: %d %s, want %d", query, w.Code, w.Body, want)
		}
	}
	if registry.Len() != 0 {
		t.Errorf("%d connections are left", registry.Len())
	}
}
