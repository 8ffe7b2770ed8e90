package rivulet_test

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/protocol"
)

// modelNode is a node in memory, to the letter of the protocol's sections 3 to 5: what a
// client is held against. Unlike logNode it has several streams, which lose messages and
// begin anew, patterns of both kinds, and refuses commands for a while.
type modelNode struct {
	mu    sync.Mutex // guards the following and all below
	logs  [2]*modelLog
	conns map[*modelConn]struct{}
	done  bool
	// deafen has all writes of the client fail, on the connections that there are, while
	// what the node sends still arrives. It is static.
	deafen func()
	// refuse is how many of the next commands are refused for a while.
	refuse int
	// tarry is how many of the next subscribes of patterns are answered later.
	tarry int
	// lag is how long the next command of each connection waits.
	lag time.Duration
}

const pingInterval = 25 // seconds

// modelConn is one connection.
type modelConn struct {
	node    *modelNode
	ws      *websocket.Conn
	wake    *sync.Cond // on node.mu: there is something to write, or the end
	subs    []*modelSub
	replies []protocol.Event
	turn    int // whose turn it is
	gone    bool
}

// newModelNode starts a node in the bubble, reached by the dial function.
func newModelNode(t *testing.T) (n *modelNode, dial dialer) {
	t.Helper()
	n = &modelNode{conns: map[*modelConn]struct{}{}}
	for i := range n.logs {
		n.logs[i] = &modelLog{key: fmt.Sprintf("s%dAAA", i), epoch: 1}
	}
	network := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	ears := &hearing{}
	n.deafen = ears.end
	srv := &http.Server{Handler: n, ReadHeaderTimeout: time.Minute}
	var running sync.WaitGroup
	running.Go(func() { _ = srv.Serve(network) })
	running.Go(func() { n.ping(network.done) })
	t.Cleanup(func() {
		n.mu.Lock()
		n.done = true
		n.mu.Unlock()
		n.cut()
		_ = srv.Close()
		running.Wait()
	})
	return n, ears.dial(network.dial)
}

func (n *modelNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ws, err := (&websocket.Upgrader{Subprotocols: bothCodecs()}).Upgrade(w, r, nil)
	if err != nil {
		return
	}
	c := &modelConn{node: n, ws: ws, wake: sync.NewCond(&n.mu)}
	n.mu.Lock()
	c.gone = n.done
	n.conns[c] = struct{}{}
	n.mu.Unlock()
	var writing sync.WaitGroup
	writing.Go(c.write)
	c.read()
	n.mu.Lock()
	c.endLocked()
	n.mu.Unlock()
	writing.Wait()
}

func (c *modelConn) endLocked() {
	c.gone = true
	delete(c.node.conns, c)
	_ = c.ws.Close()
	c.wake.Broadcast()
}

// ping keeps connections up: what is stuck must not be saved by the loss of its own.
func (n *modelNode) ping(done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-time.After(pingInterval * time.Second):
		}
		n.mu.Lock()
		for c := range n.conns {
			c.replies = append(c.replies, protocol.Event{Ping: &protocol.Ping{}})
		}
		n.wakeLocked()
		n.mu.Unlock()
	}
}

// cut ends all connections.
func (n *modelNode) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		c.endLocked()
	}
}

func (n *modelNode) wakeLocked() {
	for c := range n.conns {
		c.wake.Broadcast()
	}
}

func (n *modelNode) logOf(channel string) *modelLog {
	return n.logs[int(channel[len(channel)-1])%len(n.logs)]
}

// publish stores a message.
func (n *modelNode) publish(channel string, data int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.logOf(channel)
	l.last++
	l.entries = append(l.entries, &entry{l.last, channel, data})
	n.wakeLocked()
}

// trim drops the oldest of a stream, all but so many.
func (n *modelNode) trim(stream, keep int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.logs[stream]
	if gone := len(l.entries) - keep; gone > 0 {
		l.trimmed = l.entries[gone-1].seq
		l.entries = l.entries[gone:]
	}
	n.wakeLocked()
}

// reset has a stream begin anew.
func (n *modelNode) reset(stream int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.logs[stream]
	*l = modelLog{key: l.key, epoch: l.epoch + 1}
	n.wakeLocked()
}

// refuseNext refuses so many more commands for a while.
func (n *modelNode) refuseNext(count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refuse += count
}

func (c *modelConn) read() {
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
		c.node.wait()
		c.node.mu.Lock()
		if e, answer := c.handle(&cmd); answer {
			e.ID = cmd.ID
			c.replies = append(c.replies, e)
		}
		c.wake.Broadcast()
		c.node.mu.Unlock()
	}
}

func (c *modelConn) handle(cmd *protocol.Command) (e protocol.Event, answer bool) {
	n := c.node
	switch {
	case cmd.Connect != nil:
		return protocol.Event{Connected: &protocol.ConnectedEvent{Client: "c", Node: "n", PingInterval: pingInterval}}, true
	case cmd.Subscribe == nil && cmd.Unsubscribe == nil:
		return e, false
	case n.refuse > 0:
		n.refuse--
		if cmd.Subscribe != nil {
			c.takePlace(cmd.Subscribe.Channel) // an error, too, is the end of what the token named
		}
		return refusedFor(3 * time.Millisecond), true
	case c.tarries(cmd):
		return e, false
	case cmd.Subscribe != nil:
		return c.subscribe(cmd.Subscribe), true
	}
	return c.unsubscribe(cmd.Unsubscribe.Channel), true
}

// refusedFor is the refusal of a node that cannot now.
func refusedFor(d time.Duration) protocol.Event {
	return protocol.Event{Error: &protocol.ErrorEvent{
		Code: protocol.ErrorTooManyRequests, Message: "later", Temporary: true, RetryAfterMS: d.Milliseconds(),
	}}
}

func (c *modelConn) unsubscribe(channel string) protocol.Event {
	gone := c.find(channel)
	if gone == nil {
		return protocol.Event{Error: &protocol.ErrorEvent{Code: protocol.ErrorNotFound, Message: "not subscribed", Field: "channel"}}
	}
	for _, other := range c.subs {
		if other != gone && other.pattern() {
			c.takeOver(other, gone)
		}
	}
	c.subs = slices.DeleteFunc(c.subs, func(s *modelSub) bool { return s == gone })
	return protocol.Event{Unsubscribed: &protocol.UnsubscribedEvent{Channel: channel}}
}

// takeOver: a pattern leaves out what one that ends had, and delivers what that one owed.
func (c *modelConn) takeOver(to, from *modelSub) {
	for _, had := range []map[*entry]bool{from.delivered, from.skip} {
		for e := range had {
			to.skip[e] = true
		}
	}
	for _, cursor := range to.cursors {
		for _, theirs := range from.cursors {
			if theirs.log == cursor.log {
				cursor.at = min(cursor.at, theirs.at) // owner tells what was not left to it
			}
		}
	}
}

func (c *modelConn) subscribe(cmd *protocol.SubscribeCommand) protocol.Event {
	c.takePlace(cmd.Channel)
	if c.find(cmd.Channel) != nil {
		return protocol.Event{Error: &protocol.ErrorEvent{Code: protocol.ErrorConflict, Message: "already subscribed"}}
	}
	s := &modelSub{channel: cmd.Channel, delivered: map[*entry]bool{}, skip: map[*entry]bool{}}
	asked := cmd.Positions
	if cmd.Position != "" {
		asked = append(asked, cmd.Position)
	}
	reason := ""
	for _, l := range c.node.logs {
		if !s.pattern() && l != c.node.logOf(s.channel) {
			continue
		}
		at, why := s.begin(l, asked, cmd.Last)
		if why != "" {
			reason = why
		}
		s.cursors = append(s.cursors, &modelCursor{log: l, start: at, at: at, epoch: l.epoch})
	}
	s.behind = len(asked) > 0 || cmd.Last > 0
	for _, p := range c.subs {
		if !s.pattern() && p.pattern() && p.covers(s.channel) {
			for e := range p.delivered {
				s.skip[e] = true
			}
		}
	}
	c.subs = append(c.subs, s)
	e := &protocol.SubscribedEvent{Channel: s.channel, Recovered: reason == "", Reason: reason}
	e.Position, e.Positions = s.places()
	return protocol.Event{Subscribed: e}
}

func (c *modelConn) write() {
	codec, kind := codecOf(c.ws)
	for {
		c.node.mu.Lock()
		e, ok := c.nextLocked()
		for !ok && !c.gone {
			c.wake.Wait()
			e, ok = c.nextLocked()
		}
		gone := c.gone
		c.node.mu.Unlock()
		if gone || c.ws.WriteMessage(kind, codec.AppendEvent(nil, &e)) != nil {
			return
		}
	}
}

// nextLocked is the next event to write: replies, then what tells of losses, then messages,
// of the cursors in turn.
func (c *modelConn) nextLocked() (protocol.Event, bool) {
	if len(c.replies) > 0 {
		e := c.replies[0]
		c.replies = c.replies[1:]
		return e, true
	}
	type place struct {
		sub    *modelSub
		cursor *modelCursor
	}
	var all []place
	for _, s := range c.subs {
		for _, cursor := range s.cursors {
			if cursor.epoch != cursor.log.epoch || cursor.at < cursor.log.trimmed {
				return lostFrom(s, cursor), true
			}
			all = append(all, place{s, cursor})
		}
	}
	for idle := 0; idle < len(all); c.turn++ {
		p := all[c.turn%len(all)]
		i := slices.IndexFunc(p.cursor.log.entries, func(e *entry) bool { return e.seq > p.cursor.at })
		if i < 0 {
			idle++
			continue
		}
		idle = 0
		if e, ok := c.pass(p.sub, p.cursor, p.cursor.log.entries[i]); ok {
			c.turn++
			return e, true
		}
	}
	for _, s := range c.subs {
		if s.behind {
			s.behind = false
			e := &protocol.CaughtUpEvent{Channel: s.channel}
			e.Position, e.Positions = s.places()
			return protocol.Event{CaughtUp: e}, true
		}
	}
	return protocol.Event{}, false
}

// lostFrom moves a cursor over what its log has lost.
func lostFrom(s *modelSub, c *modelCursor) protocol.Event {
	reason := protocol.ReasonRetention
	if c.epoch != c.log.epoch {
		reason = protocol.ReasonLogChanged
	}
	c.at, c.start, c.epoch = c.log.trimmed, c.log.trimmed, c.log.epoch
	return protocol.Event{Gap: &protocol.GapEvent{Channel: s.channel, Position: c.log.position(c.at), Reason: reason}}
}

// pass moves a cursor over a message, which is to be written if it is its.
func (c *modelConn) pass(s *modelSub, cursor *modelCursor, e *entry) (protocol.Event, bool) {
	cursor.at = e.seq
	if c.owner(cursor.log, e) != s || s.skip[e] || s.delivered[e] {
		return protocol.Event{}, false
	}
	s.delivered[e] = true
	// A position need not be the message's own, only a safe one (clause P-5.2).
	safe := max(e.seq-e.seq%3, cursor.start)
	return protocol.Event{Message: &protocol.MessageEvent{
		Channel: e.channel, Offset: e.seq, Position: cursor.log.position(safe), Time: 1, Data: strconv.AppendInt(nil, int64(e.data), 10),
	}}, true
}

// owner is whose a message is (clause P-4.4).
func (c *modelConn) owner(l *modelLog, e *entry) *modelSub {
	var first *modelSub
	for _, s := range c.subs {
		if !s.covers(e.channel) || first != nil && s.pattern() {
			continue
		}
		for _, cursor := range s.cursors {
			if cursor.log == l && e.seq > cursor.start {
				first = s
			}
		}
		if first == s && !s.pattern() {
			break
		}
	}
	return first
}
