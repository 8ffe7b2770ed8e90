package api_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
)

func TestDelete(t *testing.T) {
	h := newHarness(t)
	for i, want := range []string{"deleted", "deleted before"} {
		res := h.do(t, "DELETE", lobby+"/17", "")
		if res.status != 200 || res.message != want || res.data["offset"] != 99.0 || res.data["duplicate"] != (i > 0) {
			t.Errorf("%d %s", res.status, res.body)
		}
	}
	if fmt.Sprint(h.log.deleted) != "[17 17]" {
		t.Errorf("deleted %v", h.log.deleted)
	}
}

func TestDeleteBadInput(t *testing.T) {
	for name, c := range map[string]struct{ target, field string }{
		"zero":             {lobby + "/0", "offset"},
		"negative":         {lobby + "/-1", "offset"},
		"no number":        {lobby + "/latest", "offset"},
		"a fraction":       {lobby + "/1.5", "offset"},
		"a leading zero":   {lobby + "/017", "offset"},
		"beyond numbers":   {lobby + "/9007199254740992", "offset"},
		"a very long one":  {lobby + "/" + strings.Repeat("9", 300), "offset"},
		"a position":       {lobby + "/3fGk2a0b-t1-1h2x3y4z5a6b", "offset"},
		"a parameter":      {lobby + "/17?force=true", "force"},
		"a pattern":        {"/v1/channels/chat:*/messages/17", "channel"},
		"a broken channel": {"/v1/channels/chat:a..b/messages/17", "channel"},
	} {
		h := newHarness(t)
		if res := h.do(t, "DELETE", c.target, ""); res.status != 400 || res.field != c.field || len(h.log.deleted) != 0 {
			t.Errorf("%s: %d %q %s", name, res.status, res.field, res.message)
		}
	}
}

func TestDeleteErrors(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		status int
		field  string
	}{
		"none there":    {fanout.ErrNoMessage, 404, "offset"},
		"no namespace":  {fanout.ErrUnknownNamespace, 404, "channel"},
		"unavailable":   {fanout.ErrUnavailable, 503, ""},
		"outcome open":  {&fanout.OutcomeUnknownError{Cause: errors.New("lost")}, 504, ""},
		"not this time": {errors.New("whatever"), 500, ""},
	} {
		h := newHarness(t, func(h *harness) { h.log.err = c.err })
		res := h.do(t, "DELETE", lobby+"/17", "")
		if res.status != c.status || res.field != c.field || c.status == 504 && !strings.Contains(res.message, "delete it again") {
			t.Errorf("%s: %d %q %s", name, res.status, res.field, res.message)
		}
	}
	caps, err := auth.NewCapabilities(map[string][]auth.Action{"chat:>": {auth.Publish, auth.History, auth.Subscribe}})
	if err != nil {
		t.Fatal(err)
	}
	h := newHarness(t, func(h *harness) { h.auth = fixed{auth.Claims{Subject: "ann", Capabilities: caps}} })
	if res := h.do(t, "DELETE", lobby+"/17", ""); res.status != 403 || !strings.Contains(res.message, "manage") || len(h.log.deleted) != 0 {
		t.Errorf("without the action: %d %s", res.status, res.message)
	}
}

// fixed authenticates everybody as the same.
type fixed struct{ claims auth.Claims }

func (f fixed) Authenticate(context.Context, string) (auth.Claims, error) { return f.claims, nil }
