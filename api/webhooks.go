package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/go-chi/chi/v5"
)

// Webhooks are the services that are told of what happens in channels.
type Webhooks interface {
	// Status returns how they are doing. Errors wrap fanout.ErrUnavailable.
	Status(ctx context.Context) ([]WebhookStatus, error)
	// Test sends a test event; ok is false where there is no webhook of the name.
	Test(ctx context.Context, name string) (result WebhookTest, ok bool)
}

// WebhookStatus is how a webhook is doing. Times are Unix milliseconds, 0 for none.
type WebhookStatus struct {
	Name        string   `json:"name"`
	URL         string   `json:"url"`
	Events      []string `json:"events"`
	Channels    []string `json:"channels"`
	State       string   `json:"state"`
	Lag         uint64   `json:"lag"`
	LastError   string   `json:"last_error,omitempty"`
	LastErrorAt int64    `json:"last_error_at,omitempty"`
	NextRetry   int64    `json:"next_retry,omitempty"`
}

// WebhookTest is how a receiver took a test event.
type WebhookTest struct {
	ID     string `json:"id"`
	Status int    `json:"status"` // HTTP; 0 without an answer
	Error  string `json:"error,omitempty"`
	TookMS int64  `json:"took_ms"`
}

// listWebhooks serves GET /v1/webhooks.
func (a *api) listWebhooks(ctx context.Context, x *exchange) error {
	if _, err := x.query(); err != nil {
		return err
	}
	list, err := a.deps.Webhooks.Status(ctx)
	if err != nil {
		return readError(err)
	}
	if list == nil {
		list = []WebhookStatus{}
	}
	return x.answer("webhooks", map[string][]WebhookStatus{"webhooks": list})
}

// testWebhook serves POST /v1/webhooks/{webhook}/test. That the receiver refuses is an
// answer too.
func (a *api) testWebhook(ctx context.Context, x *exchange) error {
	if _, err := x.query(); err != nil {
		return err
	}
	name, err := url.PathUnescape(chi.URLParam(x.r, "webhook"))
	if err != nil {
		return &problem{status: http.StatusBadRequest, field: "webhook", message: "the path has a broken % escape"}
	}
	result, ok := a.deps.Webhooks.Test(ctx, name)
	if !ok {
		return &problem{status: http.StatusNotFound, field: "webhook", message: "there is no webhook " + strconv.Quote(name) + "; GET /v1/webhooks lists them"}
	}
	return x.answer("sent", result)
}
