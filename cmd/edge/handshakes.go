package edge

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Handshakes counts and logs TLS handshakes that failed, which an http.Server tells
// nobody but its ErrorLog: it is the handler under that, of slog.NewLogLogger. It is safe
// for concurrent use.
type Handshakes struct {
	log    *slog.Logger
	failed map[string]prometheus.Counter

	mu     sync.Mutex // guards the following
	told   time.Time  // when the log was last told
	untold int        // failures since
}

// handshakePrefix begins what net/http says of a failed handshake.
const handshakePrefix = "http: TLS handshake error from "

// tellHandshakes is how often the log is told: anybody can fail as often as they like.
const tellHandshakes = 10 * time.Second

// mostWhy bounds what a line says of a failure, in bytes: a certificate of the client's
// own making may be named in it.
const mostWhy = 256

// The reasons why a handshake failed.
const (
	handshakeCertificate = "client_certificate" // of an authority that is not trusted, or not for clients
	handshakeProtocol    = "protocol"           // nothing that both sides speak, or no TLS at all
	handshakeRefused     = "refused"            // by the client: it does not trust the node's certificate
	handshakeTimeout     = "timeout"
	handshakeGone        = "gone" // the client went away, as port scanners and health checks do
	handshakeOther       = "other"
)

// NewHandshakes registers its metric at reg.
func NewHandshakes(logger *slog.Logger, reg prometheus.Registerer) *Handshakes {
	counter := promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "rivulet_edge_tls_handshakes_failed_total", Help: "TLS handshakes that failed, by reason.",
	}, []string{"reason"})
	h := &Handshakes{log: logger, failed: map[string]prometheus.Counter{}}
	for _, reason := range []string{
		handshakeCertificate, handshakeProtocol, handshakeRefused, handshakeTimeout, handshakeGone, handshakeOther,
	} {
		h.failed[reason] = counter.WithLabelValues(reason)
	}
	return h
}

var _ slog.Handler = (*Handshakes)(nil)

// Enabled implements slog.Handler: all is counted.
func (h *Handshakes) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs implements slog.Handler; an http.Server has none.
func (h *Handshakes) WithAttrs([]slog.Attr) slog.Handler { return h }

// WithGroup implements slog.Handler; an http.Server has none.
func (h *Handshakes) WithGroup(string) slog.Handler { return h }

// Handle takes a line of an http.Server. Lines about anything but handshakes are for
// whoever debugs.
func (h *Handshakes) Handle(ctx context.Context, line slog.Record) error {
	failure, isHandshake := strings.CutPrefix(line.Message, handshakePrefix)
	if !isHandshake {
		h.log.DebugContext(ctx, "the server complains", slog.String("err", line.Message))
		return nil
	}
	from, why, _ := strings.Cut(failure, ": ")
	reason := handshakeReason(why)
	h.failed[reason].Inc()
	attrs := []any{slog.String("from", from), slog.String("reason", reason), slog.String("why", why[:min(len(why), mostWhy)])}
	if n, ok := h.turn(time.Now(), reason); ok {
		h.log.WarnContext(ctx, "a TLS handshake failed", append(attrs, slog.Int("untold", n))...)
	} else {
		h.log.DebugContext(ctx, "a TLS handshake failed", attrs...)
	}
	return nil
}

// turn reports whether the log is to be told, and of how many failures it was not.
func (h *Handshakes) turn(now time.Time, reason string) (untold int, ok bool) {
	if reason == handshakeGone {
		return 0, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Sub(h.told) < tellHandshakes {
		h.untold++
		return 0, false
	}
	untold, h.untold, h.told = h.untold, 0, now
	return untold, true
}

// handshakeReason sorts the texts of crypto/tls, which has no types for most of them.
func handshakeReason(why string) string {
	has := func(texts ...string) bool {
		for _, text := range texts {
			if strings.Contains(why, text) {
				return true
			}
		}
		return false
	}
	switch {
	case has("failed to verify certificate", "client certificate", "client didn't provide"):
		return handshakeCertificate
	case has("remote error"):
		return handshakeRefused
	case has("i/o timeout", "deadline exceeded"):
		return handshakeTimeout
	case has("EOF", "connection reset", "broken pipe", "closed network"):
		return handshakeGone
	case has("unsupported versions", "no cipher suite", "first record", "unsupported application protocols", "no mutually supported"):
		return handshakeProtocol
	}
	return handshakeOther
}
