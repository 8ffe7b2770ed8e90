package rivulet_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/protocol"
)

// patience bounds every wait of these tests; none takes as long unless it fails.
const patience = 20 * time.Second

// peer is the node's end of one connection, driven by a test's script.
type peer struct {
	t      testing.TB
	ws     *websocket.Conn
	header http.Header
	query  url.Values
	n      int                      // which connection of its node it is, from 1
	next   <-chan *protocol.Command // where the next command comes, if it is read already
}

// errGone tells a script that the client has left.
var errGone = errors.New("the client has left")

// receive returns the next command. It ends the script if the client has left.
func (p *peer) receive() *protocol.Command {
	if next := p.next; next != nil {
		p.next = nil
		if c, ok := <-next; ok {
			return c
		}
		panic(errGone)
	}
	kind, frame, err := p.ws.ReadMessage()
	if err != nil {
		panic(errGone)
	}
	codec, want := p.codec()
	c, err := codec.DecodeCommand(frame)
	if err != nil || kind != want {
		p.t.Errorf("the client sent %q, of kind %d: %v", frame, kind, err)
		panic(errGone)
	}
	return &c
}

// nodeCodec is the node's side of a codec.
type nodeCodec interface {
	DecodeCommand(frame []byte) (protocol.Command, error)
	AppendEvent(dst []byte, e *protocol.Event) []byte
}

// codec returns what the connection agreed on, and its kind of WebSocket message.
func (p *peer) codec() (nodeCodec, int) { return codecOf(p.ws) }

func codecOf(ws *websocket.Conn) (nodeCodec, int) {
	if ws.Subprotocol() == protocol.SubprotocolProtobuf {
		return protocol.Protobuf{}, websocket.BinaryMessage
	}
	return protocol.JSON{}, websocket.TextMessage
}

// bothCodecs are what a node of this version speaks. Of those that are offered it
// chooses the first.
func bothCodecs() []string {
	return []string{protocol.SubprotocolProtobuf, protocol.SubprotocolJSON}
}

func (p *peer) send(e protocol.Event) {
	codec, _ := p.codec()
	p.sendFrame(codec.AppendEvent(nil, &e))
}

func (p *peer) sendFrame(frame []byte) {
	_, kind := p.codec()
	if err := p.ws.WriteMessage(kind, frame); err != nil {
		panic(errGone)
	}
}

// greet answers connect.
func (p *peer) greet() *protocol.ConnectCommand {
	c := p.receive()
	if c.Connect == nil {
		p.t.Errorf("first command is %+v, want connect", c)
		panic(errGone)
	}
	p.send(protocol.Event{ID: c.ID, Connected: &protocol.ConnectedEvent{Client: "c", Node: "n", PingInterval: 25}})
	return c.Connect
}

// token is what the handshake carried.
func (p *peer) token() string { return strings.TrimPrefix(p.header.Get("Authorization"), "Bearer ") }

// subscribed takes a subscribe and answers it.
func (p *peer) subscribed(e protocol.SubscribedEvent) *protocol.SubscribeCommand {
	c := p.receive()
	if c.Subscribe == nil {
		p.t.Errorf("command is %+v, want subscribe", c)
		panic(errGone)
	}
	if e.Channel == "" {
		e.Channel = c.Subscribe.Channel
	}
	p.send(protocol.Event{ID: c.ID, Subscribed: &e})
	return c.Subscribe
}

func (p *peer) message(channel string, offset uint64) {
	p.send(protocol.Event{Message: &protocol.MessageEvent{
		Channel: channel, Offset: offset, Position: at(offset), Time: 1, Data: fmt.Appendf(nil, "%d", offset),
	}})
}

// cutOff breaks the connection off.
func (p *peer) cutOff() { _ = p.ws.Close() }

// close says why and closes.
func (p *peer) close(code protocol.Code) {
	_ = p.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(int(code), code.Reason()), time.Now().Add(time.Second))
	p.cutOff()
}

// idle answers nothing more and waits until the client leaves.
func (p *peer) idle() {
	for {
		p.receive()
	}
}

// at is a position in the one stream of these tests.
func at(offset uint64) string { return atStream("AAAAA", offset) }

func atStream(stream string, offset uint64) string {
	const digits = "0123456789abcdefghijklmnopqrstuvwxyz"
	if offset < 36 {
		return stream + "eee-" + digits[offset:offset+1] + "-1"
	}
	return stream + "eee-" + digits[offset/36:offset/36+1] + digits[offset%36:offset%36+1] + "-1" // up to 1295
}

// scripted starts a node that plays script to every connection.
func scripted(t testing.TB, script func(p *peer)) string {
	t.Helper()
	return serve(t, playing(t, script))
}

// speaking is scripted for a node that speaks only the subprotocols given.
func speaking(t testing.TB, script func(p *peer), subprotocols ...string) string {
	t.Helper()
	return serve(t, playingIn(t, script, subprotocols))
}

func serve(t testing.TB, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

func playing(t testing.TB, script func(p *peer)) http.Handler {
	t.Helper()
	return playingIn(t, script, bothCodecs())
}

func playingIn(t testing.TB, script func(p *peer), subprotocols []string) http.Handler {
	t.Helper()
	var mu sync.Mutex
	n := 0
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	upgrader := websocket.Upgrader{Subprotocols: subprotocols}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		running.Add(1)
		defer running.Done()
		if r.URL.Path != "/v1/ws" {
			t.Errorf("the client asks for %s", r.URL.Path)
		}
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.Close() }()
		defer func() {
			if r := recover(); r != nil && r != errGone { //nolint:errorlint // the very value
				panic(r)
			}
		}()
		mu.Lock()
		n++
		p := &peer{t: t, ws: ws, header: r.Header, query: r.URL.Query(), n: n}
		mu.Unlock()
		script(p)
	})
}

// quick are options whose backoff does not slow a test down.
func quick() rivulet.Options {
	return rivulet.Options{Backoff: rivulet.Backoff{Base: time.Millisecond, Max: 5 * time.Millisecond}}
}

// open connects a client and closes it at the end of the test.
func open(t testing.TB, url string, opts rivulet.Options) *rivulet.Client {
	t.Helper()
	c := unconnected(t, url, opts)
	if err := c.Connect(limit(t)); err != nil {
		t.Fatal(err)
	}
	return c
}

func unconnected(t testing.TB, url string, opts rivulet.Options) *rivulet.Client {
	t.Helper()
	c, err := rivulet.New(url, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// limit is the test's context, bounded.
func limit(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func subscribe(t testing.TB, c *rivulet.Client, channel string, opts rivulet.SubscribeOptions) *rivulet.Subscription {
	t.Helper()
	s, err := c.Subscribe(limit(t), channel, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// take returns the next n things a subscription tells, as short texts.
func take(t testing.TB, s *rivulet.Subscription, n int) []string {
	t.Helper()
	var got []string
	for u, err := range s.Updates(limit(t)) {
		if err != nil {
			t.Fatalf("after %v: %v", got, err)
		}
		if got = append(got, short(u)); len(got) == n {
			break
		}
	}
	return got
}

func short(u rivulet.Update) string {
	switch u.Kind {
	case rivulet.KindMessage:
		return fmt.Sprintf("%s@%d", u.Message.Channel, u.Message.Offset)
	case rivulet.KindSubscribed:
		return fmt.Sprintf("subscribed resumed=%v recovered=%v", u.Resumed, u.Recovered)
	case rivulet.KindCaughtUp:
		return "caught up"
	case rivulet.KindGap:
		return "gap " + u.Channel + " " + u.Reason
	case rivulet.KindPosition:
		return "position"
	case rivulet.KindDeleted:
		return fmt.Sprintf("deleted %s@%d", u.Channel, u.Offset)
	case rivulet.KindPresence:
		return fmt.Sprintf("presence %d", u.Presence.Clients)
	}
	return "?"
}

// await waits for a value that another goroutine sends.
func await[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-limit(t).Done():
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}
