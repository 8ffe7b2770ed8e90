package cmd

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/http"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/broker/webhook"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/fanout/filter"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/websocket"
)

// answerers are who answers what other nodes ask.
func answerers(presence *fanout.Presence, registry *session.Registry) map[string]broker.Answerer {
	return map[string]broker.Answerer{
		fanout.TopicPresence: presence.Answer, fanout.TopicChannels: presence.AnswerChannels,
		fanout.TopicConnections: registry.AnswerConnections,
	}
}

// startPresence keeps who is subscribed, with the other nodes if there are any.
func (n *Node) startPresence(hub *fanout.Hub, control *broker.Control, hooks *webhook.Engine) *fanout.Presence {
	var bus fanout.Bus
	if !control.Alone() {
		bus = control
	}
	who := n.cfg.presenceConfig(n.name)
	who.Observer = n.presenceObserver(hooks)
	return hub.StartPresence(who, bus, n.log, n.reg)
}

// newRegistry is where connections are, with filters of its own.
func (n *Node) newRegistry(s session.Services) (*session.Registry, error) {
	filters, err := filter.NewSet()
	if err != nil {
		return nil, fmt.Errorf("prepare filters: %w", err)
	}
	s.Filters = filters
	registry, err := session.NewRegistry(n.limits(), s, n.log, n.reg)
	if err != nil {
		return nil, fmt.Errorf("prepare sessions: %w", err)
	}
	return registry, nil
}

// echo is what conformance suites talk to, nil where it is off.
func (n *Node) echo(registry *session.Registry) http.Handler {
	if !n.cfg.Server.EchoEndpoint {
		return nil
	}
	return websocket.NewEcho(registry, n.log)
}

// limits are those of the connections, within the descriptors that there are.
func (n *Node) limits() session.Config {
	limits := n.cfg.sessionConfig(n.name)
	files := descriptors()
	if most := connectionsWithin(files); limits.MaxConnections > most {
		level := slog.LevelWarn
		if n.cfg.Dev {
			level = slog.LevelDebug // nobody tries out so many
		}
		n.log.Log(context.Background(), level, "the limit of open files allows fewer connections than session.max_connections; raise it (ulimit -n, or LimitNOFILE= of systemd), or lower that",
			slog.Int("max_connections", most), slog.Int("configured", limits.MaxConnections), slog.Uint64("open_files", files))
		limits.MaxConnections = most
	}
	return limits
}

// connectionsWithin is how many connections leave descriptors enough for all else:
// the log, which breaks if it has none, HTTP requests, and handshakes, which need two.
func connectionsWithin(descriptors uint64) int {
	const leastForAllElse, part = 256, 10 // a tenth, or so many
	if descriptors == 0 || descriptors > math.MaxInt32 {
		return math.MaxInt32
	}
	n := int(descriptors)
	return max(1, n-max(leastForAllElse, n/part))
}
