package api_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/fanout"
)

func mustChannel(tb testing.TB, s string) fanout.Channel {
	tb.Helper()
	c, err := fanout.ParseChannel(s)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func TestHistoryAnswer(t *testing.T) {
	c := mustChannel(t, "chat:lobby")
	h := newHarness(t, func(h *harness) {
		h.log.page = fanout.HistoryPage{
			Messages: []*fanout.Message{
				{
					Channel: c, Position: positionAt(7), ID: "k", User: "ann", Client: "c1",
					Headers: map[string]string{"b": "2", "a": "é\""}, Data: []byte(`{"x":[1]}`),
				},
				{Channel: c, Position: positionAt(9), Binary: true, Data: []byte{0, 255}},
			},
			Position: positionAt(9), More: true, Reason: "retention",
		}
	})
	res := h.do(t, "GET", lobby, "")
	p7, p9 := positionAt(7).String(), positionAt(9).String()
	want := `{"code":200,"message":"history","data":{"channel":"chat:lobby","messages":[` +
		`{"channel":"chat:lobby","offset":7,"position":"` + p7 + `","time":1732290000123,"id":"k","user":"ann","client":"c1","headers":{"a":"é\"","b":"2"},"data":{"x":[1]}},` +
		`{"channel":"chat:lobby","offset":9,"position":"` + p9 + `","time":1732290000123,"data_base64":"AP8="}],` +
		`"position":"` + p9 + `","more":true,"recovered":false,"reason":"retention"}}` + "\n"
	if string(res.body) != want {
		t.Errorf("got  %s\nwant %s", res.body, want)
	}
}

func TestHistoryOfNothing(t *testing.T) {
	h := newHarness(t, func(h *harness) { h.log.page.Recovered = true })
	res := h.do(t, "GET", lobby, "")
	if res.status != 200 || string(res.body) != `{"code":200,"message":"history","data":{"channel":"chat:lobby","messages":[],"position":"","more":false,"recovered":true}}`+"\n" {
		t.Errorf("%d %s", res.status, res.body)
	}
}

// TestHistoryInAnOutage: nobody who reads is told to send a message again.
func TestHistoryInAnOutage(t *testing.T) {
	for _, err := range []error{fanout.ErrUnavailable, fanout.ErrTooBusy, fanout.ErrDiskFull, fanout.ErrClosed} {
		h := newHarness(t, func(h *harness) { h.log.err = fmt.Errorf("history: %w", err) })
		res := h.do(t, "GET", lobby, "")
		if res.status != 503 || res.header.Get("Retry-After") == "" || strings.Contains(res.message, "stored") || !strings.Contains(res.message, "try again") {
			t.Errorf("%v: %d %s", err, res.status, res.body)
		}
	}
}

func TestHistoryLargePage(t *testing.T) {
	h := newHarness(t, func(h *harness) {
		for i := range 1000 {
			h.log.page.Messages = append(h.log.page.Messages, &fanout.Message{
				Channel: mustChannel(t, "chat:lobby"), Position: positionAt(uint64(i)), Data: fmt.Appendf(nil, `"%01000d"`, i),
			})
		}
	})
	res := h.do(t, "GET", lobby+"?limit=1000", "")
	messages, _ := res.data["messages"].([]any)
	if len(res.body) < 1_000_000 || len(messages) != 1000 {
		t.Fatalf("%d bytes, %d messages", len(res.body), len(messages))
	}
	for i, m := range messages {
		if data := m.(map[string]any)["data"]; data != fmt.Sprintf("%01000d", i) {
			t.Fatalf("message %d is %v", i, data)
		}
	}
}

func TestHistoryQuery(t *testing.T) {
	a, b := positionAt(5), positionAt(8)
	for _, tc := range []struct {
		name, query string
		want        fanout.HistoryQuery
	}{
		{"nothing", "", fanout.HistoryQuery{Limit: 100}},
		{"after", "?after=" + a.String(), fanout.HistoryQuery{Limit: 100, After: a}},
		{"between, newest first", "?after=" + a.String() + "&before=" + b.String() + "&order=desc&limit=1", fanout.HistoryQuery{Limit: 1, After: a, Before: b, Desc: true}},
		{"since", "?since=1732290000123&order=asc", fanout.HistoryQuery{Limit: 100, Since: 1_732_290_000_123_000_000}},
		{"since the beginning", "?since=0&after=" + a.String(), fanout.HistoryQuery{Limit: 100, After: a}},
		{"latest since", "?since=9223372036854", fanout.HistoryQuery{Limit: 100, Since: 9_223_372_036_854_000_000}},
		{"most", "?limit=1000", fanout.HistoryQuery{Limit: 1000}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHarness(t, func(h *harness) { h.log.page.Recovered = true })
			tc.want.Channel = mustChannel(t, "chat:lobby")
			if res := h.do(t, "GET", lobby+tc.query, ""); res.status != 200 || h.log.asked != tc.want {
				t.Errorf("%d %s\nasked %+v\nwant  %+v", res.status, res.body, h.log.asked, tc.want)
			}
		})
	}
}

func TestHistoryRefuses(t *testing.T) {
	for _, tc := range []struct{ name, query, field, says string }{
		{"after", "?after=x", "after", "not a position"},
		{"empty after", "?after=", "after", "not a position"},
		{"before", "?before=" + strings.Repeat("x", 33), "before", "over 32 bytes"},
		{"since", "?since=10m", "since", `"10m" must be a Unix time in milliseconds`},
		{"negative since", "?since=-1", "since", "Unix time in milliseconds"},
		{"since beyond nanoseconds", "?since=9223372036855", "since", "Unix time in milliseconds"},
		{"since and after", "?since=1&after=" + positionAt(1).String(), "since", "together with after"},
		{"limit 0", "?limit=0", "limit", `"0" must be a whole number from 1 to 1000`},
		{"limit", "?limit=1001", "limit", "1 to 1000"},
		{"empty limit", "?limit=", "limit", "1 to 1000"},
		{"order", "?order=newest", "order", `"newest" must be asc or desc`},
		{"empty order", "?order=", "order", "asc or desc"},
		{"twice", "?limit=1&limit=2", "limit", "more than once"},
		{"unknown", "?offset=10", "offset", "after, before, since, limit, order"},
		{"token", "?token=x", "token", "Authorization"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHarness(t)
			res := h.do(t, "GET", lobby+tc.query, "")
			if res.status != 400 || res.field != tc.field || !strings.Contains(res.message, tc.says) || h.log.asked.Limit != 0 {
				t.Errorf("status %d, field %q, message %q", res.status, res.field, res.message)
			}
		})
	}
}

func TestPurge(t *testing.T) {
	h := newHarness(t)
	res := h.do(t, "DELETE", lobby, "")
	if res.status != 200 || res.data["offset"] != 99.0 || len(h.log.purged) != 1 || h.log.purged[0].String() != "chat:lobby" {
		t.Errorf("%d %s, purged %v", res.status, res.body, h.log.purged)
	}
	if res := h.do(t, "DELETE", lobby+"?before=x", ""); res.status != 400 || len(h.log.purged) != 1 {
		t.Errorf("a purge with a condition: %d %s", res.status, res.body)
	}
}

// TestChannelInPath: one decoding, exactly.
func TestChannelInPath(t *testing.T) {
	for _, tc := range []struct{ path, channel string }{
		{"chat:lobby", "chat:lobby"},
		{"chat%3Alobby", "chat:lobby"},
		{"lobby", "default:lobby"},
		{"default:lobby", "default:lobby"},
		{"chat:a%2Fb", "chat:a/b"},
		{"chat:a%2fb", "chat:a/b"},
		{"chat:a%2Eb", "chat:a.b"},
		{"chat:a%20b", "chat:a b"},
		{"chat:a+b", "chat:a+b"},
		{"chat:a%2Bb", "chat:a+b"},
		{"chat:%25", "chat:%"},
		{"chat:%2525", "chat:%25"},
		{"chat:%252F", "chat:%2F"},
		{"chat:%252F%2F", "chat:%2F/"},
		{"chat:%C5%BElu%C5%A5", "chat:žluť"},
		{"chat:a;b=c", "chat:a;b=c"},
		{"chat:a%3Fb%23c", "chat:a?b#c"},
		{"chat:a:b", "chat:a:b"},
		{"chat:a@b!$&'(),=~", "chat:a@b!$&'(),=~"},
		{"chat:messages", "chat:messages"},
	} {
		t.Run(tc.path, func(t *testing.T) {
			h := newHarness(t)
			res := h.do(t, "POST", "/v1/channels/"+tc.path+"/messages", `{"data":1}`)
			if res.status != 201 || h.log.stored[0].Channel.String() != tc.channel || res.data["channel"] != tc.channel {
				t.Errorf("%d %s", res.status, res.body)
			}
		})
	}
}
