package sse_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/internal/hubtest"
	"github.com/rivulet-rt/rivulet/session/sse"
)

// node is a served handler on a hub in memory.
type node struct {
	hub      *hubtest.Hub
	registry *session.Registry
	server   *httptest.Server
}

func start(tb testing.TB, http2 bool, change func(*session.Config), a session.Authenticator) *node {
	tb.Helper()
	cfg := session.DefaultConfig()
	cfg.DrainWindow = 10 * time.Millisecond
	if change != nil {
		change(&cfg)
	}
	hub := hubtest.New()
	server := httptest.NewUnstartedServer(nil)
	tb.Cleanup(server.Close) // after the drain
	n := &node{hub, hub.Start(tb, cfg, a), server}
	server.Config.Handler = sse.New(n.registry, slog.New(slog.DiscardHandler))
	server.Config.WriteTimeout = 500 * time.Millisecond // must not end a stream
	if http2 {
		server.EnableHTTP2 = true
		server.StartTLS()
	} else {
		server.Start()
	}
	return n
}

func open() session.Authenticator { return hubtest.Tokens{Open: true} }

// event is one parsed event of a stream; comments have the name "comment".
type event struct{ name, data, id, retry string }

// stream is a test's end of a connection.
type stream struct {
	*http.Response
	tb     testing.TB
	lines  *bufio.Scanner
	cancel context.CancelFunc
}

func (n *node) get(tb testing.TB, query string, header http.Header) *stream {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 30*time.Second)
	tb.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.server.URL+"/v1/events?"+query, nil)
	if err != nil {
		tb.Fatal(err)
	}
	maps.Copy(req.Header, header)
	resp, err := n.server.Client().Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { resp.Body.Close() })
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	return &stream{resp, tb, lines, cancel}
}

// open checks the answer's head and its first block.
func (n *node) open(tb testing.TB, query string, header http.Header) *stream {
	tb.Helper()
	s := n.get(tb, query, header)
	if s.StatusCode != http.StatusOK || s.Header.Get("Content-Type") != "text/event-stream" || s.Header.Get("Cache-Control") != "no-store" {
		body, _ := io.ReadAll(s.Body)
		tb.Fatalf("got %s %v %s", s.Status, s.Header, body)
	}
	if ev, ok := s.next(); !ok || ev != (event{retry: "2000"}) {
		tb.Fatalf("the stream begins with %+v", ev)
	}
	return s
}

// next reads one event; false is the end of the stream.
func (s *stream) next() (ev event, ok bool) {
	for s.lines.Scan() {
		field, value, _ := strings.Cut(s.lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			ev.name = value
		case "data":
			ev.data = value
		case "id":
			ev.id = value
		case "retry":
			ev.retry = value
		default:
			if s.lines.Text() == "" {
				return ev, true
			}
			ev.name = "comment"
		}
	}
	return ev, false
}

func (s *stream) want(name, channel string) event {
	s.tb.Helper()
	ev, ok := s.next()
	var data struct {
		Channel string `json:"channel"`
	}
	if !ok || ev.name != name || json.Unmarshal([]byte(ev.data), &data) != nil || data.Channel != channel {
		s.tb.Fatalf("got %+v, %v, want %q of %s (%v)", ev, ok, name, channel, s.lines.Err())
	}
	if len(ev.id) == 0 || len(ev.id) > 4096 {
		s.tb.Fatalf("the id %q of %s has %d bytes", ev.id, name, len(ev.id))
	}
	return ev
}

func (s *stream) wantMessage(channel, data string) event {
	s.tb.Helper()
	ev := s.want("", channel)
	var m protocol.MessageEvent
	if err := json.Unmarshal([]byte(ev.data), &m); err != nil || string(m.Data) != data {
		s.tb.Fatalf("got %s, want the message %s", ev.data, data)
	}
	return ev
}

// versions are the two ways to answer: taken over, and through net/http.
func versions() map[string]bool { return map[string]bool{"HTTP/1.1": false, "HTTP/2": true} }
