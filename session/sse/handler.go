package sse

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/limit"
)

// Handler answers GET /v1/events.
type Handler struct {
	registry *session.Registry
	log      *slog.Logger
}

// New returns the handler of GET /v1/events.
func New(registry *session.Registry, logger *slog.Logger) *Handler {
	return &Handler{registry: registry, log: logger}
}

// ServeHTTP subscribes and begins the stream, or answers why not: 400, 401, 403,
// 404, 405, and 429 or 503 for what is temporary (see the package's text).
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		session.WriteHTTPStatus(w, http.StatusMethodNotAllowed, "only GET is allowed here")
		return
	}
	subs, claims, err := h.check(w, r)
	if err != nil {
		h.registry.Rejected(err)
		h.refuse(w, r, err)
		return
	}
	slot, err := h.registry.AdmitFrom(session.SSE, r, claims.Subject)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	release, err := refine(h.registry, subs)
	if err != nil {
		slot.Release()
		h.refuse(w, r, err)
		return
	}
	defer release()
	stream := newStream(h.registry, h.log, claims, session.ClientAddr(r), subs)
	if err := h.begin(r.Context(), stream, subs); err != nil {
		stream.client.Close()
		stream.replays.Stop()
		slot.Release()
		if r.Context().Err() == nil {
			h.refuse(w, r, err)
		}
		return
	}
	h.start(w, r, slot, stream)
}

// check reads and authorises the request, and allows the page's origin to read the answer.
func (h *Handler) check(w http.ResponseWriter, r *http.Request, further ...string) ([]subscription, auth.Claims, error) {
	cross, err := h.registry.AllowPage(r)
	if err != nil {
		return nil, auth.Claims{}, err
	}
	if cross {
		w.Header().Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
		w.Header().Set("Vary", "Origin")
	}
	if err := h.registry.Await(r); err != nil {
		return nil, auth.Claims{}, err
	}
	claims, _, err := h.registry.Handshake(r)
	if err != nil {
		return nil, claims, err
	}
	subs, err := parseRequest(r, claims.Channels, further...)
	if err != nil {
		return nil, claims, err
	}
	if err := authorise(claims, subs); err != nil {
		return nil, claims, err
	}
	if most := auth.Tighten(h.registry.Config().MaxSubscriptions, claims.Limits.Subscriptions); len(subs) > most {
		h.registry.Services().Limits.Subscriptions()
		return nil, claims, session.Forbidden("channel", "is given %d times, and this connection may have %d subscriptions (%s); leave some out, or use a pattern",
			len(subs), most, session.SubscriptionLimit(most, h.registry.Config()))
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.registry.Config().CommandTimeout)
	defer cancel()
	for _, sub := range subs {
		if err := h.registry.MayRead(ctx, claims, session.ClientAddr(r), sub.request); err != nil {
			return nil, claims, err
		}
		if err := h.registry.AskSubscribe(ctx, claims, "", sub.request.Channel); err != nil {
			return nil, claims, err
		}
	}
	return subs, claims, nil
}

// begin waits until all channels are subscribed.
func (h *Handler) begin(ctx context.Context, s *stream, subs []subscription) error {
	ctx, cancel := context.WithTimeout(ctx, h.registry.Config().CommandTimeout)
	defer cancel()
	s.subscribe(subs)
	select {
	case err := <-s.outcome:
		return err
	case <-ctx.Done():
		return fanout.ErrUnavailable
	}
}

// start begins the stream on the connection, taken over where it is HTTP/1.
func (h *Handler) start(w http.ResponseWriter, r *http.Request, slot *session.Slot, s *stream) {
	if r.ProtoMajor == 1 {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			h.takeOver(conn, w.Header().Get("Access-Control-Allow-Origin"), slot, s)
			return
		}
		if !errors.Is(err, http.ErrNotSupported) {
			h.log.Debug("event stream not started", slog.Any("err", err))
			s.end()
			slot.Release()
			return
		}
	}
	wire := newFlushWire(w)
	_ = wire.SetDeadline(time.Time{}) // the server's timeout is for short answers; without one this fails
	streamHeader(w.Header())
	w.WriteHeader(http.StatusOK)
	s.out.Start(wire, []byte(preamble()))
	slot.Serve(s, func(ctx context.Context) {
		select {
		case <-ctx.Done():
		case <-r.Context().Done():
		case <-wire.closed:
		}
		s.end()
	})
}

func (h *Handler) takeOver(conn net.Conn, origin string, slot *session.Slot, s *stream) {
	_ = conn.SetDeadline(time.Time{}) // fails only if closed
	s.slot, s.driver = slot, h.registry.Attach(conn, s)
	s.out.Start(s.driver, head(origin))
	slot.Enter(s)
	s.driver.Begin()
}

func streamHeader(h http.Header) {
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
}

// refuse answers with err's status. A browser that may try again gets a stream
// that ends at once, since it takes every other answer as final.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	ev := session.ReadErrorEvent(err)
	if !ev.Temporary || !strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		session.WriteHTTPError(w, err)
		return
	}
	code := protocol.CloseInternal
	_, limited := errors.AsType[*limit.Error](err)
	switch {
	case limited, errors.Is(err, session.ErrFull):
		code = protocol.CloseOverloaded
	case errors.Is(err, session.ErrDraining), errors.Is(err, fanout.ErrClosed):
		code = protocol.CloseDraining
	}
	streamHeader(w.Header())
	frame := disconnectFrame(protocol.DisconnectEvent{Code: code, Reason: ev.Message, Reconnect: true, RetryAfterMS: ev.RetryAfterMS})
	_, _ = w.Write(frame) // the peer may be gone; there is nobody to tell
}
