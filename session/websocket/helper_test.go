package websocket_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/internal/hubtest"
	"github.com/rivulet-rt/rivulet/session/websocket"
)

// node is a served handler on a hub in memory.
type node struct {
	hub      *hubtest.Hub
	registry *session.Registry
	url      string
}

func config(change func(*session.Config)) session.Config {
	cfg := session.DefaultConfig()
	cfg.DrainWindow, cfg.CloseTimeout = 10*time.Millisecond, 2*time.Second
	if change != nil {
		change(&cfg)
	}
	return cfg
}

func start(tb testing.TB, change func(*session.Config), a session.Authenticator) *node {
	tb.Helper()
	return startWith(tb, change, a, func(*session.Services) {})
}

func startWith(tb testing.TB, change func(*session.Config), a session.Authenticator, with func(*session.Services)) *node {
	tb.Helper()
	hub := hubtest.New()
	registry := hub.StartWith(tb, config(change), a, with)
	server := httptest.NewServer(websocket.New(registry, slog.New(slog.DiscardHandler)))
	tb.Cleanup(server.Close)
	return &node{hub, registry, "ws" + strings.TrimPrefix(server.URL, "http")}
}

func open() session.Authenticator { return hubtest.Tokens{Open: true} }

func tokens(tb testing.TB) session.Authenticator {
	tb.Helper()
	all := []auth.Action{auth.Subscribe, auth.Publish, auth.History}
	return hubtest.Tokens{Known: map[string]auth.Claims{
		"ann":       hubtest.May(tb, "ann", map[string][]auth.Action{"chat:>": all}),
		"ann2":      hubtest.May(tb, "ann", map[string][]auth.Action{"chat:b": all}),
		"bob":       hubtest.May(tb, "bob", map[string][]auth.Action{"chat:>": all}),
		"read-only": hubtest.May(tb, "eve", map[string][]auth.Action{"chat:>": {auth.Subscribe}}),
	}}
}

// client is a test's end of a connection.
type client struct {
	*gorilla.Conn
	tb testing.TB
}

func (n *node) dial(tb testing.TB, query string, header http.Header) *client {
	tb.Helper()
	conn, resp, err := gorilla.DefaultDialer.DialContext(tb.Context(), n.url+query, header)
	if err != nil {
		tb.Fatalf("dial: %v (%v)", err, resp)
	}
	resp.Body.Close()
	tb.Cleanup(func() { _ = conn.Close() })
	return &client{conn, tb}
}

func (c *client) send(format string, args ...any) {
	c.tb.Helper()
	if err := c.WriteMessage(gorilla.TextMessage, fmt.Appendf(nil, format, args...)); err != nil {
		c.tb.Fatalf("send: %v", err)
	}
}

// next reads one event.
func (c *client) next() protocol.Event {
	c.tb.Helper()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	kind, frame, err := c.ReadMessage()
	if err != nil {
		c.tb.Fatalf("read: %v", err)
	}
	if kind != gorilla.TextMessage {
		c.tb.Fatalf("a frame of kind %d", kind)
	}
	var ev protocol.Event
	if err := json.Unmarshal(frame, &ev); err != nil {
		c.tb.Fatalf("%v in %s", err, frame)
	}
	return ev
}

// raw reads one frame's text.
func (c *client) raw() string {
	c.tb.Helper()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, frame, err := c.ReadMessage()
	if err != nil {
		c.tb.Fatalf("read: %v", err)
	}
	return string(frame)
}

func (c *client) wantError(id uint64, code protocol.Code, field string) protocol.ErrorEvent {
	c.tb.Helper()
	ev := c.next()
	if ev.Error == nil || ev.ID != id || ev.Error.Code != code || ev.Error.Field != field {
		c.tb.Fatalf("got %s, want error %d on %q to command %d", show(ev), code, field, id)
	}
	if ev.Error.Temporary != code.Temporary() {
		c.tb.Errorf("error %d says temporary: %v", code, ev.Error.Temporary)
	}
	if ev.Error.Message == "" {
		c.tb.Error("the error has no message")
	}
	return *ev.Error
}

// wantClose reads a disconnect event and the close frame with the same code.
func (c *client) wantClose(code protocol.Code) protocol.DisconnectEvent {
	c.tb.Helper()
	ev := c.next()
	if ev.Disconnect == nil || ev.Disconnect.Code != code || ev.Disconnect.Reconnect != code.Reconnect() {
		c.tb.Fatalf("got %s, want disconnect %d", show(ev), code)
	}
	c.wantCloseFrame(code)
	return *ev.Disconnect
}

func (c *client) wantCloseFrame(code protocol.Code) {
	c.tb.Helper()
	_, frame, err := c.ReadMessage()
	closed, ok := errors.AsType[*gorilla.CloseError](err)
	if !ok || protocol.Code(closed.Code) != code {
		c.tb.Fatalf("got %q, %v, want a close frame with %d", frame, err, code)
	}
}

func (c *client) subscribe(id uint64, channel, more string) protocol.SubscribedEvent {
	c.tb.Helper()
	c.send(`{"id":%d,"subscribe":{"channel":%q%s}}`, id, channel, more)
	ev := c.next()
	if ev.Subscribed == nil || ev.ID != id {
		c.tb.Fatalf("got %s, want subscribed to command %d", show(ev), id)
	}
	return *ev.Subscribed
}

func show(ev protocol.Event) string { return string(protocol.JSON{}.AppendEvent(nil, &ev)) }
