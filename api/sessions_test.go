package api_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/api"
	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
)

// fakeSessions has two sessions of alice; the broker's own are tested in test/.
type fakeSessions struct {
	asked   string
	reset   []fanout.SessionChannel
	deleted fanout.SessionID
	err     error
}

func (f *fakeSessions) record(name string) *fanout.SessionRecord {
	lobby, _ := fanout.ParseChannel("chat:lobby")
	lost, _ := fanout.ParseChannel("chat:lost")
	return &fanout.SessionRecord{
		ID: fanout.SessionID{User: "alice", Name: name}, Node: "n1", Client: "0123456789abcdef",
		Created: time.UnixMilli(1000), Seen: time.UnixMilli(5000), TTL: time.Minute,
		Channels: []fanout.SessionChannel{{Channel: lobby, Position: positionAt(7)}, {Channel: lost}},
	}
}

func (f *fakeSessions) List(_ context.Context, user string, after uint64, limit int) ([]*fanout.SessionRecord, uint64, error) {
	if f.asked = fmt.Sprint(user, " ", after, " ", limit); f.err != nil {
		return nil, 0, f.err
	}
	if after >= 12 {
		return nil, 0, nil
	}
	return []*fanout.SessionRecord{f.record("phone-1"), f.record("tablet")}, 12, nil
}

func (f *fakeSessions) Get(_ context.Context, id fanout.SessionID) (*fanout.SessionRecord, error) {
	if id.Name != "phone-1" {
		return nil, fanout.ErrNoSession
	}
	return f.record(id.Name), f.err
}

func (f *fakeSessions) Lag(_ context.Context, _ fanout.Channel, after fanout.Position) (uint64, error) {
	return 10 - after.Offset, nil
}

func (f *fakeSessions) Reset(ctx context.Context, id fanout.SessionID, to []fanout.SessionChannel) (*fanout.SessionRecord, error) {
	f.reset = to
	return f.Get(ctx, id)
}

func (f *fakeSessions) Delete(ctx context.Context, id fanout.SessionID) error {
	f.deleted = id
	_, err := f.Get(ctx, id)
	return err
}

func (f *fakeSessions) StartOf(_ context.Context, _ fanout.Channel, start fanout.Start) (fanout.Position, error) {
	if start.Since != 0 {
		return positionAt(1), nil
	}
	return positionAt(10), nil
}

func (f *fakeSessions) At(_ context.Context, _ fanout.Channel, offset uint64) (fanout.Position, error) {
	if offset > 10 {
		return fanout.Position{}, fanout.ErrNotStored
	}
	return positionAt(offset), nil
}

// callers are tokens that may or may not manage everything.
type callers struct{}

func (callers) Authenticate(_ context.Context, token string) (auth.Claims, error) {
	pattern := map[string]string{"all": "*:>", "some": "chat:>"}[token]
	if pattern == "" {
		return auth.Claims{}, auth.ErrMissing
	}
	caps, err := auth.NewCapabilities(map[string][]auth.Action{pattern: auth.Actions()})
	return auth.Claims{Key: token, Capabilities: caps}, err
}

func TestSessions(t *testing.T) {
	h := newHarness(t, func(h *harness) { h.auth = callers{} })
	const one = "/v1/users/alice/sessions/phone-1"
	for _, tc := range []struct {
		method, target, body string
		status               int
		want                 string // in the body; of an error, its field
	}{
		{"GET", "/v1/sessions?limit=2&after=5", "", 200, `"next":12`},
		{"GET", "/v1/sessions?after=12", "", 200, `"data":{"sessions":[]}`},
		{"GET", "/v1/users/a%2Fb/sessions", "", 200, `"session":"tablet","connected":true`},
		{"GET", one, "", 200, `{"channel":"chat:lobby","position":"3fGk2a0b-7-d5stjzvb4idx","offset":7,"lag":3},{"channel":"chat:lost","lag":10}`},
		{"GET", "/v1/users/alice/sessions/other", "", 404, "session"},
		{"GET", "/v1/users/alice/sessions/a%20b", "", 400, "session"},
		{"GET", "/v1/users/" + strings.Repeat("a", 256) + "/sessions", "", 400, "user"},
		{"GET", "/v1/sessions?limit=0", "", 400, "limit"},
		{"GET", "/v1/sessions?limit=1001", "", 400, "limit"},
		{"GET", "/v1/sessions?after=x", "", 400, "after"},
		{"GET", "/v1/sessions?user=x", "", 400, "user"},
		{"GET", one + "?x=1", "", 400, "x"},
		{"DELETE", one, "", 200, `"deleted"`},
		{"DELETE", "/v1/users/alice/sessions/other", "", 404, "session"},
		{"POST", one + "/reset", `{"to":"now"}`, 200, `"session":"phone-1"`},
		{"POST", one + "/reset", `{"channel":"chat:lobby","to":"start"}`, 200, `"session":"phone-1"`},
		{"POST", one + "/reset", `{"channel":"chat:lobby","offset":3}`, 200, `"session":"phone-1"`},
		{"POST", one + "/reset", `{"channel":"chat:lobby","position":"3fGk2a0b-3-1"}`, 200, `"session":"phone-1"`},
		{"POST", one + "/reset", `{"channel":"chat:lobby","offset":11}`, 400, "offset"},
		{"POST", one + "/reset", `{"channel":"chat:lobby","position":"x"}`, 400, "position"},
		{"POST", one + "/reset", `{"channel":"chat:other","to":"now"}`, 404, "channel"},
		{"POST", one + "/reset", `{"channel":"chat:>","to":"now"}`, 400, "channel"},
		{"POST", one + "/reset", `{"offset":3}`, 400, "channel"},
		{"POST", one + "/reset", `{"channel":"chat:lobby","to":"then"}`, 400, "to"},
		{"POST", one + "/reset", `{"channel":"chat:lobby"}`, 400, "to"},
		{"POST", one + "/reset", `{"channel":"chat:lobby","to":"now","offset":1}`, 400, "to"},
		{"POST", one + "/reset", `{"all":true}`, 400, "body"},
		{"POST", one + "/reset", `{"to":"now"} {}`, 400, "body"},
		{"POST", one + "/reset", `[]`, 400, "body"},
		{"POST", "/v1/users/alice/sessions/other/reset", `{"to":"now"}`, 404, "session"},
	} {
		t.Run(tc.method+" "+tc.target+" "+tc.body, func(t *testing.T) {
			res := h.do(t, tc.method, tc.target, tc.body, "Authorization", "Bearer all")
			switch {
			case res.status != tc.status:
				t.Errorf("got %d %s, want %d", res.status, res.body, tc.status)
			case tc.status == 200 && !strings.Contains(string(res.body), tc.want):
				t.Errorf("got %s, want %s", res.body, tc.want)
			case tc.status != 200 && res.field != tc.want:
				t.Errorf("got %s, want the field %s", res.body, tc.want)
			}
			for token, status := range map[string]int{"some": 403, "": 401} {
				if res := h.do(t, tc.method, tc.target, tc.body, "Authorization", "Bearer "+token); res.status != status {
					t.Errorf("with the token %q: %d %s", token, res.status, res.body)
				}
			}
		})
	}
	if h.sessions.asked != "a/b 0 100" || len(h.sessions.reset) != 1 || h.sessions.reset[0].Position.Offset != 3 {
		t.Errorf("asked for %q, reset to %+v", h.sessions.asked, h.sessions.reset)
	}
}

var (
	_ api.Sessions       = (*fakeSessions)(nil)
	_ api.SessionControl = (*fakeSessions)(nil)
)
