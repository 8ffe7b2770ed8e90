package api_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/api"
	"github.com/rivulet-rt/rivulet/fanout"
)

// fakeWebhooks has one, or fails; the broker's own are tested there.
type fakeWebhooks struct{ err error }

func (f *fakeWebhooks) Status(context.Context) ([]api.WebhookStatus, error) {
	return []api.WebhookStatus{{
		Name: "crm", URL: "https://example.com/hook", Events: []string{"message.published"}, Channels: []string{"chat:lobby"},
		State: "retrying", Lag: 7, LastError: "no", LastErrorAt: 1000, NextRetry: 2000,
	}}, f.err
}

func (f *fakeWebhooks) Test(_ context.Context, name string) (api.WebhookTest, bool) {
	return api.WebhookTest{ID: "ev_1", Status: 500, Error: "no", TookMS: 3}, name == "crm"
}

func TestWebhooks(t *testing.T) {
	h := newHarness(t, func(h *harness) { h.auth = callers{} })
	for _, tc := range []struct {
		method, target string
		status         int
		want           string // in the body; of an error, its field
	}{
		{"GET", "/v1/webhooks", 200, `{"name":"crm","url":"https://example.com/hook","events":["message.published"],"channels":["chat:lobby"],"state":"retrying","lag":7,"last_error":"no","last_error_at":1000,"next_retry":2000}`},
		{"GET", "/v1/webhooks?x=1", 400, "x"},
		{"POST", "/v1/webhooks/crm/test", 200, `{"id":"ev_1","status":500,"error":"no","took_ms":3}`},
		{"POST", "/v1/webhooks/other/test", 404, "webhook"},
	} {
		t.Run(tc.method+" "+tc.target, func(t *testing.T) {
			res := h.do(t, tc.method, tc.target, "", "Authorization", "Bearer all")
			switch {
			case res.status != tc.status:
				t.Errorf("got %d %s, want %d", res.status, res.body, tc.status)
			case tc.status == 200 && !strings.Contains(string(res.body), tc.want):
				t.Errorf("got %s, want %s", res.body, tc.want)
			case tc.status != 200 && res.field != tc.want:
				t.Errorf("got %s, want the field %s", res.body, tc.want)
			}
			for token, status := range map[string]int{"some": 403, "": 401} {
				if res := h.do(t, tc.method, tc.target, "", "Authorization", "Bearer "+token); res.status != status {
					t.Errorf("with the token %q: %d %s", token, res.status, res.body)
				}
			}
		})
	}
	h.webhooks.err = fmt.Errorf("read leases: %w", fanout.ErrUnavailable)
	if res := h.do(t, "GET", "/v1/webhooks", "", "Authorization", "Bearer all"); res.status != 503 {
		t.Errorf("without the log: %d %s", res.status, res.body)
	}
}
