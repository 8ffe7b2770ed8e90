package sse_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/internal/hubtest"
)

func TestStream(t *testing.T) {
	for name, http2 := range versions() {
		t.Run(name, func(t *testing.T) {
			n := start(t, http2, nil, open())
			n.hub.Publish("chat:a", `"old"`)
			s := n.open(t, "channel=chat:a&last=1", nil)
			if want := map[bool]int{false: 1, true: 2}[http2]; s.ProtoMajor != want {
				t.Fatalf("HTTP/%d, want %d", s.ProtoMajor, want)
			}
			s.want("subscribed", "chat:a")
			old := s.wantMessage("chat:a", `"old"`)
			if want := `{"channel":"chat:a","offset":1,"position":"hubtestA-1-gjdgxs","time":1000,"data":"old"}`; old.data != want {
				t.Errorf("got  %s\nwant %s", old.data, want)
			}
			if old.id != "hubtestA-1-gjdgxs" {
				t.Errorf("id %q", old.id)
			}
			n.hub.Publish("chat:a", `{"live":true}`)
			s.wantMessage("chat:a", `{"live":true}`)
			s.cancel()
			hubtest.Eventually(t, "the client is gone", func() bool { return n.registry.Len() == 0 && n.hub.Clients() == 0 })
		})
	}
}

// TestOutlivesTheServersTimeout: http.Server.WriteTimeout is for answers.
func TestOutlivesTheServersTimeout(t *testing.T) {
	for name, http2 := range versions() {
		t.Run(name, func(t *testing.T) {
			n := start(t, http2, nil, open())
			s := n.open(t, "channel=chat:a", nil)
			s.want("subscribed", "chat:a")
			<-time.After(700 * time.Millisecond)
			n.hub.Publish("chat:a", `1`)
			s.wantMessage("chat:a", `1`)
		})
	}
}

func TestNamedEvents(t *testing.T) {
	n := start(t, false, nil, open())
	s := n.open(t, "channel=chat:a", nil)
	s.want("subscribed", "chat:a")
	channel, err := fanout.ParseChannel("chat:a")
	if err != nil {
		t.Fatal(err)
	}
	for i, tc := range []struct {
		kind fanout.NoticeKind
		name string
		want string
	}{
		{fanout.NoticeCaughtUp, "caught_up", `{"channel":"chat:a","position":"hubtestA-1-1"}`},
		{fanout.NoticeGap, "gap", `{"channel":"chat:a","position":"hubtestA-2-1","reason":"retention"}`},
		{fanout.NoticePosition, "position", `{"channel":"chat:a","position":"hubtestA-3-1"}`},
		{fanout.NoticeDeleted, "deleted", `{"channel":"chat:a","offset":2,"position":"hubtestA-4-1"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			at := fanout.Position{Stream: hubtest.Tag(), Offset: uint64(i + 1), Time: 1}
			n.hub.Notify(fanout.Notice{Kind: tc.kind, Channel: channel, Positions: []fanout.Position{at}, Reason: "retention", Target: 2})
			if ev := s.want(tc.name, "chat:a"); ev.data != tc.want || ev.id != at.String() {
				t.Errorf("got %+v", ev)
			}
		})
	}
	n.hub.Notify(fanout.Notice{Kind: fanout.NoticeFailed, Channel: channel, Err: fanout.ErrUnavailable})
	if ev, _ := s.next(); ev.name != "disconnect" || ev.retry == "" || !strings.Contains(ev.data, `"reconnect":true`) {
		t.Errorf("got %+v; a subscription that ends takes the stream with it, and the client comes back", ev)
	}
	if ev, ok := s.next(); ok {
		t.Errorf("%+v after the disconnect", ev)
	}
}

// TestResume leaves after every event and comes back with its id: each message
// comes exactly once, in order, whatever the mix of channels.
func TestResume(t *testing.T) {
	for _, tc := range []struct{ name, query, back string }{
		{"one channel", "channel=chat:a", "Last-Event-ID"},
		{"two channels on one stream", "channel=chat:a&channel=chat:b", "Last-Event-ID"},
		{"pattern", "channel=chat:%3E", "Last-Event-ID"},
		{"two channels, by parameter", "channel=chat:a&channel=chat:b", "position"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := start(t, false, nil, open())
			first := n.open(t, tc.query, nil)
			id := first.want("subscribed", channels(tc.query)[0]).id
			for range channels(tc.query)[1:] {
				ev, _ := first.next()
				id = ev.id
			}
			first.cancel()
			for i := range 10 {
				n.hub.Publish("chat:a", fmt.Sprint(i))
				n.hub.Publish("chat:b", fmt.Sprint(100+i))
			}
			seen := map[string]bool{}
			var last struct{ a, b int }
			last.a, last.b = -1, 99
			for range 60 {
				query, header := tc.query, http.Header{"Last-Event-Id": {id}}
				if tc.back == "position" {
					query, header = query+"&position="+url.QueryEscape(id), nil
				}
				s := n.open(t, query, header)
				var ev event
				for ev, _ = s.next(); ev.name != ""; { // subscribed
					ev, _ = s.next()
				}
				id = ev.id
				s.cancel()
				var m protocol.MessageEvent
				if err := json.Unmarshal([]byte(ev.data), &m); err != nil {
					t.Fatalf("%v in %+v", err, ev)
				}
				if seen[m.Position] {
					t.Fatalf("%s twice", ev.data)
				}
				seen[m.Position] = true
				var value int
				_ = json.Unmarshal(m.Data, &value)
				if at := map[string]*int{"chat:a": &last.a, "chat:b": &last.b}[m.Channel]; value != *at+1 {
					t.Fatalf("%s: got %d after %d", m.Channel, value, *at)
				} else {
					*at = value
				}
				if len(seen) == 10*min(2, max(len(channels(tc.query)), 1+strings.Count(tc.query, "%3E"))) {
					return
				}
			}
			t.Errorf("after 60 connections only %d messages came", len(seen))
		})
	}
}

func channels(query string) []string {
	values, err := url.ParseQuery(query)
	if err != nil {
		panic(err)
	}
	return values["channel"]
}

// TestTokenGoesBeforeTheURL: a browser repeats its URL and adds the header. A
// channel that had not begun yet begins as the URL says.
func TestTokenGoesBeforeTheURL(t *testing.T) {
	n := start(t, false, nil, open())
	for i := range 5 {
		n.hub.Publish("chat:a", fmt.Sprint(i))
	}
	s := n.open(t, "channel=chat:a&last=5", nil)
	s.want("subscribed", "chat:a")
	s.wantMessage("chat:a", "0")
	id := s.wantMessage("chat:a", "1").id
	s = n.open(t, "channel=chat:a&last=5", http.Header{"Last-Event-Id": {id}})
	s.want("subscribed", "chat:a")
	s.wantMessage("chat:a", "2")

	two := n.open(t, "channel=chat:a&channel=chat:b&last=1", nil)
	only := two.want("subscribed", "chat:a").id
	n.hub.Publish("chat:b", `"b"`)
	two = n.open(t, "channel=chat:a&channel=chat:b&last=1", http.Header{"Last-Event-Id": {only}})
	if ev := two.want("subscribed", "chat:a"); !strings.Contains(ev.data, only[strings.Index(only, ".")+1:]) {
		t.Errorf("chat:a resumes at %s, want %s", ev.data, only)
	}
	two.wantMessage("chat:a", "4") // last=1 was delivered after the id that we gave back
	two.want("subscribed", "chat:b")
	id = two.wantMessage("chat:b", `"b"`).id
	if again := n.open(t, "channel=chat:a&channel=chat:b", http.Header{"Last-Event-Id": {id}}).want("subscribed", "chat:a"); again.id != id {
		t.Errorf("resumed with %s, and before chat:b has begun the token is %s", id, again.id)
	}
}

func TestCORS(t *testing.T) {
	for name, http2 := range versions() {
		t.Run(name, func(t *testing.T) {
			n := start(t, http2, func(c *session.Config) { c.Origins = []string{"https://app.example"} }, open())
			from := http.Header{"Origin": {"https://app.example"}}
			s := n.open(t, "channel=chat:a", from)
			refused := n.get(t, "channel=", from)
			for _, r := range []*stream{s, refused} {
				if got := r.Header.Get("Access-Control-Allow-Origin"); got != "https://app.example" || r.Header.Get("Vary") != "Origin" {
					t.Errorf("%s: headers %v", r.Status, r.Header)
				}
			}
		})
	}
}

func TestOnlyGET(t *testing.T) {
	n := start(t, false, nil, open())
	resp, err := n.server.Client().Post(n.server.URL+"/v1/events?channel=a", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "GET" {
		t.Errorf("got %s, %v", resp.Status, resp.Header)
	}
}

func TestHeartbeatAndExpiry(t *testing.T) {
	for name, http2 := range versions() {
		t.Run(name, func(t *testing.T) {
			ann := hubtest.May(t, "ann", map[string][]auth.Action{"chat:>": {auth.Subscribe}})
			ann.ExpiresAt, ann.Channels = time.Now().Add(time.Second), []string{"chat:a"}
			n := start(t, http2, func(c *session.Config) { c.PingInterval = 50 * time.Millisecond },
				hubtest.Tokens{Known: map[string]auth.Claims{"ann": ann}})
			s := n.open(t, "", http.Header{"Authorization": {"Bearer ann"}}) // the token names the channel
			s.want("subscribed", "chat:a")
			for range 3 {
				if ev, ok := s.next(); !ok || ev != (event{name: "comment"}) {
					t.Fatalf("got %+v, want a heartbeat", ev)
				}
			}
			told := 0
			for {
				ev, ok := s.next()
				if !ok {
					t.Fatal("the stream ended without a disconnect")
				}
				if ev.name == "expiring" {
					told++
				}
				if ev.name == "disconnect" {
					if told != 1 {
						t.Errorf("told %d times that the token expires", told)
					}
					if !strings.Contains(ev.data, `"code":4006`) {
						t.Errorf("got %+v", ev)
					}
					break
				}
			}
			if _, ok := s.next(); ok || s.lines.Err() != nil {
				t.Errorf("the stream did not end cleanly: %v", s.lines.Err())
			}
		})
	}
}

func TestDrain(t *testing.T) {
	for name, http2 := range versions() {
		t.Run(name, func(t *testing.T) {
			n := start(t, http2, nil, open())
			s := n.open(t, "channel=chat:a", nil)
			s.want("subscribed", "chat:a")
			if err := n.registry.Drain(t.Context()); err != nil {
				t.Error(err)
			}
			if ev, ok := s.next(); !ok || ev.name != "disconnect" || ev.retry == "" || !strings.Contains(ev.data, `"code":4000`) {
				t.Errorf("got %+v", ev)
			}
			if _, ok := s.next(); ok || s.lines.Err() != nil {
				t.Errorf("the stream did not end cleanly: %v", s.lines.Err())
			}
			if got := n.get(t, "channel=chat:a", nil); got.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("a draining node answers %s", got.Status)
			}
		})
	}
}

// TestSlowReader reads late: everything comes, in order, though the buffer is small.
func TestSlowReader(t *testing.T) {
	for name, http2 := range versions() {
		t.Run(name, func(t *testing.T) {
			n := start(t, http2, func(c *session.Config) { c.SoftBuffer, c.HardBuffer = 8<<10, 64<<10 }, open())
			s := n.open(t, "channel=chat:%3E", nil)
			s.want("subscribed", "chat:>")
			const messages = 3000
			for i := range messages {
				n.hub.Publish("chat:a", fmt.Sprintf(`"%d %s"`, i, strings.Repeat("x", 4000)))
			}
			if n.hub.Refused() == 0 {
				t.Fatal("the client took 12 MB at once; the test shows nothing")
			}
			for i := range messages {
				ev := s.want("", "chat:a")
				if !strings.Contains(ev.data, fmt.Sprintf(`"data":"%d `, i)) {
					t.Fatalf("message %d: got %.100s", i, ev.data)
				}
			}
		})
	}
}

// TestStalledReader: a client that reads nothing is cut.
func TestStalledReader(t *testing.T) {
	for name, http2 := range versions() {
		t.Run(name, func(t *testing.T) {
			n := start(t, http2, func(c *session.Config) {
				c.PingInterval, c.StallTimeout, c.CloseTimeout = 20*time.Millisecond, 300*time.Millisecond, 100*time.Millisecond
			}, open())
			n.open(t, "channel=chat:a", nil).want("subscribed", "chat:a")
			for range 3000 {
				n.hub.Publish("chat:a", `"`+strings.Repeat("x", 4000)+`"`)
			}
			if n.hub.Refused() == 0 {
				t.Fatal("the client took 12 MB at once; the test shows nothing")
			}
			hubtest.Eventually(t, "the client is cut", func() bool { return n.registry.Len() == 0 && n.hub.Clients() == 0 })
		})
	}
}

func TestChurn(t *testing.T) {
	for name, http2 := range versions() {
		t.Run(name, func(t *testing.T) {
			n := start(t, http2, nil, open())
			for i := range 200 {
				s := n.open(t, "channel=chat:a&channel=chat:b", nil)
				if i%2 == 0 {
					s.want("subscribed", "chat:a")
				}
				s.cancel()
				s.Body.Close()
			}
			hubtest.Eventually(t, "all are gone", func() bool { return n.registry.Len() == 0 && n.hub.Clients() == 0 })
		})
	}
}
