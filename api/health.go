package api

import (
	"context"
	"log/slog"
	"net/http"
	"time"
)

// readyTimeout bounds one look at the readiness; probes come every few seconds.
const readyTimeout = 2 * time.Second

// healthz says that the process serves requests, nothing about the log.
func (a *api) healthz(_ context.Context, x *exchange) error {
	x.begin(http.StatusOK, "alive")
	x.out = append(x.out, "null"...)
	x.end()
	return nil
}

// readyz says whether publishes are accepted now.
func (a *api) readyz(ctx context.Context, x *exchange) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := a.deps.Readiness.Ready(ctx); err != nil {
		// The reason names inner parts, and anybody may ask.
		a.log.LogAttrs(ctx, slog.LevelDebug, "not ready", slog.Any("err", err))
		return &problem{status: http.StatusServiceUnavailable, retryAfter: time.Second, message: "publishes are not accepted now"}
	}
	message := "publishes are accepted"
	if refused := a.deps.Readiness.Refused(); refused != "" {
		message += ", but not to " + refused
	}
	x.begin(http.StatusOK, message)
	x.out = append(x.out, "null"...)
	x.end()
	return nil
}

// openapi serves the specification of this very version.
func (a *api) openapi(_ context.Context, x *exchange) error {
	x.w.Header().Set("Content-Type", "application/yaml")
	x.status = http.StatusOK
	x.out = append(x.out, specification...)
	x.write()
	return nil
}
