package test_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/cmd"
	"github.com/rivulet-rt/rivulet/protocol"
)

// What these tests speak to a node with: HTTP, WebSocket and SSE as they are on
// the wire, without the SDK, which would hide what the node says.

// localConfig is for a node in this process, open, with one namespace "t" that has
// one partition.
func localConfig(t *testing.T, changes ...func(*cmd.NamespaceConfig)) cmd.Config {
	t.Helper()
	cfg := cmd.DefaultConfig()
	cfg.Dev = true
	cfg.Server.Listen = "127.0.0.1:0"
	cfg.Broker.Data = t.TempDir()
	cfg.Broker.DiskBudget = 4 << 30
	cfg.Session.DrainWindow = cmd.Duration(50 * time.Millisecond)
	ns := cmd.NamespaceConfig{Partitions: 1, MaxBytes: 64 << 20}
	for _, change := range changes {
		change(&ns)
	}
	cfg.Namespaces = map[string]cmd.NamespaceConfig{"t": ns}
	return cfg
}

// local is a node in this process.
type local struct {
	*site
	node *cmd.Node
}

func startLocal(t *testing.T, cfg cmd.Config) *local {
	t.Helper()
	return startLogging(t, cfg, slog.DiscardHandler)
}

func startLogging(t *testing.T, cfg cmd.Config, handler slog.Handler) *local {
	t.Helper()
	n, err := cmd.New(cfg, slog.New(handler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(bounded(t)); err != nil {
		t.Fatal(err)
	}
	l := &local{newSite(t, n.URL()), n}
	t.Cleanup(l.stop)
	return l
}

// stop ends the node, once.
func (l *local) stop() {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if err := l.node.Stop(ctx); err != nil {
		l.t.Errorf("stop: %v", err)
	}
}

// site is a node as its clients see it.
type site struct {
	t      *testing.T
	base   string
	token  string // sent with every request; "" is none
	client *http.Client
}

func newSite(t *testing.T, base string) *site {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &site{t: t, base: base, client: &http.Client{Transport: transport, Timeout: deadline}}
}

// response is an answer of the HTTP API.
type response struct {
	status  int
	header  http.Header
	Code    int             `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data"`
}

// field is the request's field that the answer blames.
func (r response) field() string {
	var data struct{ Field string }
	_ = json.Unmarshal(r.Data, &data) // null where no field is at fault
	return data.Field
}

// into reads the answer's data.
func (r response) into(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(r.Data, v); err != nil {
		t.Fatalf("%d %s: %v in %s", r.status, r.Message, err, r.Data)
	}
}

func (s *site) call(method, path string, header http.Header, body []byte) response {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.base+path, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	maps.Copy(req.Header, s.authorization())
	maps.Copy(req.Header, header)
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	a := response{status: resp.StatusCode, header: resp.Header}
	if err := json.Unmarshal(text, &a); err != nil || a.Code != a.status {
		s.t.Fatalf("%s %s: status %d with the body %q", method, path, a.status, text)
	}
	return a
}

func (s *site) authorization() http.Header {
	if s.token == "" {
		return http.Header{}
	}
	return http.Header{"Authorization": {"Bearer " + s.token}}
}

func messagesPath(channel string) string {
	return "/v1/channels/" + url.PathEscape(channel) + "/messages"
}

// post publishes and returns whatever the node answers.
func (s *site) post(channel string, data any, key string) response {
	s.t.Helper()
	fields := map[string]any{"data": data}
	if key != "" {
		fields["idempotency_key"] = key
	}
	body, err := json.Marshal(fields)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.call(http.MethodPost, messagesPath(channel), nil, body)
}

// publish stores one message and returns its position.
func (s *site) publish(channel string, data any) string {
	s.t.Helper()
	a := s.post(channel, data, "")
	if a.status != http.StatusCreated {
		s.t.Fatalf("publish to %s: %d %s", channel, a.status, a.Message)
	}
	return s.stored(a).Position
}

func (s *site) stored(a response) protocol.PublishedEvent {
	s.t.Helper()
	var p protocol.PublishedEvent
	if err := json.Unmarshal(a.Data, &p); err != nil || p.Position == "" {
		s.t.Fatalf("%d %s: %s", a.status, a.Message, a.Data)
	}
	return p
}

// publishAll stores the numbers from first to last and returns their positions by
// number.
func (s *site) publishAll(channel string, first, last int) map[int]string {
	s.t.Helper()
	positions := map[int]string{}
	for first <= last {
		var list []map[string]any
		for n := first; n <= last && len(list) < 500; n++ {
			list = append(list, map[string]any{"channel": channel, "data": n})
		}
		for i, p := range s.batch(list) {
			positions[first+i] = p
		}
		first += len(list)
	}
	return positions
}

// batch stores messages and returns their positions.
func (s *site) batch(list []map[string]any) []string {
	s.t.Helper()
	body, err := json.Marshal(map[string]any{"messages": list})
	if err != nil {
		s.t.Fatal(err)
	}
	a := s.call(http.MethodPost, "/v1/messages", nil, body)
	if a.status != http.StatusCreated {
		s.t.Fatalf("publish %d messages: %d %s", len(list), a.status, a.Message)
	}
	var data struct {
		Results []struct{ Data protocol.PublishedEvent }
	}
	if err := json.Unmarshal(a.Data, &data); err != nil || len(data.Results) != len(list) {
		s.t.Fatalf("%d results for %d messages: %v", len(data.Results), len(list), err)
	}
	var positions []string
	for _, r := range data.Results {
		positions = append(positions, r.Data.Position)
	}
	return positions
}

// purge empties a channel and returns the position of the marker.
func (s *site) purge(channel string) string {
	s.t.Helper()
	a := s.call(http.MethodDelete, messagesPath(channel), nil, nil)
	if a.status != http.StatusOK {
		s.t.Fatalf("purge %s: %d %s", channel, a.status, a.Message)
	}
	return s.stored(a).Position
}

// history is everything that is stored after a position, "" for all, as a reader
// is told it.
func (s *site) history(channel, after string) transcript {
	s.t.Helper()
	var seen transcript
	for page := (protocol.HistoryEvent{More: true}); page.More; after = page.Position {
		query := "?limit=1000"
		if after != "" {
			query += "&after=" + url.QueryEscape(after)
		}
		a := s.call(http.MethodGet, messagesPath(channel)+query, nil, nil)
		if a.status == http.StatusServiceUnavailable { // the log was away a moment ago
			eventually(s.t, "the log to be readable", func() bool {
				a = s.call(http.MethodGet, messagesPath(channel)+query, nil, nil)
				return a.status != http.StatusServiceUnavailable
			})
		}
		page = protocol.HistoryEvent{}
		if err := json.Unmarshal(a.Data, &page); err != nil || a.status != http.StatusOK {
			s.t.Fatalf("history of %s: %d %s %v", channel, a.status, a.Message, err)
		}
		if !page.Recovered {
			seen.add("lost:" + page.Reason)
		}
		for _, m := range page.Messages {
			seen.add(string(m.Data))
		}
	}
	return seen
}

// socket is a WebSocket connection.
type socket struct {
	*websocket.Conn
	t  *testing.T
	id uint64 // of the last command
}

func (s *site) socket() *socket {
	s.t.Helper()
	return s.dial(&websocket.Dialer{HandshakeTimeout: deadline})
}

func (s *site) dial(d *websocket.Dialer) *socket {
	s.t.Helper()
	conn, resp, err := d.DialContext(s.t.Context(), "ws"+strings.TrimPrefix(s.base, "http")+"/v1/ws", s.authorization())
	if err != nil {
		s.t.Fatalf("dial: %v (%v)", err, resp)
	}
	resp.Body.Close()
	k := &socket{Conn: conn, t: s.t}
	s.t.Cleanup(k.close)
	if s.token != "" {
		if ev := k.next(); ev.Connected == nil {
			s.t.Fatalf("got %s, want connected", shown(ev))
		}
	}
	return k
}

func (k *socket) close() { _ = k.Close() } // a second one fails

// send sends a command and returns its id.
func (k *socket) send(c protocol.Command) uint64 {
	k.t.Helper()
	k.id++
	c.ID = k.id
	if err := k.WriteJSON(c); err != nil {
		k.t.Fatalf("send: %v", err)
	}
	return k.id
}

// next reads one event.
func (k *socket) next() protocol.Event {
	k.t.Helper()
	_ = k.SetReadDeadline(time.Now().Add(deadline))
	_, frame, err := k.ReadMessage()
	if err != nil {
		k.t.Fatalf("read: %v", err)
	}
	var ev protocol.Event
	if err := json.Unmarshal(frame, &ev); err != nil {
		k.t.Fatalf("%v in %s", err, frame)
	}
	return ev
}

// reply reads the event that answers the last command; nothing else may come first.
func (k *socket) reply() protocol.Event {
	k.t.Helper()
	ev := k.next()
	if ev.ID != k.id {
		k.t.Fatalf("got %s, want the answer to command %d", shown(ev), k.id)
	}
	return ev
}

func shown(ev protocol.Event) string {
	text, err := json.Marshal(ev)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// subscribe expects to be subscribed.
func (k *socket) subscribe(c protocol.SubscribeCommand) *protocol.SubscribedEvent {
	k.t.Helper()
	k.send(protocol.Command{Subscribe: &c})
	ev := k.reply()
	if ev.Subscribed == nil {
		k.t.Fatalf("subscribe to %s: %s", c.Channel, shown(ev))
	}
	return ev.Subscribed
}
