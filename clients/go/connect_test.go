package rivulet_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/protocol"
)

func TestURLs(t *testing.T) {
	tests := []struct {
		url string
		ok  bool
	}{
		{"http://127.0.0.1:8080", true},
		{"https://rt.example.com/", true},
		{"ws://127.0.0.1:8080/v1/ws", true},
		{"wss://rt.example.com/behind/v1/ws?a=b", true},
		{"127.0.0.1:8080", false},
		{"ftp://x", false},
		{"http://", false},
		{"http://user:secret@x", false},
		{"http://%zz", false},
		{"", false},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			if _, err := rivulet.New(tt.url, rivulet.Options{}); (err == nil) != tt.ok {
				t.Errorf("New: %v", err)
			}
			if _, err := rivulet.NewPublisher(tt.url, rivulet.PublisherOptions{}); (err == nil) != tt.ok {
				t.Errorf("NewPublisher: %v", err)
			}
			if _, err := rivulet.New("http://x", rivulet.Options{URLs: []string{tt.url}}); (err == nil) != tt.ok {
				t.Errorf("further URL: %v", err)
			}
		})
	}
}

func TestHandshakeTellsWhoComes(t *testing.T) {
	headers, connects := make(chan http.Header, 1), make(chan *protocol.ConnectCommand, 1)
	url := scripted(t, func(p *peer) {
		headers <- p.header
		connects <- p.greet()
		p.idle()
	})
	opts := quick()
	opts.Token, opts.Name, opts.Header = "secret", "app", http.Header{"X-Trace": {"7"}}
	states := make(chan rivulet.StateChange, 10)
	opts.OnState = func(s rivulet.StateChange) { states <- s }
	c := open(t, url, opts)
	h := await(t, headers)
	if h.Get("Authorization") != "Bearer secret" || h.Get("X-Trace") != "7" || h.Get("Sec-Websocket-Protocol") != "rivulet.v1.json" {
		t.Errorf("headers %v", h)
	}
	if cmd := await(t, connects); *cmd != (protocol.ConnectCommand{Name: "app", Version: rivulet.Version}) {
		t.Errorf("connect %+v, and the token was in the handshake", cmd)
	}
	if state, reason := c.State(); state != rivulet.StateConnected || reason != nil {
		t.Errorf("state %v, %v", state, reason)
	}
	c.Close()
	c.Close() // is allowed
	want := []rivulet.StateChange{
		{State: rivulet.StateConnecting},
		{State: rivulet.StateConnected, Node: "n", Client: "c"},
		{State: rivulet.StateClosed, Reason: rivulet.ErrClosed},
	}
	for _, w := range want {
		if got := await(t, states); got != w {
			t.Errorf("state %+v, want %+v", got, w)
		}
	}
	if err := c.Connect(limit(t)); !errors.Is(err, rivulet.ErrClosed) {
		t.Errorf("Connect after Close: %v", err)
	}
}

func TestBeforeConnect(t *testing.T) {
	c := unconnected(t, "http://127.0.0.1:1", quick())
	if _, err := c.Subscribe(limit(t), "a:b", rivulet.SubscribeOptions{}); !errors.Is(err, rivulet.ErrNotConnected) {
		t.Errorf("Subscribe: %v", err)
	}
	if _, err := c.Publish(limit(t), "a:b", 1, rivulet.PublishOptions{}); !errors.Is(err, rivulet.ErrNotConnected) {
		t.Errorf("Publish: %v", err)
	}
	ctx, cancel := context.WithCancel(limit(t))
	cancel()
	if err := c.Connect(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Connect: %v", err)
	}
}

// What a node says at the end of a connection decides whether the client comes back.
func TestEndsOfConnections(t *testing.T) {
	disconnect := func(code protocol.Code, reconnect bool) func(p *peer) {
		return func(p *peer) {
			p.greet()
			p.send(protocol.Event{Disconnect: &protocol.DisconnectEvent{Code: code, Reason: "so", Reconnect: reconnect}})
			p.close(code)
		}
	}
	closing := func(code protocol.Code) func(p *peer) {
		return func(p *peer) {
			p.greet()
			p.close(code)
		}
	}
	refusing := func(code protocol.Code, temporary bool) func(p *peer) {
		return func(p *peer) {
			c := p.receive()
			p.send(protocol.Event{ID: c.ID, Error: &protocol.ErrorEvent{Code: code, Message: "so", Temporary: temporary}})
			p.cutOff()
		}
	}
	tests := []struct {
		name  string
		first func(p *peer)
		want  protocol.Code // of the client's end; 0 if it comes back
	}{
		{"draining", disconnect(protocol.CloseDraining, true), 0},
		{"disconnect for good", disconnect(protocol.CloseForbidden, false), protocol.CloseForbidden},
		{"disconnect outweighs the range", disconnect(protocol.CloseTooMany, true), 0},
		{"unknown code to reconnect", closing(4177), 0},
		{"unknown code to stay away", closing(4377), 4377},
		{"bad frame", closing(protocol.CloseBadFrame), protocol.CloseBadFrame},
		{"protocol error", closing(protocol.CloseProtocolError), protocol.CloseProtocolError},
		{"too big", closing(protocol.CloseMessageTooBig), protocol.CloseMessageTooBig},
		{"going away", closing(protocol.CloseGoingAway), 0},
		{"normal", closing(protocol.CloseNormal), 0},
		{"broken off", func(p *peer) { p.greet(); p.cutOff() }, 0},
		{"connect refused", refusing(protocol.ErrorUnauthorized, false), protocol.ErrorUnauthorized},
		{"connect refused for now", refusing(protocol.ErrorUnavailable, true), 0},
		{"broken off before connected", func(p *peer) { p.receive(); p.cutOff() }, 0},
		{"not JSON", func(p *peer) { p.greet(); _ = p.ws.WriteMessage(websocket.TextMessage, []byte("{")); p.idle() }, 0},
		{"binary", func(p *peer) { p.greet(); _ = p.ws.WriteMessage(websocket.BinaryMessage, []byte("{}")); p.idle() }, 0},
		{"broken data_base64", func(p *peer) {
			p.greet()
			p.send(protocol.Event{Message: &protocol.MessageEvent{Channel: "a:b", DataBase64: new("!")}})
			p.idle()
		}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			back := make(chan struct{}, 1)
			ended := make(chan error, 1)
			opts := quick()
			opts.OnState = func(s rivulet.StateChange) {
				if s.State == rivulet.StateClosed {
					ended <- s.Reason
				}
			}
			c := unconnected(t, scripted(t, func(p *peer) {
				if p.n == 1 {
					tt.first(p)
					return
				}
				p.greet()
				back <- struct{}{}
				p.idle()
			}), opts)
			err := c.Connect(limit(t))
			if tt.want == 0 {
				if err != nil {
					t.Fatal(err)
				}
				await(t, back)
				return
			}
			if e, ok := errors.AsType[*rivulet.Error](await(t, ended)); !ok || e.Code != tt.want || e.Temporary {
				t.Errorf("the client ended with %v, want code %d", e, tt.want)
			}
			if _, err := c.Publish(limit(t), "a:b", 1, rivulet.PublishOptions{}); err == nil {
				t.Error("published after the end")
			}
		})
	}
}

func TestRefusedHandshakes(t *testing.T) {
	tests := []struct {
		status int
		header string
		fatal  bool
		wait   time.Duration
	}{
		{http.StatusUnauthorized, "", true, 0},
		{http.StatusForbidden, "", true, 0},
		{http.StatusServiceUnavailable, "2", false, 2 * time.Second},
		{http.StatusTooManyRequests, "3", false, 3 * time.Second},
		{http.StatusServiceUnavailable, "nonsense", false, 0},
		{http.StatusServiceUnavailable, "999999", false, 5 * time.Minute}, // bounded
		{http.StatusNotFound, "", false, 0},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.status, tt.header), func(t *testing.T) {
			url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if tt.header != "" {
					w.Header().Set("Retry-After", tt.header)
				}
				w.WriteHeader(tt.status)
				fmt.Fprintf(w, `{"code":%d,"message":"not now","data":{"field":"token"}}`, tt.status)
			}))
			changes := make(chan rivulet.StateChange, 100)
			opts := rivulet.Options{
				Backoff: rivulet.Backoff{Jitter: func(time.Duration) time.Duration { return 0 }},
				OnState: func(s rivulet.StateChange) {
					if s.Reason != nil {
						select {
						case changes <- s:
						default:
						}
					}
				},
			}
			ctx, cancel := context.WithCancel(limit(t))
			defer cancel()
			c := unconnected(t, url, opts)
			connected := make(chan error, 1)
			go func() { connected <- c.Connect(ctx) }()
			s := await(t, changes)
			e, ok := errors.AsType[*rivulet.Error](s.Reason)
			if !ok || int(e.Code) != 4000+tt.status || e.Message != "not now" || e.Field != "token" {
				t.Errorf("reason %#v", s.Reason)
			}
			if fatal := s.State == rivulet.StateClosed; fatal != tt.fatal || s.RetryIn != tt.wait {
				t.Errorf("state %+v, want fatal %v and a wait of %v", s, tt.fatal, tt.wait)
			}
			cancel()
			err := await(t, connected)
			if e, ok := errors.AsType[*rivulet.Error](err); !ok || int(e.Code) != 4000+tt.status {
				t.Errorf("Connect: %v does not name the failure", err)
			}
		})
	}
}

// TestRefusedTokenIsReplaced: a handshake refused with 401 is worth another attempt
// only with another token.
func TestRefusedTokenIsReplaced(t *testing.T) {
	var tried []string
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tried = append(tried, r.Header.Get("Authorization")) // one attempt at a time
		w.WriteHeader(http.StatusUnauthorized)
	}))
	given := []string{"old", "new", "new", "never"}
	opts := quick()
	opts.TokenFunc = func(context.Context) (token string, err error) {
		token, given = given[0], given[1:]
		return token, nil
	}
	err := unconnected(t, url, opts).Connect(limit(t))
	if e, ok := errors.AsType[*rivulet.Error](err); !ok || e.Code != protocol.ErrorUnauthorized {
		t.Errorf("Connect: %v", err)
	}
	if got := fmt.Sprint(tried); got != "[Bearer old Bearer new Bearer new]" {
		t.Errorf("tried %s, want an end at the token that was refused before", got)
	}
}

func TestFreshTokenAtEveryConnect(t *testing.T) {
	tokens := make(chan string, 10)
	url := scripted(t, func(p *peer) {
		switch p.n {
		case 1: // refused, but with an invitation to come back
			c := p.receive()
			p.send(protocol.Event{ID: c.ID, Error: &protocol.ErrorEvent{Code: protocol.ErrorUnauthorized, Message: "expired"}})
			p.send(protocol.Event{Disconnect: &protocol.DisconnectEvent{Code: protocol.CloseTokenExpired, Reconnect: true}})
			p.close(protocol.CloseTokenExpired)
		case 2:
			p.greet()
			p.close(protocol.CloseTokenExpired)
		default:
			p.greet()
			tokens <- p.token()
			c := p.receive()
			tokens <- c.Refresh.Token
			p.send(protocol.Event{ID: c.ID, Connected: &protocol.ConnectedEvent{}})
			p.idle()
		}
	})
	var calls atomic.Int32
	opts := quick()
	opts.TokenFunc = func(context.Context) (string, error) {
		if calls.Add(1) == 3 {
			return "", errors.New("the token service is away")
		}
		return fmt.Sprint("t", calls.Load()), nil
	}
	c := open(t, url, opts)
	if got := await(t, tokens); got != "t4" {
		t.Errorf("connected with %s, want the fourth token", got)
	}
	if err := c.Refresh(limit(t)); err != nil {
		t.Fatal(err)
	}
	if got := await(t, tokens); got != "t5" {
		t.Errorf("refreshed with %s", got)
	}
}

func TestNextNodeAfterAFailure(t *testing.T) {
	var served []string
	node := func(name string) string {
		return scripted(t, func(p *peer) {
			served = append(served, name) // one connection at a time
			p.greet()
			if len(served) < 5 {
				p.close(protocol.CloseDraining)
				return
			}
			p.idle()
		})
	}
	opts := quick()
	opts.URLs = []string{node("b"), "http://127.0.0.1:1", node("c")}
	done := make(chan struct{}, 10)
	opts.OnState = func(s rivulet.StateChange) {
		if s.State == rivulet.StateConnected {
			done <- struct{}{}
		}
	}
	c := open(t, node("a"), opts)
	for range 5 {
		await(t, done)
	}
	c.Close()
	if want := []string{"a", "b", "c", "a", "b"}; !slices.Equal(served, want) {
		t.Errorf("served by %v, want %v", served, want)
	}
}

func TestAnswersPings(t *testing.T) {
	ponged := make(chan *protocol.Command, 1)
	url := scripted(t, func(p *peer) {
		p.greet()
		p.send(protocol.Event{Ping: &protocol.Ping{}})
		ponged <- p.receive()
		p.idle()
	})
	open(t, url, quick())
	if c := await(t, ponged); c.Pong == nil || c.ID != 0 {
		t.Errorf("answered %+v", c)
	}
}

func TestMessageContent(t *testing.T) {
	url := scripted(t, func(p *peer) {
		p.greet()
		p.subscribed(protocol.SubscribedEvent{Position: at(0), Recovered: true})
		p.send(protocol.Event{Message: &protocol.MessageEvent{
			Channel: "a:b", Offset: 1, Position: at(1), Time: 1732290000123, ID: "k", User: "ann", Client: "c1",
			Headers: map[string]string{"h": "v"}, Data: json.RawMessage(`{"text":"hi"}`),
		}})
		p.send(protocol.Event{Message: &protocol.MessageEvent{Channel: "a:b", Offset: 2, Position: at(2), DataBase64: new("AP8=")}})
		p.send(protocol.Event{Message: &protocol.MessageEvent{Channel: "a:b", Offset: 3, Position: at(3), DataBase64: new("")}})
		p.idle()
	})
	s := subscribe(t, open(t, url, quick()), "a:b", rivulet.SubscribeOptions{})
	var got []*rivulet.Message
	for m, err := range s.Messages(limit(t)) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, m); len(got) == 3 {
			break
		}
	}
	var body struct{ Text string }
	if err := got[0].Decode(&body); err != nil || body.Text != "hi" {
		t.Errorf("decoded %+v, %v", body, err)
	}
	if m := got[0]; m.ID != "k" || m.User != "ann" || m.Client != "c1" || m.Headers["h"] != "v" || m.Time.UnixMilli() != 1732290000123 || m.Bytes != nil {
		t.Errorf("message %+v", m)
	}
	if m := got[1]; !slices.Equal(m.Bytes, []byte{0, 255}) || m.Data != nil {
		t.Errorf("bytes %+v", m)
	}
	if err := got[1].Decode(&body); err == nil {
		t.Error("decoded bytes as JSON")
	}
	if m := got[2]; m.Bytes == nil || len(m.Bytes) != 0 {
		t.Errorf("no bytes at all %+v", m)
	}
}
