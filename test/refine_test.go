package test_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/cmd"
	"github.com/rivulet-rt/rivulet/protocol"
)

// What subscriptions leave out, and polls: over the wire.

// prices stores messages "<key>=<value>" with their keys.
func (s *site) prices(channel string, list ...string) []string {
	s.t.Helper()
	var batch []map[string]any
	for _, text := range list {
		m := map[string]any{"channel": channel, "data": text}
		if key, _, found := strings.Cut(text, "="); found {
			m["conflation_key"] = key
		}
		batch = append(batch, m)
	}
	return s.batch(batch)
}

// reads reads on to a message whose data is a text.
func (f *follower) reads(text string) {
	f.t.Helper()
	f.until(func(ev protocol.Event) bool {
		return ev.Message != nil && string(ev.Message.Data) == fmt.Sprintf("%q", text)
	})
}

func quoted(list ...string) (out []string) {
	for _, s := range list {
		out = append(out, fmt.Sprintf("%q", s))
	}
	return out
}

func TestConflatedSubscription(t *testing.T) {
	t.Parallel()
	n := startLocal(t, localConfig(t))
	at := n.prices("t:a", "x=1", "note", "y=1", "x=2", "z=1")
	for _, channel := range []string{"t:a", "t:>"} {
		k := n.socket()
		k.send(protocol.Command{Subscribe: &protocol.SubscribeCommand{Channel: channel, Conflate: protocol.ConflateKey}})
		want := strings.Join(append(append([]string{"subscribed"}, quoted("note", "y=1", "x=2", "z=1")...), "caught_up"), " ")
		if got := kinds(k.collect("caught_up")); got != want {
			t.Errorf("of %s came %s, want %s", channel, got, want)
		}
		k.close()
	}
	k := n.socket()
	k.send(protocol.Command{Subscribe: &protocol.SubscribeCommand{Channel: "t:a", Conflate: protocol.ConflateLast, Position: at[0]}})
	if got, want := kinds(k.collect("caught_up")), `subscribed "z=1" caught_up`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	n.prices("t:a", "x=3", "x=4")
	if got, want := kinds(k.collect(`"x=4"`)), `"x=3" "x=4"`; got != want {
		t.Errorf("who keeps up got %s, want %s", got, want)
	}
	s := n.events("channel=t:a&conflate=key", "")
	s.reads("x=4")
	if got := s.seen.String(); strings.Contains(got, "x=3") || !strings.Contains(got, "note") {
		t.Errorf("over SSE came %s", got)
	}
}

// TestConflationOfTheNamespace holds for who does not ask for another.
func TestConflationOfTheNamespace(t *testing.T) {
	t.Parallel()
	n := startLocal(t, localConfig(t, func(ns *cmd.NamespaceConfig) { ns.Conflate = "last" }))
	n.prices("t:a", "x=1", "y=1")
	for conflate, want := range map[string]string{"": `subscribed "y=1" caught_up`, "key": `subscribed "x=1" "y=1" caught_up`} {
		k := n.socket()
		k.send(protocol.Command{Subscribe: &protocol.SubscribeCommand{Channel: "t:a", Conflate: conflate}})
		if got := kinds(k.collect("caught_up")); got != want {
			t.Errorf("with %q came %s, want %s", conflate, got, want)
		}
	}
}

func TestFilteredSubscription(t *testing.T) {
	t.Parallel()
	n := startLocal(t, localConfig(t))
	put := func(data, kind string) {
		n.batch([]map[string]any{{"channel": "t:a", "data": data, "headers": map[string]string{"kind": kind}}})
	}
	put("1", "alert")
	put("2", "chat")
	k := n.socket()
	k.send(protocol.Command{Subscribe: &protocol.SubscribeCommand{Channel: "t:a", Since: 1, Filter: "headers.kind == 'alert'"}})
	if got, want := kinds(k.collect("caught_up")), `subscribed "1" caught_up`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	s := n.events("channel=t:a&last=10&filter="+url.QueryEscape("headers.kind != 'alert'"), "")
	put("3", "chat")
	put("4", "alert")
	n.publish("t:a", "5") // without the header
	put("6", "alert")
	if got, want := kinds(k.collect(`"6"`)), `"4" "6"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	s.reads("3")
	if got := s.seen.String(); !strings.Contains(got, "2") || strings.Contains(got, "1") {
		t.Errorf("over SSE came %s", got)
	}
}

func TestBadRefinements(t *testing.T) {
	t.Parallel()
	n := startLocal(t, localConfig(t))
	k := n.socket()
	for _, tc := range []struct {
		cmd     protocol.SubscribeCommand
		query   string // "" where a query says it as the command does
		field   string
		message string
	}{
		{protocol.SubscribeCommand{Filter: "headers.kind ="}, "", "filter", "at character"},
		{protocol.SubscribeCommand{Filter: "headers.kind"}, "", "filter", "is of type string"},
		{protocol.SubscribeCommand{Filter: "data == 1"}, "", "filter", "undeclared reference to 'data'"},
		{protocol.SubscribeCommand{Filter: strings.Repeat("x", 1025)}, "", "filter", "1024"},
		{protocol.SubscribeCommand{Filter: "headers.all(a, headers.all(b, headers.all(c, a == b || b == c)))"}, "", "filter", "too costly"},
		{protocol.SubscribeCommand{Conflate: "first"}, "", "conflate", "must be key or last"},
		{protocol.SubscribeCommand{Conflate: "key", MaxRate: 1001}, "", "max_rate", "1 to 1000"},
		{protocol.SubscribeCommand{Conflate: "key", MaxRate: -1}, "", "max_rate", "1 to 1000"},
		{protocol.SubscribeCommand{MaxRate: 5}, "", "max_rate", "needs conflate"},
		{protocol.SubscribeCommand{}, "max_rate=0&conflate=key", "max_rate", "is 0"},
		{protocol.SubscribeCommand{}, "max_rate=x&conflate=key", "max_rate", "whole number"},
		{protocol.SubscribeCommand{}, "conflate=", "conflate", "is empty"},
		{protocol.SubscribeCommand{}, "filter=", "filter", "is empty"},
		{protocol.SubscribeCommand{}, "filter=true&filter=true", "filter", "more than once"},
	} {
		if tc.query == "" {
			tc.cmd.Channel = "t:a"
			k.send(protocol.Command{Subscribe: &tc.cmd})
			ev := k.reply()
			if ev.Error == nil || ev.Error.Code != protocol.ErrorBadRequest || ev.Error.Field != tc.field || !strings.Contains(ev.Error.Message, tc.message) {
				t.Errorf("%+v: got %s, want %s: %s", tc.cmd, shown(ev), tc.field, tc.message)
			}
			q := url.Values{}
			for name, v := range map[string]string{"filter": tc.cmd.Filter, "conflate": tc.cmd.Conflate} {
				if v != "" {
					q.Set(name, v)
				}
			}
			if tc.cmd.MaxRate != 0 {
				q.Set("max_rate", fmt.Sprint(tc.cmd.MaxRate))
			}
			tc.query = q.Encode()
		}
		for _, path := range []string{"/v1/events", "/v1/poll"} {
			a := n.call(http.MethodGet, path+"?channel=t:a&"+tc.query, nil, nil)
			if a.status != http.StatusBadRequest || a.field() != tc.field || !strings.Contains(a.Message, tc.message) {
				t.Errorf("%s?%s: got %d %s of %q, want %s: %s", path, tc.query, a.status, a.Message, a.field(), tc.field, tc.message)
			}
		}
	}
}
