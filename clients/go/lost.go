package rivulet

import (
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/protocol"
)

// This file is how a link ends. A write that fails is only half of it: what the node had
// sent before is still there to be read, and is, within bounds. Where connections break off
// as soon as they are made, that is all they bring: without it, each would be as good as
// none.

// mostDrained bounds how long a link is read of which a write has failed.
const mostDrained = 2 * time.Second

// mute notes that a write has failed: no more commands go out. The first cause counts.
func (l *link) mute(cause error) {
	l.mu.Lock()
	first := l.cause == nil
	if first {
		l.cause, l.since = cause, time.Now()
		close(l.lost)
	}
	l.mu.Unlock()
	if first {
		l.conn.hasten(farewell)
	}
}

// close ends the link, and drops what it had brought and nobody has read yet. The first
// cause counts.
func (l *link) close(cause error) {
	l.mu.Lock()
	if l.cause == nil {
		l.cause = cause
		close(l.lost)
	}
	first := !l.void
	if first {
		l.void = true
		close(l.over)
	}
	l.mu.Unlock()
	if first {
		_ = l.ws.Close() // it is of no use any more
	}
}

// isLost reports whether commands are of no use any more.
func (l *link) isLost() bool { return closed(l.lost) }

// isOver reports whether what was read does not count any more.
func (l *link) isOver() bool { return closed(l.over) }

func closed(signal <-chan struct{}) bool {
	select {
	case <-signal:
		return true
	default:
		return false
	}
}

// drained reports whether a link of which a write has failed was read for long enough.
func (l *link) drained() bool {
	if !l.isLost() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.since) > mostDrained
}

// pong answers a ping of WebSocket. Reading goes on where it cannot.
func (l *link) pong(data string) error {
	err := l.ws.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(farewell))
	busy, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	switch {
	case err == nil, errors.Is(err, websocket.ErrCloseSent):
	case ok && busy.Temporary(): // another write takes its time, and may fail itself
	default:
		l.mute(err)
	}
	return nil
}

// ended says why the link ended, given what reading it returned: the node's own word, if
// there is one, outweighs a write that failed.
func (l *link) ended(err error) error {
	if l.isLost() && !tells(err) {
		l.mu.Lock()
		err = l.cause
		l.mu.Unlock()
	}
	if d := l.disconnect; d != nil {
		return &lossError{
			err:   &Error{Code: d.Code, Message: d.Reason, Temporary: d.Reconnect, RetryAfter: retryAfter(d.RetryAfterMS), Remedy: closeRemedy(d.Code, d.Reason)},
			fatal: !d.Reconnect, retryAfter: retryAfter(d.RetryAfterMS),
		}
	}
	if ce, ok := errors.AsType[*websocket.CloseError](err); ok {
		code := protocol.Code(ce.Code)
		return &lossError{
			err:   &Error{Code: code, Message: ce.Text, Temporary: code.Reconnect(), Remedy: closeRemedy(code, ce.Text)},
			fatal: !code.Reconnect(),
		}
	}
	if loss, ok := errors.AsType[*lossError](err); ok {
		return loss
	}
	return &lossError{err: &Error{Code: protocol.CloseAbnormal, Temporary: true, cause: err}}
}

// tells reports whether reading ended by what the node sent.
func tells(err error) bool {
	if ce, ok := errors.AsType[*websocket.CloseError](err); ok {
		return ce.Code != websocket.CloseAbnormalClosure // which nobody sends
	}
	_, ok := errors.AsType[*lossError](err)
	return ok
}

// liveConn notices a dead peer: each read and each write has its own deadline.
type liveConn struct {
	net.Conn
	silence atomic.Int64 // most nanoseconds to wait for one byte; 0 leaves deadlines alone
}

func (c *liveConn) Read(p []byte) (int, error) {
	for d := c.silence.Load(); d > 0; {
		if err := c.SetReadDeadline(time.Now().Add(time.Duration(d))); err != nil {
			return 0, err
		}
		before := d
		if d = c.silence.Load(); d == before {
			break
		}
	}
	return c.Conn.Read(p)
}

// hasten changes the most silence, also for a Read that is under way.
func (c *liveConn) hasten(d time.Duration) {
	c.silence.Store(int64(d))
	_ = c.SetReadDeadline(time.Now().Add(d)) // it is closed, else
}

func (c *liveConn) Write(p []byte) (int, error) {
	if c.silence.Load() > 0 {
		if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(p)
}

// silence after which a connection counts as dead (clause P-7.3).
func silence(pingInterval int) time.Duration {
	if pingInterval <= 0 || pingInterval > 30 {
		return mostSilence
	}
	return 3 * time.Duration(pingInterval) * time.Second
}
