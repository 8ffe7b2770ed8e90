package test_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/cmd"
	"github.com/rivulet-rt/rivulet/protocol"
)

type polled struct {
	Messages  []protocol.MessageEvent
	Position  string
	Recovered bool
	Reason    string
	More      bool
	Deleted   []protocol.DeletedEvent
}

func (p polled) data() string {
	var out []string
	for _, m := range p.Messages {
		out = append(out, string(m.Data))
	}
	return strings.Join(out, " ")
}

func (s *site) poll(query, position string) polled {
	s.t.Helper()
	if position != "" {
		query += "&position=" + url.QueryEscape(position)
	}
	a := s.call(http.MethodGet, "/v1/poll?"+query, nil, nil)
	var p polled
	if err := json.Unmarshal(a.Data, &p); err != nil || a.status != http.StatusOK || p.Position == "" || p.Messages == nil {
		s.t.Fatalf("poll %s: %d %s %s", query, a.status, a.Message, a.Data)
	}
	return p
}

func TestPollAnswersAtOnce(t *testing.T) {
	t.Parallel()
	n := startLocal(t, localConfig(t))
	at := n.publishAll("t:a", 1, 5)
	p := n.poll("channel=t:a", at[2])
	if p.data() != "3 4 5" || !p.Recovered || p.More || p.Position != at[5] {
		t.Errorf("got %+v", p)
	}
	if p := n.poll("channel=t:a&last=2", ""); p.data() != "4 5" {
		t.Errorf("last=2: got %s", p.data())
	}
	if p := n.poll("channel=t:a&since=1", ""); p.data() != "1 2 3 4 5" {
		t.Errorf("since=1: got %s", p.data())
	}
	began := time.Now()
	if p := n.poll("channel=t:a&timeout=0", at[5]); len(p.Messages) != 0 || p.Position != at[5] || !p.Recovered {
		t.Errorf("nothing to tell: got %+v", p)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("timeout=0 waited %v", took)
	}
}

func TestPollWaits(t *testing.T) {
	t.Parallel()
	n := startLocal(t, localConfig(t))
	for query, where := range map[string]string{"channel=t:a": "t:a", "channel=t:%3E": "t:b.c", "channel=t:x&channel=t:y": "t:y"} {
		first := n.poll(query+"&timeout=0", "")
		var wg sync.WaitGroup
		wg.Go(func() {
			if p := n.poll(query, first.Position); p.data() != "1" {
				t.Errorf("%s: got %+v", query, p)
			}
		})
		n.publish(where, 1)
		wg.Wait()
		if p := n.poll(query, first.Position); p.data() != "1" { // the same again, as a lost answer would be
			t.Errorf("%s: again got %+v", query, p)
		}
	}
}

// TestPollsMissNothing: a client that only polls gets all, in order, while messages are
// published and answers are bounded.
func TestPollsMissNothing(t *testing.T) {
	t.Parallel()
	n := startLocal(t, localConfig(t))
	const count = 2500
	position := n.poll("channel=t:a&channel=t:b&timeout=0", "").Position
	var wg sync.WaitGroup
	wg.Go(func() {
		n.publishAll("t:a", 1, count)
		n.publishAll("t:b", 1, 10)
	})
	var got transcript
	more := false
	for len(got) < count {
		p := n.poll("channel=t:a&channel=t:b&timeout=5", position)
		position, more = p.Position, more || p.More
		if len(p.Messages) > 1000 || !p.Recovered {
			t.Fatalf("%d messages in one answer, recovered %v", len(p.Messages), p.Recovered)
		}
		for _, m := range p.Messages {
			if m.Channel == "t:a" {
				got.add(string(m.Data))
			}
		}
	}
	wg.Wait()
	if want := n.history("t:a", ""); got.String() != want.String() {
		t.Errorf("polled %.200s", got.String())
	}
	if p := n.poll("channel=t:a&since=1", ""); len(p.Messages) != 1000 || !p.More {
		t.Errorf("of %d messages came %d, more %v", count, len(p.Messages), p.More)
	}
}

func TestPollTellsWhatIsGone(t *testing.T) {
	t.Parallel()
	n := startLocal(t, localConfig(t, func(ns *cmd.NamespaceConfig) { ns.MaxPerChannel = 5 }))
	at := n.publishAll("t:a", 1, 20)
	p := n.poll("channel=t:a", at[2])
	if p.Recovered || p.Reason != protocol.ReasonRetention || !strings.HasSuffix(p.data(), "19 20") {
		t.Errorf("got %+v of %s", p, p.data())
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if p := n.poll("channel=t:a", at[20]); p.Recovered || p.Reason != protocol.ReasonPurged {
			t.Errorf("got %+v", p)
		}
	})
	n.purge("t:a")
	wg.Wait()
}

func TestBadPolls(t *testing.T) {
	t.Parallel()
	cfg := localConfig(t)
	cfg.Session.Origins = []string{"https://app.example"}
	n := startLocal(t, cfg)
	for query, field := range map[string]string{
		"":                              "channel",
		"channel=t:a&timeout=61":        "timeout",
		"channel=t:a&timeout=-1":        "timeout",
		"channel=t:a&timeout=":          "timeout",
		"channel=t:a&timeout=soon":      "timeout",
		"channel=t:a&position=x":        "position",
		"channel=t:a&last=0":            "last",
		"channel=t:%3E&channel=t:a":     "channel",
		"channel=t:a&limit=5":           "limit",
		"channel=t:a&last=1&since=1":    "position",
		"channel=t:a&timeout=1&timeout": "timeout",
	} {
		if a := n.call(http.MethodGet, "/v1/poll?"+query, nil, nil); a.status != http.StatusBadRequest || a.field() != field {
			t.Errorf("%s: got %d %s of %q, want %s", query, a.status, a.Message, a.field(), field)
		}
	}
	if a := n.call(http.MethodPost, "/v1/poll?channel=t:a", nil, nil); a.status != http.StatusMethodNotAllowed {
		t.Errorf("POST: got %d", a.status)
	}
	a := n.call(http.MethodGet, "/v1/poll?channel=t:a&timeout=0", http.Header{"Origin": {"https://app.example"}}, nil)
	if a.header.Get("Access-Control-Allow-Origin") != "https://app.example" {
		t.Errorf("a page that may come is told %v", a.header)
	}
	if a := n.call(http.MethodGet, "/v1/poll?channel=t:a&timeout=0", http.Header{"Origin": {"https://evil.example"}}, nil); a.status != http.StatusForbidden {
		t.Errorf("a page that may not: %d", a.status)
	}
}

// TestPollsAreConnections: they count, and a node that stops answers them.
func TestPollsAreConnections(t *testing.T) {
	t.Parallel()
	cfg := localConfig(t)
	cfg.Session.MaxConnections = 1
	n := startLocal(t, cfg)
	answered := make(chan response, 1)
	var waiting sync.WaitGroup
	defer waiting.Wait()
	waiting.Go(func() { // again while one of those below has the only place
		a := response{status: http.StatusServiceUnavailable}
		for a.status == http.StatusServiceUnavailable {
			a = n.call(http.MethodGet, "/v1/poll?channel=t:a&timeout=20", nil, nil)
		}
		answered <- a
	})
	eventually(t, "the poll to take the only place", func() bool {
		return n.call(http.MethodGet, "/v1/poll?channel=t:a&timeout=0", nil, nil).status == http.StatusServiceUnavailable
	})
	var a response
	eventually(t, "an answer", func() bool { // its subscription may begin a moment after it has its place
		n.publish("t:a", 1)
		select {
		case a = <-answered:
			return true
		default:
			return false
		}
	})
	var p polled
	if err := json.Unmarshal(a.Data, &p); err != nil || a.status != http.StatusOK || !strings.HasPrefix(p.data(), "1") {
		t.Errorf("status %d, %s", a.status, a.Data)
	}
}
