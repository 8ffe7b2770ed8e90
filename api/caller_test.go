package api_test

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
)

// byToken lets everybody do everything, under the name that the token is; "-" is nobody's.
type byToken struct{}

func (byToken) Authenticate(_ context.Context, token string) (auth.Claims, error) {
	if token == "-" {
		return auth.Claims{Capabilities: auth.Everything(), Limits: auth.Limits{Publishes: 5}}, nil
	}
	return auth.Claims{Subject: token, Capabilities: auth.Everything()}, nil
}

// TestBodiesOfOneCallerLeaveRoom: however many large bodies one caller has under way, others
// find room for theirs; who is alone has half of the budget.
func TestBodiesOfOneCallerLeaveRoom(t *testing.T) {
	for name, caller := range map[string]struct{ token, address, other, otherAddress string }{
		"user":    {"mallory", "192.0.2.1:1", "ann", "192.0.2.1:2"},
		"address": {"-", "192.0.2.1:1", "-", "192.0.2.2:1"},
		"line":    {"-", "[2001:db8::1]:1", "-", "[2001:db8:0:1::1]:1"},
	} {
		t.Run(name, func(t *testing.T) {
			hold, entered, calls := make(chan struct{}), make(chan struct{}, 1), atomic.Int64{}
			h := newHarness(t, func(h *harness) {
				h.auth = byToken{}
				h.cfg.MaxBody, h.cfg.MaxBatchBody, h.cfg.BodyBudget = 1<<20, 1<<20, 8<<20
				h.log.before = func(context.Context) {
					if calls.Add(1) == 1 { // the others wait for their turn behind it
						entered <- struct{}{}
						<-hold
					}
				}
			})
			send := func(token, address string) int {
				r := h.request("POST", lobby, `{"data":"`+strings.Repeat("x", 1<<20-100)+`"}`, "Authorization", "Bearer "+token)
				r.RemoteAddr = address
				return h.raw(r).Code
			}
			const many = 32
			codes := make(chan int, many)
			for range many {
				go func() { codes <- send(caller.token, caller.address) }()
			}
			<-entered
			for range many - 4 { // four of a mebibyte each are half of eight
				if code := <-codes; code != http.StatusTooManyRequests {
					t.Errorf("over the share: %d", code)
				}
			}
			if code := send(caller.other, caller.otherAddress); code != http.StatusCreated {
				t.Errorf("somebody else: %d", code)
			}
			close(hold)
			for range 4 {
				if code := <-codes; code != http.StatusCreated {
					t.Errorf("within the share: %d", code)
				}
			}
			if code := send(caller.token, caller.address); code != http.StatusCreated {
				t.Errorf("afterwards: %d", code)
			}
			if n := metric(t, h, "rivulet_api_body_bytes"); n != "0" {
				t.Errorf("%s bytes are still reserved", n)
			}
		})
	}
}

// TestNamelessAreToldApart: the publishes of callers without a name are counted by address,
// where their tokens limit them, and their reads are.
func TestNamelessAreToldApart(t *testing.T) {
	seen := &seenLimits{}
	h := newHarness(t, func(h *harness) { h.auth, h.limits = byToken{}, seen })
	call := func(method, target, token, address string) {
		t.Helper()
		body := ""
		if method == http.MethodPost {
			body = `{"data":1}`
		}
		r := h.request(method, target, body, "Authorization", "Bearer "+token)
		r.RemoteAddr = address
		if w := h.raw(r); w.Code >= 300 {
			t.Fatalf("%s %s: %d %s", method, target, w.Code, w.Body)
		}
	}
	for _, tc := range []struct{ token, address, want string }{
		{"-", "192.0.2.1:1", "192.0.2.1"}, {"-", "[2001:db8::1]:1", "2001:db8::"}, {"ann", "192.0.2.1:1", ""},
	} {
		call(http.MethodPost, lobby, tc.token, tc.address)
		if p := h.log.stored[len(h.log.stored)-1]; p.Address != tc.want || seen.ready.Address != tc.want {
			t.Errorf("%s at %s: published from %q, asked about %q, want %q", tc.token, tc.address, p.Address, seen.ready.Address, tc.want)
		}
		call(http.MethodGet, lobby, tc.token, tc.address)
		if want := netip.MustParseAddrPort(tc.address).Addr(); seen.read != want {
			t.Errorf("%s at %s: read from %s", tc.token, tc.address, seen.read)
		}
	}
}

// seenLimits keep what they were asked last.
type seenLimits struct {
	read  netip.Addr
	ready fanout.Publication
}

func (s *seenLimits) Read(_ context.Context, _ string, addr netip.Addr, _ string, _ int) error {
	s.read = addr
	return nil
}

func (s *seenLimits) Ready(_ context.Context, who *fanout.Publication, _ int64) error {
	s.ready = *who
	return nil
}
