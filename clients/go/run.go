package rivulet

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/protocol"
)

// run keeps the client connected until ctx ends or a node refuses it for good.
func (c *Client) run(ctx context.Context) {
	c.tell(StateChange{State: StateConnecting})
	failures := 0
	for attempt := 0; ; attempt++ {
		loss := c.connectOnce(ctx, c.urls[attempt%len(c.urls)], &failures)
		if ctx.Err() != nil {
			loss = &lossError{err: context.Cause(ctx), fatal: true}
		}
		if loss.fatal {
			c.shut(loss.err)
			c.tell(StateChange{State: StateClosed, Reason: loss.err})
			return
		}
		failures++
		wait := c.opts.Backoff.wait(failures, loss.retryAfter)
		c.mu.Lock()
		c.setStateLocked(StateRetrying, loss.err)
		c.mu.Unlock()
		c.tell(StateChange{State: StateRetrying, Reason: loss.err, RetryIn: wait})
		pause(ctx, wait)
	}
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) { pauseUntil(ctx, nil, d) }

// pauseUntil waits for d, the end of ctx, or that over is closed; over may be nil.
func pauseUntil(ctx context.Context, over <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-over:
	}
}

func (c *Client) tell(s StateChange) {
	if c.opts.OnState != nil {
		c.opts.OnState(s)
	}
}

// connectOnce connects, serves the link until it ends, and says why it did.
func (c *Client) connectOnce(ctx context.Context, url string, failures *int) *lossError {
	l, conn, err := c.dial(ctx, url)
	if err != nil {
		return asLoss(err)
	}
	c.resumes = true
	// The reads of a socket take no ctx: close it when ctx ends, in good manners.
	said := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(said)
		conn.silence.Store(0)
		message := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
		_ = l.ws.WriteControl(websocket.CloseMessage, message, time.Now().Add(closeTimeout))
		l.close(context.Cause(ctx))
	})
	loss := asLoss(c.serve(ctx, l, conn))
	if !stop() {
		<-said
	}
	if !loss.ours {
		*failures = 0
	}
	return loss
}

func asLoss(err error) *lossError {
	if loss, ok := errors.AsType[*lossError](err); ok {
		return loss
	}
	loss := &lossError{err: err}
	if e, ok := errors.AsType[*Error](err); ok {
		loss.retryAfter = e.RetryAfter
		loss.fatal = e.Code == protocol.ErrorUnauthorized || e.Code == protocol.ErrorForbidden
	}
	return loss
}

// resuming is url that says that the client was connected before, if it was: a node that
// cannot take all who come back at once lets it in first.
func (c *Client) resuming(url string) string {
	switch {
	case !c.resumes:
		return url
	case strings.Contains(url, "?"):
		return url + "&resume=1"
	}
	return url + "?resume=1"
}

// dial opens a connection and waits for the node's `connected`.
func (c *Client) dial(ctx context.Context, url string) (*link, *liveConn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.HandshakeTimeout)
	defer cancel()
	token, err := c.opts.token(ctx)
	if err != nil {
		return nil, nil, err
	}
	again := token == c.tried
	c.tried = token
	var conn *liveConn
	guard := func() bool { return true } // reports whether ctx had not ended yet
	dialer := websocket.Dialer{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: c.opts.TLS, Subprotocols: c.opts.Codec.subprotocols(),
		ReadBufferSize: 4096, WriteBufferSize: 4096, WriteBufferPool: &c.writeBuffers,
		NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			raw, err := c.opts.Dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			conn = &liveConn{Conn: raw}
			guard = context.AfterFunc(ctx, func() { raw.Close() })
			return conn, nil
		},
	}
	ws, resp, err := dialer.DialContext(ctx, c.resuming(url), c.handshake(token))
	if err != nil {
		guard()
		return nil, nil, c.dialError(ctx, url, resp, err, again)
	}
	ws.SetReadLimit(c.opts.MaxFrame)
	var l *link
	frames, err := agreed(dialer.Subprotocols, ws.Subprotocol())
	if err == nil {
		l = newLink(ws, conn, frames)
		err = c.greet(l, conn)
	}
	if !guard() {
		err = doing(ctx.Err(), "connect to %s: no `connected` in time", url)
	}
	if err != nil {
		_ = ws.Close() // err says why
		return nil, nil, err
	}
	return l, conn, nil
}

func (c *Client) handshake(token string) http.Header {
	h := c.opts.Header.Clone()
	if h == nil {
		h = http.Header{}
	}
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
	return h
}

// greet sends connect and takes the answer. The token was in the handshake, and is not
// sent again: the node would check it, and perhaps ask a hook about it, twice.
func (c *Client) greet(l *link, conn *liveConn) error {
	conn.silence.Store(int64(c.opts.HandshakeTimeout))
	id := l.expect(func(*protocol.Event) {})
	connect := protocol.Command{ID: id, Connect: &protocol.ConnectCommand{Name: c.opts.Name, Version: Version, Session: c.opts.Session}}
	if _, err := l.send(nil, &connect); err != nil && !l.isLost() {
		return l.ended(err)
	} // else what the node has said may tell why
	var refusal *Error
	for {
		e, err := l.read()
		switch {
		case err != nil && refusal != nil:
			return c.refusedConnect(l, refusal)
		case err != nil:
			return l.ended(err)
		case e.Connected != nil && l.isLost(): // of no use
			return l.ended(errLost)
		case e.Connected != nil && c.opts.Session != "" && e.ID != id: // pushed, before the reply
		case e.Connected != nil && e.Connected.Session != c.opts.Session:
			return &lossError{err: &Error{Code: protocol.ErrorNotSupported, Field: "session", Message: "the node keeps no durable sessions"}, fatal: true}
		case e.Connected != nil:
			l.client, l.node, l.resumed = e.Connected.Client, e.Connected.Node, e.Connected.Resumed
			if e.Connected.MaxFrame > 0 {
				l.maxFrame = e.Connected.MaxFrame
			}
			conn.silence.Store(int64(silence(e.Connected.PingInterval)))
			l.giveUp(id)
			return nil
		case e.Error != nil && e.ID == id:
			refusal = errorFrom(e.Error)
			conn.silence.Store(int64(farewell)) // a `disconnect` may follow that says more
		}
		c.handleLink(l, e)
	}
}

// refusedConnect says what follows from an error that answered connect. An expired
// token is worth a return only where another can be had.
func (c *Client) refusedConnect(l *link, refusal *Error) error {
	loss := &lossError{err: refusal, fatal: !refusal.Temporary, retryAfter: refusal.RetryAfter}
	if d := l.disconnect; d != nil && d.Reconnect && c.opts.TokenFunc != nil {
		loss.fatal, loss.retryAfter = false, max(loss.retryAfter, retryAfter(d.RetryAfterMS))
	}
	return loss
}

// dialError says why a handshake failed. again tells that the attempt before had the
// same token: one that is refused is worth a return where another can be had.
func (c *Client) dialError(ctx context.Context, url string, resp *http.Response, err error, again bool) error {
	if resp == nil || !errors.Is(err, websocket.ErrBadHandshake) {
		if ctx.Err() != nil {
			err = errors.Join(ctx.Err(), err)
		}
		return doing(err, "connect to %s", url)
	}
	defer resp.Body.Close()
	e := answerError(resp)
	refused := resp.StatusCode == http.StatusUnauthorized && (c.opts.TokenFunc == nil || again)
	return &lossError{
		err:        e,
		fatal:      refused || resp.StatusCode == http.StatusForbidden,
		retryAfter: e.RetryAfter,
	}
}

// mostAnswer bounds what is read of an answer that is an error.
const mostAnswer = 64 << 10

// answerError reads an HTTP answer that is an error.
func answerError(resp *http.Response) *Error {
	e := &Error{Code: protocol.Code(4000 + resp.StatusCode), RetryAfter: retryAfterHeader(resp.Header)}
	e.Temporary = e.Code.Temporary()
	var body struct {
		Message string `json:"message"`
		Data    struct {
			Field string `json:"field"`
		} `json:"data"`
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswer))
	if err == nil && json.Unmarshal(raw, &body) == nil {
		e.Message, e.Field = body.Message, body.Data.Field
	}
	e.Remedy = answerRemedy(e.Code, e.Field)
	if e.Message == "" {
		e.Message = "HTTP " + strconv.Itoa(resp.StatusCode) + " " + http.StatusText(resp.StatusCode)
	}
	return e
}

func retryAfterHeader(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil {
		return retryAfter(seconds * 1000)
	}
	if at, err := http.ParseTime(value); err == nil {
		return retryAfter(time.Until(at).Milliseconds())
	}
	return 0
}
