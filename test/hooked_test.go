package test_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/cmd"
	"github.com/rivulet-rt/rivulet/protocol"
)

// judge is a hook that says no to what has "no" in its channel or its data, gives no answer
// where that has "away", and holds the answer back where the channel has "held". It keeps
// what it was asked.
type judge struct {
	mu    sync.Mutex // guards the following
	asked []askedHook

	arrived chan struct{} // one for each answer that is held back
	release chan struct{} // closed to let them go
}

func newJudge() *judge {
	return &judge{arrived: make(chan struct{}, 100), release: make(chan struct{})}
}

func (j *judge) answer(q askedHook) string {
	j.mu.Lock()
	j.asked = append(j.asked, q)
	j.mu.Unlock()
	if q.Type == "subscribe" {
		if strings.Contains(q.Channel, "held") {
			j.arrived <- struct{}{}
			<-j.release
		}
		return verdictOn(q.Channel)
	}
	var results []string
	for _, m := range q.Messages {
		v := verdictOn(m.Channel + string(m.Data))
		if v == noAnswer {
			return noAnswer
		}
		results = append(results, v)
	}
	return `{"results":[` + strings.Join(results, ",") + `]}`
}

func verdictOn(text string) string {
	switch {
	case strings.Contains(text, "no"):
		return `{"allow":false,"message":"not you"}`
	case strings.Contains(text, "away"):
		return noAnswer
	}
	return `{"allow":true}`
}

// noAnswer is what the node cannot read.
const noAnswer = "{}"

// take returns what was asked since the last call.
func (j *judge) take() []askedHook {
	j.mu.Lock()
	defer j.mu.Unlock()
	list := j.asked
	j.asked = nil
	return list
}

// startJudged runs a node that wants tokens, with a namespace "slow" that asks j and "t",
// which asks nobody.
func startJudged(t *testing.T, j *judge) *local {
	t.Helper()
	cfg := localConfig(t)
	cfg.Dev = false
	cfg.Auth.HMAC.Secret = auth.NewSecret(memberSecret)
	h := cmd.HookConfig{
		URL: answerHooks(t, j.answer), Secret: auth.NewSecret("0123456789abcdef"), Timeout: cmd.Duration(2 * time.Second), Retries: -1,
		Breaker: cmd.BreakerConfig{MinRequests: 1000},
	}
	slow := cfg.Namespaces["t"]
	slow.Hooks = cmd.NamespaceHooks{Subscribe: h, Publish: h}
	cfg.Namespaces["slow"] = slow
	n := startLocal(t, cfg)
	n.token = memberToken(t, "ann", "")
	return n
}

// as is the node as another caller sees it.
func (l *local) as(token string) *site {
	other := *l.site
	other.token = token
	return &other
}

// mintClaims signs a token; claims without an end get an hour.
func mintClaims(t *testing.T, c auth.Claims, by map[string][]auth.Action) string {
	t.Helper()
	cfg := auth.DefaultConfig().HMAC
	cfg.Secret = auth.NewSecret(memberSecret)
	var err error
	if c.Capabilities, err = auth.NewCapabilities(by); err != nil {
		t.Fatal(err)
	}
	if c.ExpiresAt.IsZero() {
		c.ExpiresAt = time.Now().Add(time.Hour)
	}
	token, err := auth.Mint(cfg, c)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// refusal is why a subscription does not begin: its code, 0 for none, and its text.
type refusal struct {
	code int
	text string
}

// overSocket subscribes over WebSocket, as a member of a group unless that is "".
func overSocket(s *site, channel, group string) refusal {
	k := s.socket()
	defer k.close()
	k.send(protocol.Command{Subscribe: &protocol.SubscribeCommand{Channel: channel, Group: group}})
	ev := k.reply()
	if ev.Error != nil {
		return refusal{int(ev.Error.Code), ev.Error.Message}
	}
	if ev.Subscribed == nil {
		s.t.Fatalf("got %s", shown(ev))
	}
	return refusal{}
}

// overHTTP asks for an event stream or a poll, whose answer is a status.
func overHTTP(s *site, path string, channels ...string) refusal {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), deadline)
	defer cancel()
	path, query, _ := strings.Cut(path, "?")
	query += "&" + url.Values{"channel": channels}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path+"?"+strings.TrimPrefix(query, "&"), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header = s.authorization()
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return refusal{}
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") == "" {
		s.t.Errorf("%s: 503 without Retry-After", path)
	}
	return refusal{4000 + resp.StatusCode, string(text)}
}

// TestSubscribeHookOfEveryWay: whichever way a client subscribes, the hook is asked first,
// once, and what it says holds.
func TestSubscribeHookOfEveryWay(t *testing.T) {
	t.Parallel()
	j := newJudge()
	n := startJudged(t, j)
	for name, way := range map[string]struct {
		subscribe func(channel string) refusal
		client    bool // the question names the connection
		pattern   bool
	}{
		"WebSocket":         {subscribe: func(c string) refusal { return overSocket(n.site, c, "") }, client: true},
		"WebSocket pattern": {subscribe: func(c string) refusal { return overSocket(n.site, c+".*", "") }, client: true, pattern: true},
		"group":             {subscribe: func(c string) refusal { return overSocket(n.site, c, "g") }, client: true},
		"events":            {subscribe: func(c string) refusal { return overHTTP(n.site, "/v1/events", c) }},
		"events, two":       {subscribe: func(c string) refusal { return overHTTP(n.site, "/v1/events", "t:a", c) }},
		"events pattern":    {subscribe: func(c string) refusal { return overHTTP(n.site, "/v1/events", c+".>") }, pattern: true},
		"poll":              {subscribe: func(c string) refusal { return overHTTP(n.site, "/v1/poll?timeout=0", c) }},
		"poll, two":         {subscribe: func(c string) refusal { return overHTTP(n.site, "/v1/poll?timeout=0", "t:a", c) }},
		"poll pattern":      {subscribe: func(c string) refusal { return overHTTP(n.site, "/v1/poll?timeout=0", c+".*") }, pattern: true},
	} {
		for channel, want := range map[string]refusal{
			"slow:yes": {}, "slow:no": {4403, "not you"}, "slow:away": {4503, "hook"},
		} {
			got := way.subscribe(channel)
			if got.code != want.code || !strings.Contains(got.text, want.text) {
				t.Errorf("%s, %s: got %+v, want %+v", name, channel, got, want)
			}
			asked := j.take()
			if len(asked) != 1 {
				t.Errorf("%s, %s: asked %d times", name, channel, len(asked))
				continue
			}
			q := asked[0]
			if q.Type != "subscribe" || q.User != "ann" || q.Pattern != way.pattern || (q.Client != "") != way.client ||
				!strings.HasPrefix(q.Channel, channel) {
				t.Errorf("%s, %s: asked %+v", name, channel, q)
			}
		}
	}
	// Nothing goes past the hook by a pattern of namespaces, nor by a caller without rights.
	for _, pattern := range []string{"*:>", "*:yes", "s*:yes"} {
		if got := overSocket(n.site, pattern, ""); got.code != 4400 {
			t.Errorf("subscribe to %s: %+v", pattern, got)
		}
	}
	if got := overSocket(n.as(mintClaims(t, auth.Claims{Subject: "eve"}, nil)), "slow:yes", ""); got.code != 4403 {
		t.Errorf("without the right: %+v", got)
	}
	if asked := j.take(); len(asked) != 0 {
		t.Errorf("asked about what is refused anyway: %+v", asked)
	}
}

// TestPublishHookOfBatches: a batch is one question, of an atomic one a no is a no to all,
// and of a broadcast only the channels are left out that are denied.
func TestPublishHookOfBatches(t *testing.T) {
	t.Parallel()
	j := newJudge()
	n := startJudged(t, j)
	for _, tc := range []struct {
		name, path, body string
		status           int
		codes            string
		asked            string
		stored           map[string]string
	}{
		{
			"batch", "/v1/messages", `{"messages":[{"channel":"slow:a","data":1},{"channel":"t:a","data":"no"},{"channel":"slow:a","data":"no"},{"channel":"slow:b","data":2}]}`,
			403, "[201 201 403 201]", "slow:a=1 slow:a=\"no\" slow:b=2",
			map[string]string{"slow:a": "1", "t:a": `"no"`, "slow:b": "2"},
		},
		{
			"batch, no answer", "/v1/messages", `{"messages":[{"channel":"slow:c","data":"away"},{"channel":"t:c","data":1}]}`,
			504, "[503 201]", "slow:c=\"away\"",
			map[string]string{"slow:c": "", "t:c": "1"},
		},
		{
			"atomic", "/v1/messages", `{"atomic":true,"messages":[{"channel":"slow:d","data":1},{"channel":"slow:d","data":2}]}`,
			201, "[201 201]", "slow:d=1 slow:d=2",
			map[string]string{"slow:d": "1 2"},
		},
		{
			"atomic, denied", "/v1/messages", `{"atomic":true,"messages":[{"channel":"slow:e","data":1},{"channel":"slow:e","data":"no"},{"channel":"slow:e","data":3}]}`,
			403, "[]", "slow:e=1 slow:e=\"no\" slow:e=3",
			map[string]string{"slow:e": ""},
		},
		{
			"atomic, no answer", "/v1/messages", `{"atomic":true,"messages":[{"channel":"slow:f","data":1},{"channel":"slow:f","data":"away"}]}`,
			503, "[]", "slow:f=1 slow:f=\"away\"",
			map[string]string{"slow:f": ""},
		},
		{
			"broadcast", "/v1/broadcast", `{"channels":["slow:g","t:no","slow:no.g"],"data":1}`,
			403, "[201 201 403]", "slow:g=1 slow:no.g=1",
			map[string]string{"slow:g": "1", "t:no": "1", "slow:no.g": ""},
		},
	} {
		a := n.call(http.MethodPost, tc.path, nil, []byte(tc.body))
		var data struct{ Results []struct{ Code int } }
		_ = json.Unmarshal(a.Data, &data) // null where nothing is stored
		codes := make([]int, 0, len(data.Results))
		for _, r := range data.Results {
			codes = append(codes, r.Code)
		}
		if a.status != tc.status || fmt.Sprint(codes) != tc.codes {
			t.Errorf("%s: %d %s %s, want %d %s", tc.name, a.status, a.Message, a.Data, tc.status, tc.codes)
		}
		if tc.status == http.StatusForbidden && tc.codes == "[]" && (!strings.Contains(a.Message, "not you") || !strings.HasPrefix(a.field(), "messages[1]")) {
			t.Errorf("%s: %s %s, want the second message named, and the hook's words", tc.name, a.Message, a.Data)
		}
		var asked []string
		questions := j.take()
		for _, q := range questions {
			for _, m := range q.Messages {
				asked = append(asked, m.Channel+"="+string(m.Data))
			}
		}
		if len(questions) != 1 || strings.Join(asked, " ") != tc.asked {
			t.Errorf("%s: %d questions about %s, want one about %s", tc.name, len(questions), asked, tc.asked)
		}
		for channel, want := range tc.stored {
			if got := n.storedIn(channel); got != want {
				t.Errorf("%s: %s has %s, want %s", tc.name, channel, got, want)
			}
		}
	}
}

// storedIn is the data of all messages of a channel.
func (s *site) storedIn(channel string) string {
	s.t.Helper()
	a := s.call(http.MethodGet, messagesPath(channel), nil, nil)
	var page protocol.HistoryEvent
	if err := json.Unmarshal(a.Data, &page); err != nil || a.status != http.StatusOK {
		s.t.Fatalf("history of %s: %d %s", channel, a.status, a.Message)
	}
	var out []string
	for _, m := range page.Messages {
		out = append(out, string(m.Data))
	}
	return strings.Join(out, " ")
}
