package api_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
)

// fakePeople knows some members, channels and connections.
type fakePeople struct {
	page    fanout.PresencePage
	asked   fanout.PresenceQuery
	list    []fanout.Occupancy
	last    fanout.Position
	found   session.Connections
	user    string
	ended   *protocol.DisconnectEvent
	nothing bool // no namespace has presence
	err     error
}

func (p *fakePeople) Has(fanout.Channel) bool { return !p.nothing }

func (p *fakePeople) Page(_ context.Context, q fanout.PresenceQuery) (fanout.PresencePage, error) {
	p.asked = q
	if p.nothing {
		return fanout.PresencePage{}, fanout.ErrNoPresence
	}
	return p.page, p.err
}

func (p *fakePeople) Channels(_ context.Context, q fanout.ChannelsQuery) (page fanout.ChannelsPage, err error) {
	for _, o := range p.list {
		if o.Channel <= q.After || !strings.HasPrefix(o.Channel, q.Prefix) {
			continue
		}
		if len(page.Channels) == q.Limit {
			page.More = true
			break
		}
		page.Channels = append(page.Channels, o)
	}
	return page, p.err
}

func (p *fakePeople) Clients(context.Context, fanout.Channel) (int, bool, error) {
	return 7, true, p.err
}

func (p *fakePeople) Last(context.Context, fanout.Channel) (fanout.Position, error) {
	return p.last, p.err
}

func (p *fakePeople) Connections(_ context.Context, user string) session.Connections {
	p.user = user
	return p.found
}

func (p *fakePeople) DisconnectUser(_ context.Context, user string, ev protocol.DisconnectEvent) session.Connections {
	p.user, p.ended = user, &ev
	return p.found
}

const presencePath = "/v1/channels/chat:lobby/presence"

func TestPresence(t *testing.T) {
	h := newHarness(t)
	h.people.page = fanout.PresencePage{
		Members: []*fanout.Member{
			{Identity: fanout.Identity{Client: 1, User: "ann", Info: []byte(`{"n":"<Ann>"}`)}, Since: 5},
			{Identity: fanout.Identity{Client: 0xffff_ffff_ffff_ffff}, Since: 6},
		},
		Clients: 9, Users: 4, Next: "ffffffffffffffff", Partial: true,
	}
	res := h.do(t, "GET", presencePath+"?limit=2&after=0000000000000000", "")
	if res.status != 200 || h.people.asked.Limit != 2 || h.people.asked.After != "0000000000000000" || h.people.asked.Channel.String() != "chat:lobby" {
		t.Errorf("%d %s; asked %+v", res.status, res.body, h.people.asked)
	}
	members, _ := res.data["members"].([]any)
	if len(members) != 2 || !strings.Contains(string(res.body), "<Ann>") || fmt.Sprint(members[0]) != "map[client:0000000000000001 info:map[n:<Ann>] since:5 user:ann]" ||
		fmt.Sprintf("%v %v %v %v", res.data["clients"], res.data["users"], res.data["next"], res.data["partial"]) != "9 4 ffffffffffffffff true" {
		t.Errorf("%s", res.body)
	}
	h.people.page.Members = nil
	if res = h.do(t, "GET", presencePath, ""); !strings.Contains(string(res.body), `"members":[]`) || h.people.asked.Limit != 100 {
		t.Errorf("%s; asked %+v", res.body, h.people.asked)
	}
	if res = h.do(t, "GET", presencePath+"?counts=true", ""); strings.Contains(string(res.body), "members") || h.people.asked.Limit != 0 {
		t.Errorf("%s; asked %+v", res.body, h.people.asked)
	}
	h.people.nothing = true
	if res = h.do(t, "GET", presencePath, ""); res.status != 422 || res.field != "channel" || !strings.Contains(res.message, "namespaces.<name>.presence") {
		t.Errorf("%d %s", res.status, res.body)
	}
}

func TestPresenceRefuses(t *testing.T) {
	h := newHarness(t, func(h *harness) {
		h.auth = claims(t, map[string][]auth.Action{"chat:>": {auth.Presence}, "quiet:>": auth.Actions()})
	})
	for _, tc := range []struct {
		method, target, field string
		status                int
	}{
		{"GET", presencePath + "?limit=0", "limit", 400},
		{"GET", presencePath + "?limit=1001", "limit", 400},
		{"GET", presencePath + "?limit=x", "limit", 400},
		{"GET", presencePath + "?after=", "after", 400},
		{"GET", presencePath + "?counts=1", "counts", 400},
		{"GET", presencePath + "?counts=true&limit=3", "counts", 400},
		{"GET", presencePath + "?counts=true&after=0000000000000000", "counts", 400},
		{"GET", presencePath + "?offset=3", "offset", 400},
		{"GET", "/v1/channels/chat:%3E/presence", "channel", 400},
		{"GET", "/v1/channels/other:a/presence", "channel", 403},
		{"GET", "/v1/channels/other:a", "channel", 403},
		{"GET", "/v1/channels/chat:a?x=1", "x", 400},
		{"GET", "/v1/channels?limit=0", "limit", 400},
		{"GET", "/v1/channels?limit=1001", "limit", 400},
		{"GET", "/v1/channels?prefix=" + strings.Repeat("a", 234), "prefix", 400},
		{"GET", "/v1/channels?prefix=%ff", "prefix", 400},
		{"GET", "/v1/channels?after=" + strings.Repeat("a", 234), "after", 400},
		{"GET", "/v1/users/ann/connections", "", 403},
		{"DELETE", "/v1/users/ann/connections", "", 403},
	} {
		if res := h.do(t, tc.method, tc.target, ""); res.status != tc.status || res.field != tc.field || res.message == "" {
			t.Errorf("%s %s: %d %s, want %d on %q", tc.method, tc.target, res.status, res.body, tc.status, tc.field)
		}
	}
}

// claims lets everybody in with the same capabilities.
type fixedClaims struct{ auth.Claims }

func (c fixedClaims) Authenticate(context.Context, string) (auth.Claims, error) { return c.Claims, nil }

func claims(t *testing.T, by map[string][]auth.Action) fixedClaims {
	t.Helper()
	caps, err := auth.NewCapabilities(by)
	if err != nil {
		t.Fatal(err)
	}
	return fixedClaims{auth.Claims{Capabilities: caps}}
}

func TestChannelInfo(t *testing.T) {
	h := newHarness(t)
	h.people.page = fanout.PresencePage{Clients: 3, Users: 2}
	if res := h.do(t, "GET", "/v1/channels/chat:lobby", ""); res.status != 200 || fmt.Sprint(res.data) != "map[channel:chat:lobby clients:3 offset:0 partial:false users:2]" {
		t.Errorf("%d %s", res.status, res.body)
	}
	h.people.nothing, h.people.last = true, positionAt(44)
	res := h.do(t, "GET", "/v1/channels/chat:lobby", "")
	if _, there := res.data["users"]; there || fmt.Sprintf("%v %v %v %v", res.data["clients"], res.data["offset"], res.data["position"], res.data["partial"]) != "7 44 "+positionAt(44).String()+" true" {
		t.Errorf("%d %s", res.status, res.body)
	}
}

// TestChannels: pages follow each other without a hole, whichever channels the caller may
// see.
func TestChannels(t *testing.T) {
	h := newHarness(t, func(h *harness) { h.auth = claims(t, map[string][]auth.Action{"chat:even.>": {auth.Presence}}) })
	for i := range 100 {
		h.people.list = append(h.people.list, fanout.Occupancy{Channel: fmt.Sprintf("chat:%s.%02d", []string{"even", "odd"}[i/50], i), Clients: i + 1})
	}
	var got []string
	pages := 0
	for after := ""; ; {
		res := h.do(t, "GET", "/v1/channels?limit=7&prefix=chat:&after="+after, "")
		if res.status != 200 {
			t.Fatalf("%d %s", res.status, res.body)
		}
		for _, c := range res.data["channels"].([]any) {
			got = append(got, c.(map[string]any)["channel"].(string))
		}
		pages++
		if after, _ = res.data["next"].(string); after == "" {
			break
		}
	}
	if len(got) != 50 || got[0] != "chat:even.00" || got[49] != "chat:even.49" || pages > 9 {
		t.Errorf("%d channels on %d pages: %v", len(got), pages, got)
	}
	res := h.do(t, "GET", "/v1/channels?prefix=none:", "")
	if res.status != 200 || !strings.Contains(string(res.body), `"channels":[]`) {
		t.Errorf("%d %s", res.status, res.body)
	}
}

func TestUserConnections(t *testing.T) {
	h := newHarness(t)
	if res := h.do(t, "GET", "/v1/users/ann/connections", ""); res.status != 200 || !strings.Contains(string(res.body), `"connections":[]`) {
		t.Errorf("%d %s", res.status, res.body)
	}
	h.people.found = session.Connections{List: []session.Connection{{
		Client: "000000000000000a", Node: "n-1", Transport: session.WebSocket, Since: 5, Channels: []string{"chat:a"}, Subscriptions: 1,
	}}, Partial: true}
	res := h.do(t, "GET", "/v1/users/a%2Fb%20c/connections", "")
	if res.status != 200 || h.people.user != "a/b c" || res.data["user"] != "a/b c" || res.data["partial"] != true {
		t.Errorf("%d %s of %q", res.status, res.body, h.people.user)
	}
	for _, tc := range []struct {
		query  string
		status int
		want   protocol.DisconnectEvent
	}{
		{"", 200, protocol.DisconnectEvent{Code: 4202, Reason: "disconnected by an administrator"}},
		{"?code=4006&reason=new%20rights", 200, protocol.DisconnectEvent{Code: 4006, Reason: "new rights", Reconnect: true}},
		{"?code=4003", 200, protocol.DisconnectEvent{Code: 4003, Reason: "disconnected by an administrator, come back", Reconnect: true}},
		{"?code=4000", 400, protocol.DisconnectEvent{}},
		{"?code=x", 400, protocol.DisconnectEvent{}},
		{"?reason=" + strings.Repeat("a", 124), 400, protocol.DisconnectEvent{}},
		{"?reason=%0a", 400, protocol.DisconnectEvent{}},
		{"?why=1", 400, protocol.DisconnectEvent{}},
	} {
		h.people.ended = nil
		res := h.do(t, "DELETE", "/v1/users/ann/connections"+tc.query, "")
		if res.status != tc.status || (tc.status == 200) != (h.people.ended != nil) || h.people.ended != nil && *h.people.ended != tc.want {
			t.Errorf("%q: %d %s, ended with %+v", tc.query, res.status, res.body, h.people.ended)
		}
	}
}
