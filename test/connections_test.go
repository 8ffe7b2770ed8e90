package test_test

import (
	"bufio"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// connections is what the API says of a user's.
type connections struct {
	Message string
	Data    struct {
		Field       string
		Connections []struct {
			Client, Node, Transport string
			Channels                []string
			Subscriptions           int
		}
		More, Partial bool
	}
}

// TestUsersConnections: a user's connections on two nodes, over both transports, are
// listed and ended by any node, with the code that was asked for; other users' stay.
func TestUsersConnections(t *testing.T) {
	g := newGathering(t)
	ctx := bounded(t)
	token := memberToken(t, "ann/a b", "")
	var mine []string
	for i := range 3 {
		m, err := g.small.join(ctx, g.nodes[i%2], "ann/a b", token)
		if err != nil {
			t.Fatal(err)
		}
		mine = append(mine, m.client)
	}
	if _, err := g.small.join(ctx, g.nodes[0], "bob", memberToken(t, "bob", "")); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.nodes[1].url()+"/v1/events?channel=room:small", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	stream, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	lines := bufio.NewScanner(stream.Body)
	for lines.Scan() && !strings.Contains(lines.Text(), "subscribed") { // until the stream has begun
	}

	got := g.caller.presence(t, g.nodes[0].url(), g.token, "room:small", 100)
	if got.Clients != 5 || got.Users != 2 || len(got.members) != 5 {
		t.Errorf("%+v", got)
	}
	path := "/v1/users/" + url.PathEscape("ann/a b") + "/connections"
	var list connections
	if status := g.caller.get(t, g.nodes[0].url()+path, g.token, &list); status != http.StatusOK || len(list.Data.Connections) != 4 || list.Data.Partial || list.Data.More {
		t.Fatalf("%d %+v", status, list)
	}
	var transports, nodes []string
	for _, c := range list.Data.Connections {
		transports, nodes = append(transports, c.Transport), append(nodes, c.Node)
		if c.Transport == "websocket" && !slices.Contains(mine, c.Client) || !slices.Equal(c.Channels, []string{"room:small"}) || c.Subscriptions != 1 {
			t.Errorf("%+v", c)
		}
	}
	slices.Sort(transports)
	slices.Sort(nodes)
	if fmt.Sprint(transports) != "[sse websocket websocket websocket]" || len(slices.Compact(nodes)) != 2 {
		t.Errorf("%v on %v", transports, nodes)
	}

	conn := dialAs(t, g.nodes[0], token)
	_ = conn.SetReadDeadline(time.Now().Add(deadline)) // a read tells
	if _, frame, err := conn.ReadMessage(); err != nil || !strings.Contains(string(frame), `"connected"`) {
		t.Fatalf("%s, %v; want connected", frame, err) // before it is, the node does not count it
	}
	list = connections{}
	if status := g.caller.call(t, http.MethodDelete, g.nodes[1].url()+path+"?code=4006&reason=new+rights", g.token, &list); status != http.StatusOK || len(list.Data.Connections) != 5 {
		t.Errorf("%d %+v", status, list)
	}
	for {
		_, frame, err := conn.ReadMessage()
		if err == nil {
			if strings.Contains(string(frame), `"disconnect"`) && !strings.Contains(string(frame), `"code":4006,"reason":"new rights","reconnect":true`) {
				t.Errorf("%s", frame)
			}
			continue
		}
		if !websocket.IsCloseError(err, 4006) {
			t.Errorf("ended with %v", err)
		}
		break
	}
	told := false
	for lines.Scan() {
		told = told || strings.Contains(lines.Text(), "4006")
	}
	if !told {
		t.Error("the stream ended without a word")
	}
	await(t, deadline, "bob alone is left", func() bool {
		got := g.caller.presence(t, g.nodes[1].url(), g.token, "room:small", 100)
		return got.Clients == 1 && got.Users == 1 && got.members[0].User == "bob"
	})
}

func dialAs(t *testing.T, n *node, token string) *websocket.Conn {
	t.Helper()
	conn, resp, err := websocket.DefaultDialer.DialContext(bounded(t), "ws://"+n.address+"/v1/ws", http.Header{"Authorization": {"Bearer " + token}})
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestChannelsAndOccupancy: what has subscribers is listed, also where there is no
// presence, with the end of its log.
func TestChannelsAndOccupancy(t *testing.T) {
	g := newGathering(t)
	ctx := bounded(t)
	quiet := newAttendance(t, "quiet:a")
	for i, a := range []*attendance{g.small, g.small, g.large, quiet} {
		if _, err := a.join(ctx, g.nodes[i%2], "ann", memberToken(t, "ann", "")); err != nil {
			t.Fatal(err)
		}
	}
	var list struct {
		Data struct {
			Channels []struct {
				Channel string
				Clients int
			}
			Partial bool
		}
	}
	for _, tc := range []struct{ prefix, want string }{
		{"room:", "[{room:large 1} {room:small 2}]"}, {"", "[{quiet:a 1} {room:large 1} {room:small 2}]"}, {"x", "[]"},
	} {
		list.Data.Channels = nil
		if status := g.caller.get(t, g.nodes[1].url()+"/v1/channels?prefix="+tc.prefix, g.token, &list); status != http.StatusOK || fmt.Sprint(list.Data.Channels) != tc.want || list.Data.Partial {
			t.Errorf("%q: %d %+v, want %s", tc.prefix, status, list, tc.want)
		}
	}
	type info struct {
		Data struct {
			Clients int
			Users   *int
			Offset  uint64
		}
	}
	var small, none info
	g.caller.get(t, g.nodes[0].url()+"/v1/channels/room:small", g.token, &small)
	if small.Data.Clients != 2 || small.Data.Users == nil || *small.Data.Users != 1 || small.Data.Offset != 0 {
		t.Errorf("%+v", small)
	}
	g.caller.get(t, g.nodes[0].url()+"/v1/channels/quiet:a", g.token, &none)
	if none.Data.Clients != 1 || none.Data.Users != nil {
		t.Errorf("%+v", none)
	}
	refused := g.caller.presence(t, g.nodes[0].url(), g.token, "quiet:a", 10)
	if refused.status != http.StatusUnprocessableEntity || refused.field != "channel" {
		t.Errorf("%+v", refused)
	}
}
