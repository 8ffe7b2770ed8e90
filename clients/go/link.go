package rivulet

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/protocol"
)

const (
	writeTimeout = 10 * time.Second
	// mostSilence after which a connection counts as dead, where three of the node's
	// ping intervals are longer.
	mostSilence = 90 * time.Second
	// closeTimeout bounds the good-bye of Close.
	closeTimeout = 250 * time.Millisecond
	// keepBuffer is the largest buffer kept between frames.
	keepBuffer = 64 << 10
)

var (
	errLost     = errors.New("connection lost")
	errNoAnswer = errors.New("no reply in time")
)

// link is one established connection, from the node's `connected` to its end.
type link struct {
	// Static once in use.
	ws       *websocket.Conn
	conn     *liveConn // below ws
	frames   frames
	client   string
	node     string
	resumed  bool // the node knew the durable session
	maxFrame int
	lost     chan struct{} // closed when no more commands go out; what it still brings counts
	over     chan struct{} // closed when that does not count any more either
	sending  chan struct{} // size 1: its holder writes
	urge     chan struct{} // size 1: a command was sent that waits for a reply

	out []byte // owned by the holder of sending

	// Owned by the read loop.
	in         []byte
	line       *line
	exact      map[string]*Subscription // to channels, that have begun here
	patterns   []*Subscription          // to patterns, that have begun here, in that order
	brought    map[string]struct{}      // names of those that the token names and nobody asked for
	disconnect *protocol.DisconnectEvent

	mu      sync.Mutex                 // guards the following
	todo    []*Subscription            // to be subscribed once replies make room
	asked   map[*Subscription]*asking  // of todo: subscribed, not yet answered
	first   map[*Subscription]struct{} // of todo: patterns that begin before others
	drops   map[string]struct{}        // names of subscriptions that were ended here
	cause   error                      // why it is lost
	since   time.Time                  // when it was, by a write that failed
	void    bool                       // over is closed
	lastID  uint64
	replies map[uint64]func(*protocol.Event) // called by the read loop; must not block
	slow    map[uint64]struct{}              // of replies: nobody waits for these
}

func newLink(ws *websocket.Conn, conn *liveConn, frames frames) *link {
	l := &link{
		ws: ws, conn: conn, frames: frames, maxFrame: protocol.DefaultMaxFrame,
		lost: make(chan struct{}), over: make(chan struct{}), sending: make(chan struct{}, 1), urge: make(chan struct{}, 1),
		replies: map[uint64]func(*protocol.Event){}, slow: map[uint64]struct{}{}, line: &line{exact: map[string]struct{}{}}, brought: map[string]struct{}{},
		asked: map[*Subscription]*asking{}, first: map[*Subscription]struct{}{}, drops: map[string]struct{}{}, exact: map[string]*Subscription{},
	}
	ws.SetPingHandler(l.pong)
	return l
}

// expect returns an ID for a command and keeps what takes its reply.
func (l *link) expect(reply func(*protocol.Event)) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastID++
	l.replies[l.lastID] = reply
	return l.lastID
}

// take removes what waits for the reply to id; nil if nothing does.
func (l *link) take(id uint64) func(*protocol.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	reply := l.replies[id]
	delete(l.replies, id)
	delete(l.slow, id)
	return reply
}

// giveUp ends the wait for the reply to id.
func (l *link) giveUp(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.replies, id)
	delete(l.slow, id)
}

// unhurried says that nobody waits for the reply to id: it may take its time.
func (l *link) unhurried(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slow[id] = struct{}{}
}

// hurry says that somebody does wait now.
func (l *link) hurry(id uint64) {
	l.mu.Lock()
	delete(l.slow, id)
	l.mu.Unlock()
	notify(l.urge)
}

// awaited reports whether somebody waits for the reply to a command.
func (l *link) awaited() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.replies) > len(l.slow)
}

// send writes one command; done gives up waiting for the turn to write and may be
// nil. sent is false if surely nothing of it left.
func (l *link) send(done <-chan struct{}, c *protocol.Command) (sent bool, err error) {
	select {
	case l.sending <- struct{}{}:
		defer func() { <-l.sending }()
	case <-l.lost:
		return false, errLost
	case <-done:
		return false, context.Canceled
	}
	if l.isLost() {
		return false, errLost
	}
	l.out = l.frames.codec.AppendCommand(l.out[:0], c)
	frame := l.out
	if cap(l.out) > keepBuffer {
		l.out = nil
	}
	if len(frame) > l.maxFrame {
		return false, tooLarge(len(frame), l.maxFrame)
	}
	if err := l.ws.WriteMessage(l.frames.kind, frame); err != nil {
		l.mute(err)
		return true, err
	}
	select {
	case l.urge <- struct{}{}:
	default:
	}
	return true, nil
}

// call sends a command and waits for its reply. sent is false if surely nothing
// of the command reached the node. Errors are *Error if the node answered one.
func (l *link) call(ctx context.Context, c *protocol.Command, timeout time.Duration) (e *protocol.Event, sent bool, err error) {
	if err = ctx.Err(); err != nil {
		return nil, false, err
	}
	got := make(chan *protocol.Event, 1)
	c.ID = l.expect(func(e *protocol.Event) { got <- e })
	defer l.giveUp(c.ID)
	if sent, err = l.send(ctx.Done(), c); err != nil {
		if ctx.Err() != nil && !sent {
			err = ctx.Err()
		}
		return nil, sent, err
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case e = <-got:
	case <-l.over:
		select {
		case e = <-got: // both had happened
		default:
			return nil, true, errLost
		}
	case <-timer.C:
		return nil, true, errNoAnswer
	case <-ctx.Done():
		return nil, true, ctx.Err()
	}
	if e.Error != nil {
		return nil, true, errorFrom(e.Error)
	}
	return e, true, nil
}

// read returns the next event.
func (l *link) read() (*protocol.Event, error) {
	kind, r, err := l.ws.NextReader()
	if err != nil {
		return nil, err
	}
	if cap(l.in) > keepBuffer {
		l.in = nil
	}
	if l.in, err = readAll(r, l.in[:0]); err != nil {
		return nil, err
	}
	if kind != l.frames.kind {
		return nil, &lossError{err: errors.New("rivulet: the node sent text where bytes were agreed on, or the reverse"), ours: true}
	}
	e, err := l.frames.codec.DecodeEvent(l.in)
	if err != nil {
		return nil, &lossError{err: err, ours: true}
	}
	return &e, nil
}

// readAll appends what r has to buf.
func readAll(r io.Reader, buf []byte) ([]byte, error) {
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}
