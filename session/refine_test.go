package session_test

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
)

func TestParseConflation(t *testing.T) {
	for _, tc := range []struct {
		cmd   protocol.SubscribeCommand
		want  fanout.Conflation
		field string
	}{
		{protocol.SubscribeCommand{}, fanout.Conflation{}, ""},
		{protocol.SubscribeCommand{Conflate: "key"}, fanout.Conflation{By: fanout.ConflateKey}, ""},
		{protocol.SubscribeCommand{Conflate: "last", MaxRate: 1000}, fanout.Conflation{By: fanout.ConflateLast, MaxRate: 1000}, ""},
		{protocol.SubscribeCommand{Conflate: "Key"}, fanout.Conflation{}, "conflate"},
		{protocol.SubscribeCommand{Conflate: "key", MaxRate: 1001}, fanout.Conflation{}, "max_rate"},
		{protocol.SubscribeCommand{Conflate: "key", MaxRate: -1}, fanout.Conflation{}, "max_rate"},
		{protocol.SubscribeCommand{MaxRate: 1}, fanout.Conflation{}, "max_rate"},
	} {
		got, err := session.ParseConflation(&tc.cmd)
		switch {
		case tc.field == "" && (err != nil || got != tc.want):
			t.Errorf("%+v: got %+v, %v", tc.cmd, got, err)
		case tc.field != "" && (err == nil || session.ErrorEvent(err).Field != tc.field):
			t.Errorf("%+v: got %v, want an error of %s", tc.cmd, err, tc.field)
		}
	}
}

// fullSet is a node's filters when there are as many as may be.
type fullSet struct{}

func (fullSet) Compile(string) (*fanout.Filter, error) { return nil, fanout.ErrTooManyFilters }

func registry(t *testing.T, cfg session.Config, services session.Services) *session.Registry {
	t.Helper()
	r, err := session.NewRegistry(cfg, services, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRefine(t *testing.T) {
	cfg := session.DefaultConfig()
	cfg.Conflate = map[string]fanout.Conflation{"prices": {By: fanout.ConflateKey, MaxRate: 2}}
	r := registry(t, cfg, session.Services{})
	full := registry(t, cfg, session.Services{Filters: fullSet{}})
	prices, err := fanout.ParseChannel("prices:eu")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		cmd  protocol.SubscribeCommand
		want fanout.Conflation
	}{
		"the namespace's": {protocol.SubscribeCommand{}, cfg.Conflate["prices"]},
		"its own":         {protocol.SubscribeCommand{Conflate: "last"}, fanout.Conflation{By: fanout.ConflateLast}},
		"durable":         {protocol.SubscribeCommand{Durable: true}, fanout.Conflation{}},
		"of a group":      {protocol.SubscribeCommand{Group: "g"}, fanout.Conflation{}},
	} {
		req := fanout.SubscribeRequest{Channel: prices}
		if release, err := r.Refine(&req, &tc.cmd); err != nil || req.Conflate != tc.want {
			t.Errorf("%s: got %+v, %v, want %+v", name, req.Conflate, err, tc.want)
		} else {
			release()
		}
	}
	filtered := &protocol.SubscribeCommand{Filter: "true"}
	if _, err := r.Refine(&fanout.SubscribeRequest{Channel: prices}, filtered); err == nil || session.ErrorEvent(err).Code != protocol.ErrorNotSupported {
		t.Errorf("without filters: %v", err)
	}
	_, err = full.Refine(&fanout.SubscribeRequest{Channel: prices}, filtered)
	if ev := session.ErrorEvent(err); !errors.Is(err, fanout.ErrTooManyFilters) || ev.Code != protocol.ErrorTooManyRequests || ev.Field != "filter" || ev.RetryAfterMS == 0 {
		t.Errorf("too many filters: %+v", ev)
	}
}
