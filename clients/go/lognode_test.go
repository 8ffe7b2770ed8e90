package rivulet_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/protocol"
)

// logNode is a node with a log in memory: subscriptions are cursors on it, under
// the clauses that a client relies on. It breaks connections off at will.
type logNode struct {
	// Static.
	cutAfter func() int // frames after which a connection breaks off; 0 is never
	repeat   func() bool

	mu    sync.Mutex // guards the following
	log   []protocol.MessageEvent
	keys  map[string]uint64 // offset by idempotency key
	conns map[*logConn]struct{}
	done  bool
	seen  int // connections so far
}

func newLogNode(t testing.TB) (*logNode, string) {
	t.Helper()
	n := &logNode{keys: map[string]uint64{}, conns: map[*logConn]struct{}{}, cutAfter: func() int { return 0 }, repeat: func() bool { return false }}
	var running sync.WaitGroup
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		running.Add(1)
		defer running.Done()
		n.serve(w, r)
	}))
	t.Cleanup(func() {
		n.mu.Lock()
		n.done = true
		for c := range n.conns {
			_ = c.ws.Close()
			c.cond.Broadcast()
		}
		n.mu.Unlock()
		running.Wait()
	})
	return n, url
}

// logSub is a cursor.
type logSub struct {
	channel    string
	start, pos uint64
	caughtUp   bool
	// Between these, a pattern that covers the channel has delivered.
	hadFrom, hadTo uint64
}

// logConn is one connection.
type logConn struct {
	node *logNode
	ws   *websocket.Conn
	cond *sync.Cond // on node.mu: there is something to write, or the end

	// Guarded by node.mu.
	subs    []*logSub
	replies []protocol.Event
	gone    bool
}

func (n *logNode) serve(w http.ResponseWriter, r *http.Request) {
	ws, err := (&websocket.Upgrader{Subprotocols: bothCodecs()}).Upgrade(w, r, nil)
	if err != nil {
		return
	}
	c := &logConn{node: n, ws: ws, cond: sync.NewCond(&n.mu)}
	n.mu.Lock()
	n.conns[c] = struct{}{}
	n.seen++
	n.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(c.write)
	c.read()
	n.mu.Lock()
	c.gone = true
	delete(n.conns, c)
	c.cond.Broadcast()
	n.mu.Unlock()
	_ = ws.Close()
	wg.Wait()
}

func (c *logConn) read() {
	codec, _ := codecOf(c.ws)
	for {
		_, frame, err := c.ws.ReadMessage()
		if err != nil {
			return
		}
		cmd, err := codec.DecodeCommand(frame)
		if err != nil {
			return
		}
		c.node.mu.Lock()
		if e := c.handle(&cmd); e != (protocol.Event{}) {
			e.ID = cmd.ID
			c.replies = append(c.replies, e)
		}
		c.cond.Broadcast()
		c.node.mu.Unlock()
	}
}

func (c *logConn) handle(cmd *protocol.Command) protocol.Event {
	n := c.node
	switch {
	case cmd.Connect != nil:
		return protocol.Event{Connected: &protocol.ConnectedEvent{Client: "c", Node: "n", PingInterval: 25}}
	case cmd.Subscribe != nil:
		return c.subscribe(cmd.Subscribe)
	case cmd.Unsubscribe != nil:
		c.subs = slices.DeleteFunc(c.subs, func(s *logSub) bool { return s.channel == cmd.Unsubscribe.Channel })
		return protocol.Event{Unsubscribed: &protocol.UnsubscribedEvent{Channel: cmd.Unsubscribe.Channel}}
	case cmd.Publish != nil:
		offset, duplicate := n.appendLocked(cmd.Publish.Channel, string(cmd.Publish.Data), cmd.Publish.IdempotencyKey)
		return protocol.Event{Published: &protocol.PublishedEvent{Channel: cmd.Publish.Channel, Offset: offset, Position: place(offset), Duplicate: duplicate}}
	case cmd.History != nil:
		h := protocol.HistoryEvent{Channel: cmd.History.Channel, Recovered: true}
		for i := range n.log {
			if n.log[i].Channel == cmd.History.Channel {
				h.Messages, h.Position = append(h.Messages, n.log[i]), n.log[i].Position
			}
		}
		return protocol.Event{History: &h}
	}
	return protocol.Event{}
}

func (c *logConn) subscribe(cmd *protocol.SubscribeCommand) protocol.Event {
	if slices.ContainsFunc(c.subs, func(s *logSub) bool { return s.channel == cmd.Channel }) {
		return protocol.Event{Error: &protocol.ErrorEvent{Code: protocol.ErrorConflict, Message: "already subscribed"}}
	}
	s := &logSub{channel: cmd.Channel, start: uint64(len(c.node.log))}
	if p := append(cmd.Positions, cmd.Position); p[0] != "" {
		s.start, _ = protocol.PositionOffset(p[0])
	}
	s.pos = s.start
	for _, p := range c.subs {
		if p.pattern() && p.matches(s.channel) {
			s.hadFrom, s.hadTo = p.start, p.pos
		}
	}
	c.subs = append(c.subs, s)
	e := &protocol.SubscribedEvent{Channel: s.channel, Recovered: true}
	if strings.ContainsAny(s.channel, "*>") {
		e.Positions = []string{place(s.start)}
	} else {
		e.Position = place(s.start)
	}
	return protocol.Event{Subscribed: e}
}

func place(offset uint64) string { return "AAAAAeee-" + strconv.FormatUint(offset, 36) + "-1" }

// publish stores a message of the test's own.
func (n *logNode) publish(channel, data string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.appendLocked(channel, data, "")
}

func (n *logNode) appendLocked(channel, data, key string) (offset uint64, duplicate bool) {
	if offset, duplicate = n.keys[key]; duplicate && key != "" {
		return offset, true
	}
	offset = uint64(len(n.log)) + 1
	n.keys[key] = offset
	n.log = append(n.log, protocol.MessageEvent{Channel: channel, Offset: offset, Position: place(offset), Time: 1, ID: key, Data: []byte(data)})
	for c := range n.conns {
		c.cond.Broadcast()
	}
	return offset, false
}

// stored returns the data of a channel's messages, in order.
func (n *logNode) stored(channel string) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []string
	for i := range n.log {
		if n.log[i].Channel == channel {
			list = append(list, string(n.log[i].Data))
		}
	}
	return list
}

// connections counts them all, also those that are gone.
func (n *logNode) connections() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.seen
}

// breakAll breaks every connection off.
func (n *logNode) breakAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		breakOff(c.ws)
	}
}

// breakOff closes without a good-bye; half of the time what is under way is lost.
func breakOff(ws *websocket.Conn) {
	if tcp, ok := ws.NetConn().(*net.TCPConn); ok && rand.N(2) == 0 {
		_ = tcp.SetLinger(0)
	}
	_ = ws.Close()
}

func (c *logConn) write() {
	left := c.node.cutAfter()
	codec, kind := codecOf(c.ws)
	for {
		c.node.mu.Lock()
		e, ok := c.nextLocked()
		for !ok && !c.gone && !c.node.done {
			c.cond.Wait()
			e, ok = c.nextLocked()
		}
		c.node.mu.Unlock()
		if !ok {
			return
		}
		frame := codec.AppendEvent(nil, &e)
		times := 1
		if e.Message != nil && c.node.repeat() {
			times = 2
		}
		for range times {
			if c.ws.WriteMessage(kind, frame) != nil {
				return
			}
		}
		if left--; left == 0 {
			breakOff(c.ws)
			return
		}
	}
}

// nextLocked is the next event to write: replies first, then one message.
func (c *logConn) nextLocked() (protocol.Event, bool) {
	if len(c.replies) > 0 {
		e := c.replies[0]
		c.replies = c.replies[1:]
		return e, true
	}
	for _, s := range c.subs {
		for s.pos < uint64(len(c.node.log)) {
			m := &c.node.log[s.pos]
			s.pos++
			if s.matches(m.Channel) && !c.covered(s, m) && (m.Offset <= s.hadFrom || m.Offset > s.hadTo) {
				return protocol.Event{Message: m}, true
			}
		}
		if !s.caughtUp {
			s.caughtUp = true
			return protocol.Event{CaughtUp: &protocol.CaughtUpEvent{Channel: s.channel}}, true
		}
	}
	return protocol.Event{}, false
}

func (s *logSub) pattern() bool { return strings.HasSuffix(s.channel, ">") }

func (s *logSub) matches(channel string) bool {
	if s.pattern() {
		return strings.HasPrefix(channel, strings.TrimSuffix(s.channel, ">"))
	}
	return s.channel == channel
}

// covered is clause P-4.4 as the node sees it.
func (c *logConn) covered(mine *logSub, m *protocol.MessageEvent) bool {
	if !mine.pattern() {
		return false
	}
	older := true
	for _, s := range c.subs {
		if s == mine {
			older = false
			continue
		}
		if (!s.pattern() || older) && s.matches(m.Channel) && m.Offset > s.start {
			return true
		}
	}
	return false
}

func numbers(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint(i)
	}
	return list
}
