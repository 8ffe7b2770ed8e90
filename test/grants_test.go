package test_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/protocol"
)

// subscribeOnly is what tokens of these tests allow.
func subscribeOnly(patterns ...string) map[string][]auth.Action {
	by := map[string][]auth.Action{}
	for _, p := range patterns {
		by[p] = []auth.Action{auth.Subscribe}
	}
	return by
}

// unasked reads events that answer no command, one for each of n channels.
func unasked(k *socket, n int) map[string]protocol.Event {
	k.t.Helper()
	got := map[string]protocol.Event{}
	for range n {
		switch ev := k.next(); {
		case ev.ID == 0 && ev.Subscribed != nil:
			got[ev.Subscribed.Channel] = ev
		case ev.ID == 0 && ev.Unsubscribed != nil:
			got[ev.Unsubscribed.Channel] = ev
		default:
			k.t.Fatalf("got %s", shown(ev))
		}
	}
	return got
}

// TestNamedChannelsAskTheHook: the channels that a token names begin as the hook says, and
// the client is told of each; those of no hook wait for none.
func TestNamedChannelsAskTheHook(t *testing.T) {
	t.Parallel()
	j := newJudge()
	n := startJudged(t, j)
	names := []string{"slow:yes", "slow:no", "slow:away", "slow:held.1", "t:plain"}
	token := mintClaims(t, auth.Claims{Subject: "bob", Channels: names}, subscribeOnly("slow:>", "t:>"))
	k := n.as(token).socket()
	got := unasked(k, 4) // the hook holds one back
	if ev := got["slow:yes"]; ev.Subscribed == nil {
		t.Errorf("allowed: %s", shown(ev))
	}
	if ev := got["t:plain"]; ev.Subscribed == nil {
		t.Errorf("not asked about: %s", shown(ev))
	}
	if ev := got["slow:no"].Unsubscribed; ev == nil || ev.Code != protocol.ErrorRevoked || ev.Reason != "not you" {
		t.Errorf("denied: %+v", ev)
	}
	if ev := got["slow:away"].Unsubscribed; ev == nil || !ev.Code.Resubscribe() {
		t.Errorf("without an answer: %+v", ev)
	}
	// A refresh to a token that does not name what waits, nor allow it, takes it back.
	<-j.arrived
	k.send(protocol.Command{Refresh: &protocol.RefreshCommand{
		Token: mintClaims(t, auth.Claims{Subject: "bob"}, subscribeOnly("slow:yes", "t:>")),
	}})
	if ev := k.reply(); ev.Connected == nil {
		t.Fatalf("got %s", shown(ev))
	}
	close(j.release)
	if ev := unasked(k, 1)["slow:held.1"].Unsubscribed; ev == nil || ev.Code != protocol.ErrorRevoked {
		t.Errorf("allowed by the hook, and by the token no more: %+v", ev)
	}
	for _, channel := range []string{"slow:no", "slow:away", "slow:held.1", "slow:yes", "t:plain"} {
		if channel != "slow:no" && channel != "slow:away" { // of which the hook takes no message either
			n.publish(channel, channel)
		}
	}
	for _, want := range []string{"slow:yes", "t:plain"} {
		if ev := k.next(); ev.Message == nil || ev.Message.Channel != want {
			t.Errorf("got %s, want what was published to %s", shown(ev), want)
		}
	}
	for _, q := range j.take() {
		if q.Type == "subscribe" && (q.User != "bob" || q.Client == "") {
			t.Errorf("asked %+v", q)
		}
	}
}

// TestSubscriptionTokensAskTheHook: a token for one channel is no way past its hook, and what
// the hook allows is no more than the token, as it is by then.
func TestSubscriptionTokensAskTheHook(t *testing.T) {
	t.Parallel()
	j := newJudge()
	n := startJudged(t, j)
	subscription := func(channel, id string) string {
		return mintClaims(t, auth.Claims{Subject: "bob", Channel: channel, TokenID: id}, subscribeOnly(channel))
	}
	k := n.as(mintClaims(t, auth.Claims{Subject: "bob"}, subscribeOnly("t:>"))).socket()
	ask := func(channel, token string) protocol.Event {
		k.send(protocol.Command{Subscribe: &protocol.SubscribeCommand{Channel: channel, Token: token}})
		return k.reply()
	}
	if ev := ask("slow:yes", ""); ev.Error == nil || ev.Error.Code != protocol.ErrorForbidden || len(j.take()) != 0 {
		t.Fatalf("without a token: %s", shown(ev))
	}
	if ev := ask("slow:yes", subscription("slow:yes", "")); ev.Subscribed == nil {
		t.Errorf("allowed: %s", shown(ev))
	}
	if ev := ask("slow:no", subscription("slow:no", "")); ev.Error == nil || ev.Error.Code != protocol.ErrorForbidden || ev.Error.Message != "not you" {
		t.Errorf("denied: %s", shown(ev))
	}
	if ev := ask("slow:other", subscription("slow:yes", "")); ev.Error == nil || ev.Error.Code.Temporary() {
		t.Errorf("of another channel: %s", shown(ev))
	}
	if asked := j.take(); len(asked) != 2 || asked[0].User != "bob" {
		t.Errorf("asked %+v", asked)
	}

	// Revoked while the hook thinks.
	held := k.send(protocol.Command{Subscribe: &protocol.SubscribeCommand{Channel: "slow:held", Token: subscription("slow:held", "gone")}})
	<-j.arrived
	if a := n.call(http.MethodPost, "/v1/revocations", nil, []byte(`{"token_id":"gone"}`)); a.status != http.StatusCreated {
		t.Fatalf("revoke: %d %s", a.status, a.Message)
	}
	close(j.release)
	if ev := k.next(); ev.ID != held || ev.Error == nil || ev.Error.Code != protocol.ErrorUnauthorized {
		t.Errorf("revoked while the hook thought: %s", shown(ev))
	}
	n.publish("slow:held", 1)
	n.publish("slow:yes", 2)
	if ev := k.next(); ev.Message == nil || ev.Message.Channel != "slow:yes" {
		t.Errorf("got %s, want only what is still allowed", shown(ev))
	}
}

// TestDurableAndTheHook: a durable subscription that is taken back while the hook thinks
// leaves no place in the session; one that begins is in it.
func TestDurableAndTheHook(t *testing.T) {
	t.Parallel()
	j := newJudge()
	n := startJudged(t, j)
	connect := func() (*socket, bool) {
		k := n.socket()
		k.send(protocol.Command{Connect: &protocol.ConnectCommand{Session: "phone"}})
		ev := k.reply()
		if ev.Connected == nil {
			t.Fatalf("got %s", shown(ev))
		}
		return k, ev.Connected.Resumed
	}
	durable := func(channel string) protocol.Command {
		return protocol.Command{Subscribe: &protocol.SubscribeCommand{Channel: channel, Durable: true}}
	}
	k, _ := connect()
	kept := k.send(durable("slow:yes"))
	if ev := k.next(); ev.ID != kept || ev.Subscribed == nil || !ev.Subscribed.Durable {
		t.Fatalf("got %s", shown(ev))
	}
	held := k.send(durable("slow:held"))
	<-j.arrived
	k.send(protocol.Command{Unsubscribe: &protocol.UnsubscribeCommand{Channel: "slow:held"}})
	if ev := k.reply(); ev.Unsubscribed == nil {
		t.Fatalf("got %s", shown(ev))
	}
	close(j.release)
	if ev := k.next(); ev.ID != held || ev.Error == nil || ev.Error.Code != protocol.ErrorNotFound {
		t.Errorf("taken back: %s", shown(ev))
	}
	// One that an earlier connection has had is given up, too, though the hook is asked again.
	k.close()
	var resumed bool
	if k, resumed = connect(); !resumed {
		t.Fatal("the session is new")
	}
	for channel, want := range map[string]bool{"slow:yes": true, "slow:held": false} {
		if ev := k.answer(durable(channel)); ev.Subscribed == nil || ev.Subscribed.Resumed != want {
			t.Errorf("%s: got %s, want resumed %v", channel, shown(ev), want)
		}
	}
	if ev := k.answer(protocol.Command{Unsubscribe: &protocol.UnsubscribeCommand{Channel: "slow:yes"}}); ev.Unsubscribed == nil {
		t.Fatalf("got %s", shown(ev))
	}
}

// answer sends a command and reads until it is answered.
func (k *socket) answer(c protocol.Command) protocol.Event {
	k.t.Helper()
	id := k.send(c)
	for {
		if ev := k.next(); ev.ID == id {
			return ev
		}
	}
}

// TestGroupsAndTheHook: a membership that is taken back, or whose right is, while the hook
// thinks does not begin.
func TestGroupsAndTheHook(t *testing.T) {
	t.Parallel()
	j := newJudge()
	n := startJudged(t, j)
	k := n.as(mintClaims(t, auth.Claims{Subject: "bob"}, subscribeOnly("slow:>"))).socket()
	join := func(channel string) uint64 {
		return k.send(protocol.Command{Subscribe: &protocol.SubscribeCommand{Channel: channel, Group: "g"}})
	}
	first, second := join("slow:held.1"), join("slow:held.2")
	<-j.arrived
	<-j.arrived
	k.send(protocol.Command{Unsubscribe: &protocol.UnsubscribeCommand{Channel: "slow:held.1"}})
	if ev := k.reply(); ev.Unsubscribed == nil {
		t.Fatalf("got %s", shown(ev))
	}
	k.send(protocol.Command{Refresh: &protocol.RefreshCommand{Token: mintClaims(t, auth.Claims{Subject: "bob"}, subscribeOnly("slow:yes"))}})
	// The membership may begin before the refresh is through, and then ends with it.
	told, settled := false, map[uint64]bool{}
	for len(settled) < 2 || !told {
		switch ev := k.next(); {
		case ev.Connected != nil:
			close(j.release)
		case ev.Unsubscribed != nil && ev.Unsubscribed.Channel == "slow:held.2":
			told = ev.Unsubscribed.Code == protocol.ErrorRevoked
		case ev.ID == second && ev.Subscribed != nil, ev.Error != nil && (ev.ID == first || ev.ID == second):
			settled[ev.ID] = true
		default:
			t.Fatalf("got %s", shown(ev))
		}
	}
	n.publish("slow:held.2", 1)
	join("slow:yes")
	if ev := k.reply(); ev.Subscribed == nil {
		t.Errorf("got %s", shown(ev))
	}
	n.publish("slow:yes", 2)
	_ = k.SetReadDeadline(time.Now().Add(deadline))
	if ev := k.next(); ev.Message == nil || ev.Message.Channel != "slow:yes" || ev.Message.Group != "g" {
		t.Errorf("got %s", shown(ev))
	}
}
