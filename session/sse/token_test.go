package sse_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/internal/hubtest"
	"github.com/rivulet-rt/rivulet/session/sse"
)

func parse(tb testing.TB, channels []string, token string) ([]fanout.SubscribeRequest, error) {
	tb.Helper()
	r := httptest.NewRequestWithContext(tb.Context(), http.MethodGet, "/v1/events?"+url.Values{"channel": channels}.Encode(), nil)
	if token != "" {
		r.Header.Set("Last-Event-ID", token)
	}
	return sse.ParseRequestForTest(r)
}

func at(stream string, offset uint64) fanout.Position {
	return fanout.Position{Stream: fanout.StreamTag([]byte(stream)), Offset: offset, Time: int64(offset)}
}

func TestTokenRoundTrip(t *testing.T) {
	var many []string
	for i := range 32 {
		many = append(many, fmt.Sprintf("chat:%d", i))
	}
	var streams []fanout.Position
	for i := range 120 {
		streams = append(streams, at(fmt.Sprintf("st%03dabc", i), 3_656_158_440_062_975))
	}
	for _, tc := range []struct {
		name     string
		channels []string
		at       func(i int) []fanout.Position
	}{
		{"one channel", []string{"chat:a"}, func(int) []fanout.Position { return []fanout.Position{at("streamAA", 7)} }},
		{"two on one stream", []string{"chat:a", "chat:b"}, func(i int) []fanout.Position { return []fanout.Position{at("streamAA", uint64(7+i))} }},
		{"32 channels", many, func(i int) []fanout.Position {
			return []fanout.Position{at("streamAA", 3_656_158_440_062_975-uint64(i))}
		}},
		{"pattern of 120 streams", []string{"chat:>"}, func(int) []fanout.Position { return streams }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			subs, err := parse(t, tc.channels, "")
			if err != nil {
				t.Fatal(err)
			}
			for i := range subs {
				subs[i].Start.Positions = tc.at(i)
			}
			token := sse.TokenForTest(subs)
			if len(token) > 4096 {
				t.Fatalf("the token has %d bytes", len(token))
			}
			back, err := parse(t, tc.channels, token)
			if err != nil {
				t.Fatal(err)
			}
			for i := range back {
				if !slices.Equal(back[i].Start.Positions, tc.at(i)) {
					t.Errorf("%s resumes at %v, want %v", back[i].Channel, back[i].Start.Positions, tc.at(i))
				}
			}
		})
	}
}

// TestTokenPlainPositions: a plain position does not say whose it is.
func TestTokenPlainPositions(t *testing.T) {
	for _, tc := range []struct {
		name     string
		channels []string
		token    string
		refused  bool
	}{
		{"one channel", []string{"chat:a"}, at("streamAA", 1).String(), false},
		{"one channel twice", []string{"x", "default:x"}, at("streamAA", 1).String(), false},
		{"two channels", []string{"chat:a", "chat:b"}, at("streamAA", 1).String(), true},
		{"two channels, one named", []string{"chat:a", "chat:b"}, "abcdef." + at("streamAA", 1).String() + "," + at("otherBBB", 2).String(), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			subs, err := parse(t, tc.channels, tc.token)
			if tc.refused {
				if err == nil || session.ErrorEvent(err).Code != 4400 || !strings.Contains(err.Error(), "one channel") {
					t.Errorf("got %v, want 4400", err)
				}
				return
			}
			if err != nil || len(subs) != 1 || !slices.Equal(subs[0].Start.Positions, []fanout.Position{at("streamAA", 1)}) {
				t.Errorf("got %v, %v", subs, err)
			}
		})
	}
}

// TestPositionForEach: a client that has a position of each channel, and no token of
// them all, gives them in the channels' order.
func TestPositionForEach(t *testing.T) {
	a, b := at("streamAA", 1), at("streamAA", 2)
	for _, tc := range []struct {
		name, query string
		want        []fanout.Start // nil: refused
	}{
		{"one each", "channel=chat:a&channel=chat:b&position=" + a.String() + "&position=" + b.String(), []fanout.Start{{Positions: []fanout.Position{a}}, {Positions: []fanout.Position{b}}}},
		{"one is new", "channel=chat:a&channel=chat:b&position=&position=" + b.String(), []fanout.Start{{}, {Positions: []fanout.Position{b}}}},
		{"one begins with the last", "last=5&channel=chat:a&channel=chat:b&position=&position=" + b.String(), []fanout.Start{{Last: 5}, {Positions: []fanout.Position{b}}}},
		{"too few", "channel=chat:a&channel=chat:b&channel=chat:c&position=" + a.String() + "&position=" + b.String(), nil},
		{"too many", "channel=chat:a&position=" + a.String() + "&position=" + b.String(), nil},
		{"a channel twice", "channel=chat:a&channel=chat:a&position=" + a.String() + "&position=" + b.String(), nil},
		{"one is none", "channel=chat:a&channel=chat:b&position=x&position=" + b.String(), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			subs, err := sse.ParseRequestForTest(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/events?"+tc.query, nil))
			if tc.want == nil {
				if ev := session.ErrorEvent(err); err == nil || ev.Code != 4400 || ev.Field != "position" {
					t.Errorf("got %v, want 4400 of position", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range tc.want {
				if got := subs[i].Start; !slices.Equal(got.Positions, want.Positions) || got.Last != want.Last {
					t.Errorf("%s begins at %+v, want %+v", subs[i].Channel, got, want)
				}
			}
		})
	}
}

// TestTokenOverfull: a pattern whose token the node would refuse is not subscribed.
func TestTokenOverfull(t *testing.T) {
	for streams, status := range map[int]int{124: http.StatusOK, 125: http.StatusBadRequest, 256: http.StatusBadRequest} {
		t.Run(fmt.Sprint(streams), func(t *testing.T) {
			n := start(t, false, nil, open())
			n.hub.Streams(streams)
			s := n.get(t, "channel=chat:%3E", nil)
			if s.StatusCode != status {
				t.Fatalf("got %s, want %d", s.Status, status)
			}
			if status != http.StatusOK {
				body, err := io.ReadAll(s.Body)
				if err != nil || !strings.Contains(string(body), "use a WebSocket") {
					t.Errorf("got %s, %v", body, err)
				}
				return
			}
			if ev, ok := s.next(); !ok || ev.retry == "" {
				t.Fatalf("the stream begins with %+v", ev)
			}
			s.want("subscribed", "chat:>")
		})
	}
}

// TestFailedBeforeBegin: a subscription that fails before the stream has begun is
// an answer, not a disconnect.
func TestFailedBeforeBegin(t *testing.T) {
	requests, err := parse(t, []string{"chat:a", "chat:b"}, "")
	if err != nil {
		t.Fatal(err)
	}
	sink, out := sse.SinkForTest(hubtest.New().Start(t, session.DefaultConfig(), open()), requests)
	defer sse.CloseForTest(sink)
	for _, req := range requests {
		if !sink.Notify(fanout.Notice{Kind: fanout.NoticeFailed, Channel: req.Channel, Err: fanout.ErrUnavailable}) {
			t.Error("the notice was refused")
		}
	}
	if !out.Finish(nil, false) {
		t.Error("the stream was disconnected before it began")
	}
}

// TestTokenClaimsNothingRefused: an event that is taken while a message waits for
// room must not carry an id that is past that message.
func TestTokenClaimsNothingRefused(t *testing.T) {
	hub := hubtest.New()
	r := hub.Start(t, session.DefaultConfig(), open())
	requests, err := parse(t, []string{"chat:a", "chat:b"}, "")
	if err != nil {
		t.Fatal(err)
	}
	sink, out := sse.SinkForTest(r, requests)
	data := []byte(`"` + strings.Repeat("x", 1000) + `"`)
	taken := uint64(0)
	for sink.Deliver(&fanout.Message{Channel: requests[0].Channel, Position: at("streamAA", taken+1), Data: data}) {
		taken++
	}
	news := fanout.Notice{Kind: fanout.NoticePosition, Channel: requests[1].Channel, Positions: []fanout.Position{at("streamAA", 5)}}
	if !sink.Notify(news) {
		t.Fatal("the notice was refused below the hard limit")
	}
	client, server := net.Pipe()
	out.Start(server, nil)
	out.Finish([]byte("\n"), false)
	go func() { out.End() }()
	text, err := io.ReadAll(client)
	if err != nil {
		t.Fatal(err)
	}
	id := strings.TrimSpace(string(text[strings.LastIndex(string(text), "id: ")+4:]))
	back, err := parse(t, []string{"chat:a", "chat:b"}, id)
	if err != nil {
		t.Fatal(err)
	}
	if got := back[0].Start.Positions[0].Offset; got != taken {
		t.Errorf("%d messages of chat:a were taken, and the token claims %d", taken, got)
	}
	if got := back[1].Start.Positions[0].Offset; got != 5 {
		t.Errorf("chat:b stands at 5, and the token claims %d", got)
	}
	sse.CloseForTest(sink)
}

// FuzzToken: parsing never panics; an error names its field; what is accepted can
// be written and read again, and means the same.
func FuzzToken(f *testing.F) {
	for _, seed := range []string{
		"", "x", ",", ".", "a.b", "streamAA-7-7", "streamAA-7-7,streamBB-8-8", "streamAA-7-7,streamAA-8-8",
		"abcdef.streamAA-7-7", "abcdef.streamAA-7-7,ghijkl.streamAA-9-9", "abcdef.,", strings.Repeat("abcdef.streamAA-7-7,", 300),
	} {
		f.Add(seed)
	}
	channels := []string{"chat:a", "chat:b"}
	subs, err := parse(f, channels, "")
	if err != nil {
		f.Fatal(err)
	}
	subs[0].Start.Positions, subs[1].Start.Positions = []fanout.Position{at("streamAA", 1)}, []fanout.Position{at("streamAA", 2)}
	f.Add(sse.TokenForTest(subs))
	f.Fuzz(func(t *testing.T, token string) {
		for _, names := range [][]string{{"chat:>"}, channels} {
			subs, err := parse(t, names, token)
			if err != nil {
				if ev := session.ErrorEvent(err); ev.Code != 4400 || ev.Field != "Last-Event-ID" {
					t.Errorf("%q: %+v", token, ev)
				}
				continue
			}
			if len(names) > 1 && slices.ContainsFunc(subs, func(s fanout.SubscribeRequest) bool { return len(s.Start.Positions) != 1 }) {
				continue // plain positions of several streams are not written for channels
			}
			again, err := parse(t, names, sse.TokenForTest(subs))
			if err != nil {
				t.Fatalf("%q was accepted, and written as what is not: %v", token, err)
			}
			for i := range subs {
				if !slices.Equal(again[i].Start.Positions, subs[i].Start.Positions) {
					t.Errorf("%q: %v became %v", token, subs[i].Start.Positions, again[i].Start.Positions)
				}
			}
		}
	})
}
