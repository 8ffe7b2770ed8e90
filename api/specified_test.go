package api_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/auth/hook"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/session/limit"
)

// authError refuses everybody.
type authError struct{ err error }

func (a authError) Authenticate(context.Context, string) (auth.Claims, error) {
	return auth.Claims{}, a.err
}

// limitError is over a limit, for publishes and reads.
type limitError struct{ err error }

func (l limitError) Read(context.Context, string, netip.Addr, string, int) error { return l.err }

func (l limitError) Ready(context.Context, *fanout.Publication, int64) error { return l.err }

// asking has a request for every operation, which is served where nothing goes wrong.
func asking() map[string]struct{ target, body string } {
	const message = `{"channel":"chat:a","data":1}`
	return map[string]struct{ target, body string }{
		"publish":        {lobby, `{"data":1}`},
		"history":        {lobby, ""},
		"purge":          {lobby, ""},
		"deleteMessage":  {lobby + "/1", ""},
		"presence":       {presencePath, ""},
		"channel":        {"/v1/channels/chat:lobby", ""},
		"channels":       {"/v1/channels", ""},
		"connections":    {"/v1/users/ann/connections", ""},
		"disconnect":     {"/v1/users/ann/connections", ""},
		"publishBatch":   {"/v1/messages", `{"messages":[` + message + `,` + message + `]}`},
		"broadcast":      {"/v1/broadcast", `{"channels":["chat:a","chat:b"],"data":1}`},
		"schedules":      {"/v1/schedules", ""},
		"schedule":       {"/v1/schedules/" + strings.Repeat("0", 26), ""},
		"cancelSchedule": {"/v1/schedules/" + strings.Repeat("0", 26), ""},
		"groups":         {"/v1/channels/chat:lobby/groups", ""},
		"group":          {"/v1/channels/chat:lobby/groups/crew", ""},
		"deleteGroup":    {"/v1/channels/chat:lobby/groups/crew", ""},
		"sessions":       {"/v1/sessions", ""},
		"userSessions":   {"/v1/users/alice/sessions", ""},
		"session":        {"/v1/users/alice/sessions/phone-1", ""},
		"deleteSession":  {"/v1/users/alice/sessions/phone-1", ""},
		"resetSession":   {"/v1/users/alice/sessions/phone-1/reset", `{"to":"now"}`},
		"keys":           {"/v1/keys", ""},
		"createKey":      {"/v1/keys", `{"name":"x","capabilities":{"chat:>":["publish"]}}`},
		"revokeKey":      {"/v1/keys/ci", ""},
		"revocations":    {"/v1/revocations", ""},
		"revoke":         {"/v1/revocations", `{"user":"ann"}`},
		"restore":        {"/v1/revocations?user=bob", ""},
		"webhooks":       {"/v1/webhooks", ""},
		"testWebhook":    {"/v1/webhooks/crm/test", ""},
		"telemetry":      {"/v1/telemetry", `{"sdk":"0.1.0","gaps":1}`},
		"healthz":        {"/healthz", ""},
		"readyz":         {"/readyz", ""},
		"metrics":        {"/metrics", ""},
		"openapi":        {"/openapi.yaml", ""},
		"websocket":      {},
		"events":         {}, // they answer by themselves: tests of cmd hold them against the file
		"poll":           {},
	}
}

// TestEveryErrorIsSpecified: whatever refuses or fails beneath an operation, its answer is one
// that the specification has: the status, its headers and its body.
func TestEveryErrorIsSpecified(t *testing.T) {
	refusedForNow := func(node bool) error {
		return &limit.Error{Reason: limit.ReasonReads, Field: "channel", Problem: "too many", RetryAfter: 1500 * time.Millisecond, Node: node}
	}
	publish := func(err error) func(*harness) {
		err = fmt.Errorf("publish: %w", err)
		return func(h *harness) { h.log.errs = map[string]error{"lobby": err, "a": err, "b": err} }
	}
	everywhere := func(err error) func(*harness) {
		return func(h *harness) {
			h.log.err, h.people.err, h.sessions.err, h.webhooks.err, h.trust.err = err, err, err, err, err
		}
	}
	limited := []string{"publish", "publishBatch", "broadcast", "history"}
	publishes := limited[:3]
	for _, tc := range []struct {
		name   string
		breaks func(*harness)
		status int
		of     []string // operations that must answer so; nil: all that need a token
	}{
		{"no token", func(h *harness) { h.auth = authError{auth.ErrMissing} }, 401, nil},
		{"a token that expired", func(h *harness) { h.auth = authError{auth.ErrExpired} }, 401, nil},
		{"a revoked token", func(h *harness) { h.auth = authError{auth.ErrRevoked} }, 401, nil},
		{"no keys to verify with", func(h *harness) { h.auth = authError{auth.ErrUnavailable} }, 503, nil},
		{"authentication that fails", func(h *harness) { h.auth = authError{errors.New("x")} }, 500, nil},
		{"a token that allows nothing", func(h *harness) { h.auth = claims(t, map[string][]auth.Action{"none:x": {auth.Subscribe}}) }, 403, nil},
		{"a limit of the caller", func(h *harness) { h.limits = limitError{refusedForNow(false)} }, 429, limited},
		{"a limit of the node", func(h *harness) { h.limits = limitError{refusedForNow(true)} }, 503, limited},
		{"a limit of the channel", publish(refusedForNow(false)), 429, publishes},
		{"a hook that says no", publish(&hook.DeniedError{Message: "not here"}), 403, publishes},
		{"a hook that is silent", publish(hook.ErrUnavailable), 503, publishes},
		{"a log that is away", everywhere(fanout.ErrUnavailable), 503, append([]string{"purge", "readyz", "sessions"}, limited...)},
		{"a log that is busy", everywhere(fanout.ErrTooBusy), 503, limited},
		{"a log that is full", everywhere(fanout.ErrDiskFull), 503, limited},
		{"a node that stops", everywhere(fanout.ErrClosed), 503, limited},
		{"an answer that is late", everywhere(context.DeadlineExceeded), 504, limited},
		{"a fault", everywhere(errors.New("x")), 500, append([]string{"purge", "groups", "sessions", "webhooks"}, limited...)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			answered := map[string]int{}
			for path, item := range specification(t).Paths.Map() {
				for method, op := range item.Operations() {
					ask, known := asking()[op.OperationID]
					if !known {
						t.Fatalf("%s %s (%s) is asked for by nothing here", method, path, op.OperationID)
					}
					if ask.target == "" {
						continue
					}
					h := newHarness(t, tc.breaks)
					status := h.do(t, method, ask.target, ask.body).status // held against the specification there
					answered[op.OperationID] = status
					guarded := op.Security == nil
					if tc.of == nil && guarded && status != tc.status {
						t.Errorf("%s: %d, want %d", op.OperationID, status, tc.status)
					}
				}
			}
			for _, op := range tc.of {
				if answered[op] != tc.status {
					t.Errorf("%s: %d, want %d", op, answered[op], tc.status)
				}
			}
		})
	}
}
