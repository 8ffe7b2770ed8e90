package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
)

// keptBuffer bounds the buffers that are kept for later requests, flushAt the
// part of a response that waits to be written.
const (
	keptBuffer = 64 << 10
	flushAt    = 32 << 10
)

// exchange is one request and its response. It belongs to its handler's
// goroutine and is used again after it: nothing may keep its buffers.
type exchange struct {
	w        http.ResponseWriter
	r        *http.Request
	route    string
	id       string // of the request
	claims   auth.Claims
	channel  fanout.Channel // of the path, where the route has one
	body     []byte
	reserved int64  // of the body budget
	sharer   string // whose share that is of; "" while it is nobody's
	out      []byte // response not yet written
	status   int    // 0: the response has not begun
	sent     int
	heavy    *heavy // in which it has a turn
	gone     bool   // nobody takes the response any more
	noted    []slog.Attr
}

// handler surrounds rt with what all operations share.
func (a *api) handler(rt route) http.HandlerFunc {
	m, audited := a.metrics.routes[rt.name], isAudited(rt)
	return func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		x, _ := a.exchanges.Get().(*exchange)
		x.w, x.r, x.route = w, r, rt.name
		x.id = setCommonHeaders(w.Header(), r.Header)
		ctx := r.Context()
		defer a.release(x)
		if audited {
			defer a.audit(ctx, x)
		}
		defer a.finish(ctx, x, m, start)
		defer a.recovered(ctx, x)
		if err := a.serve(ctx, rt, x); err != nil {
			p := translate(err)
			if p.status == http.StatusInternalServerError {
				a.log.LogAttrs(ctx, slog.LevelError, "request failed", x.attr(), slog.Any("err", err))
			}
			x.fail(p)
		}
	}
}

// finish counts the exchange and, for whoever debugs, logs it.
func (a *api) finish(ctx context.Context, x *exchange, m *routeMetrics, start time.Time) {
	took := time.Since(start)
	m.observe(x.status, took)
	if a.log.Enabled(ctx, slog.LevelDebug) {
		a.log.LogAttrs(ctx, slog.LevelDebug, "request served", x.attr(),
			slog.Int("status", x.status), slog.Int("bytes", x.sent), slog.Duration("took", took))
	}
}

// attr names the request in logs; never its channel, data or token.
func (x *exchange) attr() slog.Attr {
	return slog.Group("request", slog.String("id", x.id), slog.String("method", x.r.Method), slog.String("route", x.route))
}

func (a *api) serve(ctx context.Context, rt route, x *exchange) error {
	// Both are refused, harmlessly, where there is no connection beneath, as in tests.
	conn := http.NewResponseController(x.w)
	_ = conn.SetWriteDeadline(time.Now().Add(a.cfg.BodyTimeout + a.cfg.Timeout + a.cfg.WriteTimeout))
	if x.r.ContentLength != 0 { // for a body that is refused unread as well: the server drains it
		_ = conn.SetReadDeadline(time.Now().Add(a.cfg.BodyTimeout))
	}
	if err := a.grant(ctx, x, rt.need); err != nil {
		return err
	}
	if err := a.readyToPublish(ctx, rt, x); err != nil {
		return err
	}
	if rt.maxBody > 0 {
		if err := a.readBody(x, rt.maxBody); err != nil {
			return err
		}
		// Left in place it would end the request's context while the log is still asked.
		_ = conn.SetReadDeadline(time.Time{})
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	return a.served(ctx, rt, x)
}

// recovered, deferred, answers a panic with 500 if it still can, and ends the
// connection otherwise, so that a cut response is never taken for a whole one.
func (a *api) recovered(ctx context.Context, x *exchange) {
	what := recover()
	if what == nil {
		return
	}
	if what == http.ErrAbortHandler { //nolint:errorlint // a panic value, compared as net/http does
		panic(what)
	}
	a.log.LogAttrs(ctx, slog.LevelError, "panic in a handler", x.attr(),
		slog.Any("err", what), slog.String("stack", string(debug.Stack())))
	if x.status != 0 {
		panic(http.ErrAbortHandler)
	}
	x.out = x.out[:0]
	x.fail(translate(nil))
}

func (a *api) release(x *exchange) {
	a.bodies.release(x)
	body, out := x.body[:0], x.out[:0]
	*x = exchange{}
	if cap(body) <= keptBuffer {
		x.body = body
	}
	if cap(out) <= keptBuffer {
		x.out = out
	}
	a.exchanges.Put(x)
}

// begin starts a response: {"code":…,"message":…,"data": follows.
func (x *exchange) begin(status int, message string) {
	h := x.w.Header()
	h["Content-Type"] = headerJSON()
	x.status = status
	x.out = appendOpening(x.out, status, message)
}

// flush writes what has gathered, if it is worth it.
func (x *exchange) flush() {
	if len(x.out) >= flushAt {
		x.write()
	}
}

// end closes the body's object and writes the rest.
func (x *exchange) end() {
	x.out = append(x.out, '}', '\n')
	x.write()
}

func (x *exchange) write() {
	x.lighten()
	if !x.gone {
		if x.sent == 0 {
			x.w.WriteHeader(x.status)
		}
		n, err := x.w.Write(x.out)
		x.sent += n
		x.gone = err != nil
	}
	x.out = x.out[:0]
}

// fail writes p.
func (x *exchange) fail(p *problem) {
	h := x.w.Header()
	setRetryAfter(h, p.retryAfter)
	if p.challenge != "" {
		h.Set("WWW-Authenticate", p.challenge)
	}
	x.begin(p.status, p.message)
	x.out = p.appendData(x.out)
	x.end()
}

// query returns the parameters, which must be among names and given once.
func (x *exchange) query(names ...string) (url.Values, error) {
	if x.r.URL.RawQuery == "" {
		return nil, nil
	}
	return parseQuery(x.r.URL.RawQuery, names)
}
