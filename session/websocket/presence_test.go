package websocket_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/internal/hubtest"
)

func TestPresenceRefuses(t *testing.T) {
	watcher := hubtest.May(t, "ann", map[string][]auth.Action{"chat:>": {auth.Subscribe, auth.Presence}, "quiet:>": {auth.Subscribe}})
	c := start(t, nil, hubtest.Tokens{Known: map[string]auth.Claims{"ann": watcher}}).dial(t, "?token=ann", nil)
	c.raw() // connected
	for i, tc := range []struct {
		command, fields, field string
		code                   protocol.Code
	}{
		{"presence", `"channel":"chat:>"`, "channel", protocol.ErrorBadRequest},
		{"presence", `"channel":"chat:a","limit":-1`, "limit", protocol.ErrorBadRequest},
		{"presence", `"channel":"chat:a","limit":1001`, "limit", protocol.ErrorBadRequest},
		{"presence", `"channel":"chat:a","after":"x"`, "after", protocol.ErrorBadRequest},
		{"presence", `"channel":"chat:a","after":"00000000000000AB"`, "after", protocol.ErrorBadRequest},
		{"presence", `"channel":"chat:a","counts":true,"limit":5`, "counts", protocol.ErrorBadRequest},
		{"presence", `"channel":"chat:a","counts":true,"after":"00000000000000ab"`, "counts", protocol.ErrorBadRequest},
		{"presence", `"channel":"other:a"`, "channel", protocol.ErrorForbidden},
		{"subscribe", `"channel":"quiet:a","presence":true`, "presence", protocol.ErrorForbidden},
		{"presence", `"channel":"chat:a"`, "channel", protocol.ErrorNotSupported},
	} {
		c.send(`{"id":%d,"%s":{%s}}`, i+10, tc.command, tc.fields)
		c.wantError(uint64(i+10), tc.code, tc.field)
	}
}

// TestPresencePush: what the hub tells of members is told to the client.
func TestPresencePush(t *testing.T) {
	n := start(t, nil, open())
	c := n.dial(t, "", nil)
	c.send(`{"id":1,"subscribe":{"channel":"chat:a","presence":true}}`)
	if got := c.raw(); !strings.Contains(got, `"subscribed"`) {
		t.Fatal(got)
	}
	channel, _ := fanout.ParseChannel("chat:a")
	ann := &fanout.Member{Identity: fanout.Identity{Client: 10, User: "ann", Info: []byte(`{"name":"Ann"}`)}, Since: 5}
	bob := &fanout.Member{Identity: fanout.Identity{Client: 11}, Since: 6}
	for _, tc := range []struct {
		news fanout.PresenceNews
		want string
	}{
		{
			fanout.PresenceNews{Members: []*fanout.Member{ann}, Clients: 1, Users: 1},
			`"members":[{"client":"000000000000000a","user":"ann","info":{"name":"Ann"},"since":5}],"clients":1,"users":1`,
		},
		{
			fanout.PresenceNews{Joined: []*fanout.Member{bob}, Left: []*fanout.Member{ann}, Clients: 1, Partial: true},
			`"joined":[{"client":"000000000000000b","since":6}],"left":[{"client":"000000000000000a","user":"ann","info":{"name":"Ann"},"since":5}],"clients":1,"users":0,"partial":true`,
		},
		{fanout.PresenceNews{Clients: 500, Users: 400}, `"clients":500,"users":400`},
	} {
		tc.news.Channel = channel
		n.hub.Notify(fanout.Notice{Kind: fanout.NoticePresence, Channel: channel, Presence: &tc.news})
		if got, want := c.raw(), fmt.Sprintf(`{"presence":{"channel":"chat:a",%s}}`, tc.want); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// TestIdentity: a session is who its claims say, over its own connection.
func TestIdentity(t *testing.T) {
	who := session.NewIdentity(7, auth.Claims{Subject: "ann", Info: `{"a":1}`})
	if who.Client != 7 || who.User != "ann" || string(who.Info) != `{"a":1}` {
		t.Errorf("%+v", who)
	}
	if who = session.NewIdentity(7, auth.Claims{}); who.Info != nil {
		t.Errorf("%+v", who)
	}
}
