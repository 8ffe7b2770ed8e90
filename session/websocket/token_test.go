package websocket_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gorilla "github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/internal/hubtest"
)

// one makes the claims of a subscription token.
func one(tb testing.TB, user, channel string, actions ...auth.Action) auth.Claims {
	tb.Helper()
	c := hubtest.May(tb, user, map[string][]auth.Action{channel: actions})
	c.Channel = channel
	return c
}

// TestExpiring: a client is asked to refresh once before each end, and told at connect
// how long it has.
func TestExpiring(t *testing.T) {
	for _, tc := range []struct {
		name        string
		lives       time.Duration
		least, most time.Duration // of in_ms
	}{
		{"long", 10 * time.Minute, 13 * time.Second, 20 * time.Second},
		{"short", time.Minute, 8 * time.Second, 15 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			known := map[string]auth.Claims{}
			synctest.Test(t, func(t *testing.T) {
				_, dial := memory(t, hubtest.Tokens{Known: known})
				for _, name := range []string{"first", "second"} {
					known[name] = auth.Claims{Subject: "ann", ExpiresAt: time.Now().Add(tc.lives), Capabilities: auth.Everything()}
				}
				c := dial(http.Header{"Authorization": {"Bearer first"}})
				ev := c.next()
				if ev.Connected == nil || time.Duration(ev.Connected.ExpiresInMS)*time.Millisecond != tc.lives {
					t.Fatalf("got %s, want expires_in_ms of %v", show(ev), tc.lives)
				}
				for i, next := range []string{"second", ""} {
					_ = c.SetReadDeadline(time.Time{})
					var ev protocol.Event
					if err := c.ReadJSON(&ev); err != nil || ev.Expiring == nil {
						t.Fatalf("got %s, %v, want expiring", show(ev), err)
					}
					if i == 0 {
						within(t, "told before the end", time.Duration(ev.Expiring.InMS)*time.Millisecond, tc.least, tc.most)
						s := known[next]
						s.ExpiresAt = time.Now().Add(tc.lives)
						known[next] = s
						c.send(`{"id":1,"refresh":{"token":%q}}`, next)
						if ev := c.next(); ev.ID != 1 || ev.Connected == nil || time.Duration(ev.Connected.ExpiresInMS)*time.Millisecond != tc.lives {
							t.Fatalf("got %s", show(ev))
						}
					}
				}
				if _, code := c.waitClose(t); code != int(protocol.CloseTokenExpired) {
					t.Errorf("closed with %d", code)
				}
			})
		})
	}
}

// TestNothingIsDoneAfterTheEnd: a command that comes between the token's end and the
// sweeper's look is not done.
func TestNothingIsDoneAfterTheEnd(t *testing.T) {
	known := map[string]auth.Claims{}
	synctest.Test(t, func(t *testing.T) {
		cfg := session.DefaultConfig()
		cfg.PingInterval, cfg.DeadAfter = 10*time.Minute, 30*time.Minute // the sweeper is slow
		n, dial := memoryWith(t, cfg, hubtest.Tokens{Known: known})
		known["short"] = auth.Claims{ExpiresAt: time.Now().Add(time.Second), Capabilities: auth.Everything()}
		c := dial(http.Header{"Authorization": {"Bearer short"}})
		c.next()
		pass(time.Second)
		c.send(`{"id":1,"publish":{"channel":"chat:a","data":1}}`)
		c.wantClose(protocol.CloseTokenExpired)
		if len(n.hub.Batches()) != 0 {
			t.Error("the message was published")
		}
	})
}

// TestNamedChannels: what a token names is subscribed to without being asked for, and a
// subscribe of the client takes its place.
func TestNamedChannels(t *testing.T) {
	for _, l := range spoken {
		t.Run(l.name, func(t *testing.T) {
			all := map[string][]auth.Action{"chat:>": {auth.Subscribe}}
			first, second := hubtest.May(t, "ann", all), hubtest.May(t, "ann", all)
			first.Channels, second.Channels = []string{"chat:a", "chat:bad"}, []string{"chat:a", "chat:b"}
			n := start(t, nil, hubtest.Tokens{Known: map[string]auth.Claims{"first": first, "second": second}})
			n.hub.Fail("chat:bad", fanout.ErrUnknownNamespace)
			before := n.hub.Publish("chat:a", `"old"`)
			c := n.speakAs(t, l.language, l.kind, "first")
			if ev := c.event(); ev.Connected == nil {
				t.Fatalf("got %s", show(ev))
			}
			if ev := c.event(); ev.ID != 0 || ev.Subscribed == nil || ev.Subscribed.Channel != "chat:a" {
				t.Fatalf("got %s, want subscribed, unasked", show(ev))
			}
			if ev := c.event(); ev.ID != 0 || ev.Unsubscribed == nil || ev.Unsubscribed.Channel != "chat:bad" || ev.Unsubscribed.Code != protocol.ErrorRevoked {
				t.Fatalf("got %s, want word of the channel that is not there", show(ev))
			}
			n.hub.Publish("chat:a", `"live"`)
			if _, data := alike(t, c.event()); data != `JSON "live"` {
				t.Fatalf("got %s", data)
			}
			start := before
			start.Offset = 0
			c.command(protocol.Command{ID: 1, Subscribe: &protocol.SubscribeCommand{Channel: "chat:a", Position: start.String()}})
			if ev := c.event(); ev.ID != 1 || ev.Subscribed == nil {
				t.Fatalf("got %s, want subscribed in place of the other", show(ev))
			}
			for _, want := range []string{`JSON "old"`, `JSON "live"`} {
				if ev := c.event(); ev.CaughtUp == nil {
					if _, data := alike(t, ev); data != want {
						t.Fatalf("got %s, want %s", data, want)
					}
				}
			}
			c.command(protocol.Command{ID: 2, Subscribe: &protocol.SubscribeCommand{Channel: "chat:a"}})
			again := c.event()
			if again.CaughtUp != nil {
				again = c.event()
			}
			if again.ID != 2 || again.Error == nil || again.Error.Code != protocol.ErrorConflict {
				t.Fatalf("got %s, want a conflict: the client's own is not replaced", show(again))
			}
			c.command(protocol.Command{ID: 3, Refresh: &protocol.RefreshCommand{Token: "second"}})
			if ev := c.event(); ev.ID != 3 || ev.Connected == nil {
				t.Fatalf("got %s", show(ev))
			}
			if ev := c.event(); ev.ID != 0 || ev.Subscribed == nil || ev.Subscribed.Channel != "chat:b" {
				t.Fatalf("got %s, want the new token's further channel, and no other", show(ev))
			}
		})
	}
}

// TestNamedChannelsAreCovered: a channel that the claims name and do not allow, as those that
// a connect hook has narrowed, is not subscribed to.
func TestNamedChannelsAreCovered(t *testing.T) {
	ann := hubtest.May(t, "ann", map[string][]auth.Action{"chat:a": {auth.Subscribe}})
	ann.Channels = []string{"chat:secret", "chat:a"}
	c := start(t, nil, hubtest.Tokens{Known: map[string]auth.Claims{"ann": ann}}).dial(t, "?token=ann", nil)
	c.next()
	if ev := c.next(); ev.Unsubscribed == nil || ev.Unsubscribed.Channel != "chat:secret" || ev.Unsubscribed.Code != protocol.ErrorRevoked {
		t.Fatalf("got %s, want word that chat:secret is not allowed", show(ev))
	}
	if ev := c.next(); ev.Subscribed == nil || ev.Subscribed.Channel != "chat:a" {
		t.Fatalf("got %s", show(ev))
	}
}

// TestAnotherToken: the claims of connect outweigh those of the handshake, and the
// channels of the latter end.
func TestAnotherToken(t *testing.T) {
	ann, bob := hubtest.May(t, "ann", map[string][]auth.Action{"chat:>": {auth.Subscribe}}), hubtest.May(t, "bob", map[string][]auth.Action{"chat:>": {auth.Subscribe}})
	ann.Channels, bob.Channels = []string{"chat:a"}, []string{"chat:b"}
	c := start(t, nil, hubtest.Tokens{Known: map[string]auth.Claims{"ann": ann, "bob": bob}}).dial(t, "?token=ann", nil)
	c.next()
	c.next()
	c.send(`{"id":1,"connect":{"token":"bob"}}`)
	if ev := c.next(); ev.Unsubscribed == nil || ev.Unsubscribed.Channel != "chat:a" || ev.Unsubscribed.Code != protocol.ErrorRevoked {
		t.Fatalf("got %s", show(ev))
	}
	if ev := c.next(); ev.ID != 1 || ev.Connected == nil {
		t.Fatalf("got %s", show(ev))
	}
	if ev := c.next(); ev.Subscribed == nil || ev.Subscribed.Channel != "chat:b" {
		t.Fatalf("got %s", show(ev))
	}
}

func TestSubscriptionToken(t *testing.T) {
	for _, l := range spoken {
		t.Run(l.name, func(t *testing.T) {
			n := start(t, nil, hubtest.Tokens{Known: map[string]auth.Claims{
				"ann":     hubtest.May(t, "ann", map[string][]auth.Action{"chat:own": {auth.Subscribe}}),
				"less":    hubtest.May(t, "ann", nil),
				"secret":  one(t, "ann", "chat:secret", auth.Subscribe, auth.History),
				"pattern": one(t, "ann", "chat:p.>", auth.Subscribe),
				"bob's":   one(t, "bob", "chat:secret", auth.Subscribe),
			}})
			c := n.speakAs(t, l.language, l.kind, "ann")
			c.event()
			ask := func(id uint64, channel, token string) protocol.Event {
				c.command(protocol.Command{ID: id, Subscribe: &protocol.SubscribeCommand{Channel: channel, Token: token}})
				return c.event()
			}
			refused := func(ev protocol.Event, code protocol.Code, field string) {
				t.Helper()
				if ev.Error == nil || ev.Error.Code != code || ev.Error.Field != field {
					t.Fatalf("got %s, want error %d of %s", show(ev), code, field)
				}
			}
			history := func(id uint64) protocol.Event {
				c.command(protocol.Command{ID: id, History: &protocol.HistoryCommand{Channel: "chat:secret"}})
				return c.event()
			}
			refused(ask(1, "chat:secret", ""), protocol.ErrorForbidden, "channel")
			refused(ask(2, "chat:secret", "wrong"), protocol.ErrorUnauthorized, "token")
			refused(ask(3, "chat:secret", "expired"), protocol.ErrorUnauthorized, "token")
			refused(ask(4, "chat:secret", "bob's"), protocol.ErrorForbidden, "token")
			refused(ask(5, "chat:other", "secret"), protocol.ErrorUnauthorized, "token")
			refused(ask(6, "chat:>", "pattern"), protocol.ErrorUnauthorized, "token")
			refused(history(7), protocol.ErrorForbidden, "channel")
			if ev := ask(8, "chat:secret", "secret"); ev.ID != 8 || ev.Subscribed == nil {
				t.Fatalf("got %s", show(ev))
			}
			if ev := ask(9, "chat:p.>", "pattern"); ev.ID != 9 || ev.Subscribed == nil {
				t.Fatalf("got %s", show(ev))
			}
			if ev := history(10); ev.History == nil {
				t.Fatalf("got %s", show(ev))
			}
			c.command(protocol.Command{ID: 11, Refresh: &protocol.RefreshCommand{Token: "less"}})
			if ev := c.event(); ev.ID != 11 || ev.Connected == nil {
				t.Fatalf("got %s", show(ev))
			}
			n.hub.Publish("chat:secret", "1")
			if _, data := alike(t, c.event()); data != "JSON 1" {
				t.Fatalf("got %s: a subscription with its own token ended with the connection's", data)
			}
			c.command(protocol.Command{ID: 12, Unsubscribe: &protocol.UnsubscribeCommand{Channel: "chat:secret"}})
			c.event()
			refused(history(13), protocol.ErrorForbidden, "channel") // it lasts as long as the subscription
		})
	}
}

// TestSubscriptionTokenEnds: with 4601, and the subscription can be made anew.
func TestSubscriptionTokenEnds(t *testing.T) {
	known := map[string]auth.Claims{}
	synctest.Test(t, func(t *testing.T) {
		_, dial := memory(t, hubtest.Tokens{Known: known})
		known["ann"] = hubtest.May(t, "ann", nil)
		short := one(t, "ann", "chat:a", auth.Subscribe)
		short.ExpiresAt = time.Now().Add(time.Minute)
		known["short"] = short
		c := dial(http.Header{"Authorization": {"Bearer ann"}})
		c.next()
		begun := time.Now()
		c.subscribe(1, "chat:a", `,"token":"short"`)
		_ = c.SetReadDeadline(time.Time{})
		var ev protocol.Event
		if err := c.ReadJSON(&ev); err != nil || ev.Unsubscribed == nil || ev.Unsubscribed.Code != protocol.ErrorTokenExpired || ev.Unsubscribed.Channel != "chat:a" {
			t.Fatalf("got %s, %v", show(ev), err)
		}
		within(t, "ended", time.Since(begun), time.Minute, time.Minute+6*time.Second)
		short.ExpiresAt = time.Now().Add(time.Minute)
		known["short"] = short
		c.subscribe(2, "chat:a", `,"token":"short"`)
	})
}

// TestRevoke: what rests on revoked claims ends, the connection or one subscription.
func TestRevoke(t *testing.T) {
	ann := hubtest.May(t, "ann", map[string][]auth.Action{"chat:own": {auth.Subscribe}})
	ann.TokenID, ann.IssuedAt = "t1", time.Unix(1000, 0)
	secret := one(t, "ann", "chat:secret", auth.Subscribe)
	secret.TokenID = "t2"
	n := start(t, nil, hubtest.Tokens{Known: map[string]auth.Claims{"ann": ann, "secret": secret}})
	c := n.dial(t, "?token=ann", nil)
	c.next()
	c.subscribe(1, "chat:own", "")
	c.subscribe(2, "chat:secret", `,"token":"secret"`)
	revoke := func(id string) {
		n.registry.Revoke(func(c auth.Claims) bool { return c.TokenID == id })
	}
	revoke("t3")
	revoke("t2")
	if ev := c.next(); ev.Unsubscribed == nil || ev.Unsubscribed.Channel != "chat:secret" || ev.Unsubscribed.Code != protocol.ErrorRevoked {
		t.Fatalf("got %s", show(ev))
	}
	n.hub.Publish("chat:own", "1")
	c.next()
	revoke("t1")
	c.wantClose(protocol.CloseRevoked)
}

// away cannot verify anything at the moment.
type away struct{}

func (away) Authenticate(_ context.Context, token string) (auth.Claims, error) {
	if token == "" {
		return auth.Claims{}, auth.ErrMissing
	}
	return auth.Claims{}, auth.ErrUnavailable
}

// TestKeysAway: a token that cannot be verified now is no token that is wrong.
func TestKeysAway(t *testing.T) {
	c := start(t, nil, away{}).dial(t, "", nil)
	c.send(`{"id":1,"connect":{"token":"good"}}`)
	if ev := c.wantError(1, protocol.ErrorUnavailable, "token"); ev.RetryAfterMS == 0 {
		t.Error("no time to come back after")
	}
	c.send(`{"id":2,"ping":{}}`)
	if ev := c.next(); ev.Pong == nil {
		t.Fatalf("got %s, want the connection to go on", show(ev))
	}
	_, resp, err := gorilla.DefaultDialer.DialContext(t.Context(), start(t, nil, away{}).url+"?token=good", nil)
	if err == nil || resp == nil {
		t.Fatalf("dialled: %v", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
}

// late verifies tokens as Tokens does, and then, when it is too late, says that they are
// revoked: a revocation came while they were being verified.
type late struct{ hubtest.Tokens }

func (late) Revoked(c auth.Claims) bool { return strings.HasPrefix(c.TokenID, "gone") }

// TestRevokedWhileItBegins: no connection and no subscription slips through between the
// verification of its token and the registry's knowledge of it.
func TestRevokedWhileItBegins(t *testing.T) {
	all := map[string][]auth.Action{"chat:>": {auth.Subscribe}}
	ann, gone, secret := hubtest.May(t, "ann", all), hubtest.May(t, "ann", all), one(t, "ann", "chat:secret", auth.Subscribe)
	gone.TokenID, secret.TokenID = "gone1", "gone2"
	n := start(t, nil, late{hubtest.Tokens{Known: map[string]auth.Claims{"ann": ann, "gone": gone, "secret": secret}}})
	end := func(c *client) {
		t.Helper()
		for {
			var ev protocol.Event
			if err := c.ReadJSON(&ev); err != nil {
				if e, ok := errors.AsType[*gorilla.CloseError](err); !ok || e.Code != int(protocol.CloseRevoked) {
					t.Errorf("ended with %v", err)
				}
				return
			}
		}
	}
	t.Run("handshake", func(*testing.T) { end(n.dial(t, "?token=gone", nil)) })
	t.Run("connect", func(*testing.T) {
		c := n.dial(t, "", nil)
		c.send(`{"id":1,"connect":{"token":"gone"}}`)
		end(c)
	})
	t.Run("refresh", func(*testing.T) {
		c := n.dial(t, "?token=ann", nil)
		c.next()
		c.send(`{"id":1,"refresh":{"token":"gone"}}`)
		end(c)
	})
	t.Run("subscription", func(*testing.T) {
		c := n.dial(t, "?token=ann", nil)
		c.next()
		c.send(`{"id":1,"subscribe":{"channel":"chat:secret","token":"secret"}}`)
		for {
			ev := c.next()
			if ev.Unsubscribed != nil {
				if ev.Unsubscribed.Code != protocol.ErrorRevoked {
					t.Errorf("got %s", show(ev))
				}
				return
			}
		}
	})
}
