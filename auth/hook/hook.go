package hook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/sony/gobreaker/v2"
)

// ErrUnavailable says that nobody has answered, for whatever reason: nothing was allowed,
// and it may be asked again later.
var ErrUnavailable = errors.New("hook: there is no answer now; nothing was done, try again later")

// ErrTogether says that the service refuses a question about several items as a whole,
// perhaps because of one of them or because they are too many: nothing was allowed. Ask
// about fewer at a time.
var ErrTogether = errors.New("hook: the service refuses the question as a whole")

// DeniedError is a hook's no.
type DeniedError struct {
	// Message is the hook's, for who has asked: at most 256 bytes without control characters.
	Message string
}

func (e *DeniedError) Error() string { return "hook: " + e.Message }

// Verdict is the answer about one item.
type Verdict struct {
	// Denied is nil where the item is allowed.
	Denied *DeniedError
	// Claims are the answer's, as they came; nil if there are none.
	Claims json.RawMessage
	// At is when the service was asked: the answer is about what was so then, also where it is
	// given again.
	At time.Time
}

// Question is what is asked.
type Question struct {
	// Caller is for whom it is asked: one has half of the places, and an eighth of MaxWaiting,
	// at most. Whoever has the same name is one.
	Caller string
	// Body is sent as JSON.
	Body any
	// Keys name the items, at most MaxItems; the same key is the same question to
	// Config.WhenOpen cached.
	Keys []string
}

// Hook asks one service. Its methods may be called concurrently.
type Hook struct {
	cfg     Config
	client  *http.Client
	breaker *gobreaker.CircuitBreaker[[]Verdict]
	cache   *lru.Cache[string, keptVerdict] // nil unless WhenOpen is Cached
	places  *queue
	warned  atomic.Int64 // when a failure was logged, Unix nanoseconds; 0 is never
	metrics *hookMetrics
	log     *slog.Logger
}

// New returns a hook of a valid configuration that has its defaults.
func New(cfg Config, metrics *Metrics, logger *slog.Logger) *Hook {
	h := &Hook{
		cfg: cfg, client: newClient(cfg), places: newQueue(cfg.Concurrency),
		metrics: metrics.of(cfg.Name), log: logger.With(slog.String("hook", cfg.Name)),
	}
	if cfg.WhenOpen == Cached {
		h.cache, _ = lru.New[string, keptVerdict](MaxCached) // fails only for a size that is not positive
	}
	h.breaker = gobreaker.NewCircuitBreaker[[]Verdict](h.settings())
	return h
}

func newClient(cfg Config) *http.Client {
	alive := max(cfg.Timeout, time.Second)
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  nil, // the environment decides nothing of whom is asked
			DialContext:            (&net.Dialer{Timeout: cfg.Timeout, KeepAlive: 30 * time.Second}).DialContext,
			ForceAttemptHTTP2:      true,
			MaxIdleConns:           cfg.Concurrency,
			MaxIdleConnsPerHost:    cfg.Concurrency,
			MaxConnsPerHost:        cfg.Concurrency,
			IdleConnTimeout:        idleConns,
			TLSHandshakeTimeout:    cfg.Timeout,
			MaxResponseHeaderBytes: maxAnswer,
			// One connection serves all of HTTP/2, and one that has died without a word would be
			// asked until TCP gives it up, many minutes later.
			HTTP2: &http.HTTP2Config{SendPingTimeout: alive, PingTimeout: alive},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (h *Hook) settings() gobreaker.Settings {
	const buckets = 10
	b := h.cfg.Breaker
	return gobreaker.Settings{
		Name:         h.cfg.Name,
		MaxRequests:  uint32(b.HalfOpen),
		Interval:     b.Window,
		BucketPeriod: b.Window / buckets,
		Timeout:      b.OpenFor,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			ended := c.TotalSuccesses + c.TotalFailures
			return int(ended) >= b.MinRequests && float64(c.TotalFailures) >= b.FailureRatio*float64(ended)
		},
		IsExcluded: func(err error) bool { return errors.Is(err, errGivenUp) },
		IsSuccessful: func(err error) bool {
			_, refused := errors.AsType[*refusal](err)
			return err == nil || refused
		},
		OnStateChange: func(_ string, from, to gobreaker.State) {
			h.metrics.state.Set(float64(to))
			if to == gobreaker.StateOpen {
				h.client.CloseIdleConnections() // who is asked next may be reached by new ones
			}
			h.log.Warn("hook changed its state", slog.String("from", from.String()), slog.String("to", to.String()))
		},
	}
}

// Close gives up connections that nobody uses.
func (h *Hook) Close() { h.client.CloseIdleConnections() }

// Ask returns a verdict for each key, in their order. Errors are ErrUnavailable, and
// ErrTogether where there is more than one key.
func (h *Hook) Ask(ctx context.Context, q Question) ([]Verdict, error) {
	if err := h.enter(ctx, q.Caller); err != nil {
		return h.instead(q, err)
	}
	defer h.places.leave(q.Caller)
	begun := time.Now()
	verdicts, err := h.breaker.Execute(func() ([]Verdict, error) { return h.request(ctx, q) })
	if r, ok := errors.AsType[*refusal](err); ok {
		return h.refused(q, r)
	}
	if err != nil {
		return h.instead(q, err)
	}
	h.metrics.seconds.Observe(time.Since(begun).Seconds())
	for i := range verdicts {
		v := &verdicts[i]
		v.At = begun
		if v.Denied != nil {
			h.metrics.denied.Inc()
		} else {
			h.metrics.allowed.Inc()
		}
		if h.cache != nil {
			h.keep(q.Keys[i], *v)
		}
	}
	return verdicts, nil
}

// errBusy: there is no place. errGivenUp: the caller waits no longer.
var (
	errBusy    = errors.New("hook: as many requests as may be are under way")
	errGivenUp = errors.New("hook: the caller has gone")
)

// enter takes a place. An open breaker is seen before, so that nobody waits for it; and a
// caller whose time is over brings no request that can only fail.
func (h *Hook) enter(ctx context.Context, caller string) error {
	if ctx.Err() != nil {
		return errGivenUp
	}
	if h.breaker.State() == gobreaker.StateOpen {
		return gobreaker.ErrOpenState
	}
	return h.places.enter(ctx, caller, h.cfg.Timeout)
}

// instead is what is answered where the service was not asked, or did not answer.
func (h *Hook) instead(q Question, err error) ([]Verdict, error) {
	open := errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests)
	switch {
	case open && h.cache != nil:
		if kept, ok := h.kept(q.Keys); ok {
			h.metrics.cached.Add(float64(len(kept)))
			return kept, nil
		}
		h.metrics.rejected.Inc()
	case open:
		h.metrics.rejected.Inc()
	case errors.Is(err, errBusy):
		h.metrics.busy.Inc()
	case errors.Is(err, errGivenUp):
		h.metrics.givenUp.Inc()
	default:
		h.metrics.failed.Inc()
		h.warn(err)
	}
	return nil, ErrUnavailable
}

// warn tells an operator why a hook fails, once in a while: what the service says in return
// to each of many questions is mostly the same.
func (h *Hook) warn(err error) {
	now, last := time.Now().UnixNano(), h.warned.Load()
	if (last == 0 || now-last >= int64(warnEvery)) && h.warned.CompareAndSwap(last, now) {
		h.log.Warn("hook gives no answer", slog.Any("err", err))
		return
	}
	h.log.Debug("hook gives no answer", slog.Any("err", err))
}

// refused is what is answered where the service works and refuses the request: a no to the
// one item. It is not kept, as it may be about what the key leaves out.
func (h *Hook) refused(q Question, r *refusal) ([]Verdict, error) {
	switch {
	case r.misplaced():
		h.metrics.failed.Inc()
		h.warn(fmt.Errorf("%w: look at its url and secret", r))
		return nil, ErrUnavailable
	case len(q.Keys) > 1:
		return nil, ErrTogether
	}
	h.metrics.denied.Inc()
	h.log.Debug("hook refused a request", slog.Any("err", r))
	return []Verdict{{Denied: &DeniedError{Message: "refused"}}}, nil
}
