package session_test

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/internal/hubtest"
	"github.com/rivulet-rt/rivulet/session/limit"
)

// TestLimitsDoNotStandBeforeOneAnother: by its commands, one connection can publish as
// much as its key or user may, and read as much as one may read, in pieces of any size.
func TestLimitsDoNotStandBeforeOneAnother(t *testing.T) {
	c := limit.DefaultConfig()
	history := func(n int) *protocol.Command {
		return &protocol.Command{History: &protocol.HistoryCommand{Channel: "a", Limit: n}}
	}
	for _, tc := range []struct {
		name     string
		cmd      *protocol.Command
		messages int64 // of one command
		other    limit.Rate
	}{
		{"publishes of a key", &protocol.Command{Publish: &protocol.PublishCommand{Channel: "a"}}, 1, c.PublishesPerKey},
		{"publishes of a user", &protocol.Command{Publish: &protocol.PublishCommand{Channel: "a"}}, 1, c.PublishesPerUser},
		{"histories of 100", history(100), 100, c.Reads},
		{"histories of 1000", history(1000), 1000, c.Reads},
	} {
		cost := session.CostOf(tc.cmd)
		if most := c.Commands.PerSecond * limit.CommandCost / cost * tc.messages; most < tc.other.PerSecond {
			t.Errorf("%s: the commands of a connection suffice for %d messages a second, of the %d that it may", tc.name, most, tc.other.PerSecond)
		}
		if most := c.Commands.Burst * limit.CommandCost / cost * tc.messages; most < tc.other.Burst {
			t.Errorf("%s: the commands of a connection suffice for %d messages at once, of the %d that it may", tc.name, most, tc.other.Burst)
		}
	}
}

// publisher begins a session that may publish in jobs: and send 20 commands at once.
func publisher(t *testing.T) (*person, *hubtest.Hub) {
	t.Helper()
	cfg := limit.DefaultConfig()
	cfg.Commands, cfg.PublishesPerUser = limit.Rate{PerSecond: 1, Burst: 20}, limit.Rate{}
	limits, err := limit.New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	hub := hubtest.New()
	r := registry(t, session.DefaultConfig(), session.Services{Publisher: hub, Limits: limits})
	p := &person{Session: new(session.Session), t: t, wire: newWire(false)}
	claims := hubtest.May(t, "ann", map[string][]auth.Action{"jobs:>": {auth.Publish}})
	p.Init(r, lines{}, session.Handshake{Given: true, Claims: claims}, p)
	p.Outbound().Start(p.wire, nil)
	t.Cleanup(func() {
		p.Abort()
		p.End()
	})
	return p, hub
}

func (p *person) publishes(n int, channel string) {
	for i := range n {
		p.do(protocol.Command{Publish: &protocol.PublishCommand{Channel: channel, Data: fmt.Append(nil, i)}})
	}
}

// answers waits until every command was answered and counts the errors by code.
func (p *person) answers() (published int, refused map[protocol.Code]int) {
	p.t.Helper()
	hubtest.Eventually(p.t, "all answers", func() bool {
		published, refused = 0, map[protocol.Code]int{}
		for _, e := range p.events() {
			switch {
			case e.Published != nil:
				published++
			case e.Error != nil:
				refused[e.Error.Code]++
			}
		}
		return uint64(published+refused[protocol.ErrorForbidden]+refused[protocol.ErrorTooManyRequests]+refused[protocol.ErrorInternal]) >= p.ids
	})
	return published, refused
}

// TestPublishesHaveTheirOwnLimits: messages that are stored are hardly commands.
func TestPublishesHaveTheirOwnLimits(t *testing.T) {
	p, _ := publisher(t)
	const count = 900 // where 20 commands may come at once
	p.publishes(count, "jobs:a")
	if published, refused := p.answers(); published != count || len(refused) > 0 {
		t.Errorf("of %d publishes %d were stored, and refused %v", count, published, refused)
	}
}

// TestRefusedPublishesAreCommands: those that store nothing count in full, whether the
// session refuses them or the log does.
func TestRefusedPublishesAreCommands(t *testing.T) {
	for name, channel := range map[string]string{"by the token": "other:a", "by the log": "jobs:full"} {
		t.Run(name, func(t *testing.T) {
			p, hub := publisher(t)
			hub.Refuse("jobs:full", errors.New("full"))
			const count = 30 // where 20 commands may come at once, and one a second
			for range count {
				p.publishes(1, channel)
				p.answers()
			}
			_, refused := p.answers()
			if refused[protocol.ErrorTooManyRequests] == 0 {
				t.Errorf("of %d publishes that stored nothing none was too much: %v", count, refused)
			}
		})
	}
}
