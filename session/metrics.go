package session

import (
	"errors"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// Transport is how a client is connected; a closed set, for metrics.
type Transport string

// The transports.
const (
	WebSocket Transport = "websocket"
	SSE       Transport = "sse"
	Poll      Transport = "poll"
)

// transports lists them all.
func transports() []Transport { return []Transport{WebSocket, SSE, Poll} }

// transportIndex is a Transport in a byte, its place in transports.
type transportIndex uint8

func indexOf(t Transport) transportIndex {
	switch t {
	case SSE:
		return 1
	case Poll:
		return 2
	case WebSocket:
	}
	return 0
}

func (i transportIndex) of() Transport {
	switch i {
	case 1:
		return SSE
	case 2:
		return Poll
	}
	return WebSocket
}

// metrics of the room. Every label value exists from the start.
type metrics struct {
	connections *prometheus.GaugeVec   // by transport
	opened      *prometheus.CounterVec // by transport
	rejected    *prometheus.CounterVec // by reason
	disconnects *prometheus.CounterVec // by code
	commands    *prometheus.CounterVec // by command
	errors      *prometheus.CounterVec // by code
	refused     prometheus.Counter
}

// durableMetrics are those of durable sessions.
type durableMetrics struct {
	sessions prometheus.Gauge
	saves    *prometheus.CounterVec // by result
	yields   *prometheus.CounterVec // by reason
	acks     prometheus.Counter
}

func newDurableMetrics(reg prometheus.Registerer) (*durableMetrics, error) {
	m := &durableMetrics{
		sessions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "rivulet_session_durable_sessions", Help: "Durable sessions that connections of this node have.",
		}),
		saves: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rivulet_session_durable_saves_total", Help: "Writes of durable sessions, by result.",
		}, []string{"result"}),
		yields: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rivulet_session_durable_yields_total", Help: "Connections that were closed because their durable session was taken, reset or deleted.",
		}, []string{"reason"}),
		acks: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rivulet_session_durable_acks_total", Help: "Acknowledgements taken.",
		}),
	}
	for _, result := range []string{"saved", "superseded", "failed"} {
		m.saves.WithLabelValues(result)
	}
	for _, why := range []fanout.YieldReason{fanout.YieldTaken, fanout.YieldReset, fanout.YieldDeleted} {
		m.yields.WithLabelValues(string(why))
	}
	for _, c := range []prometheus.Collector{m.sessions, m.saves, m.yields, m.acks} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// saved counts a write.
func (m *durableMetrics) saved(err error) {
	result := "saved"
	switch {
	case errors.Is(err, fanout.ErrSuperseded):
		result = "superseded"
	case err != nil:
		result = "failed"
	}
	m.saves.WithLabelValues(result).Inc()
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		connections: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "rivulet_session_connections", Help: "Open connections.",
		}, []string{"transport"}),
		opened: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rivulet_session_opened_total", Help: "Connections admitted.",
		}, []string{"transport"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rivulet_session_rejected_total", Help: "Connections not admitted: full, draining, over a limit, of a page that may not, or a handshake in error.",
		}, []string{"reason"}),
		disconnects: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rivulet_session_disconnects_total", Help: "Connections closed by the node, by close code.",
		}, []string{"code"}),
		commands: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rivulet_session_commands_total", Help: "Commands received.",
		}, []string{"command"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rivulet_session_command_errors_total", Help: "Commands and subscriptions refused, by error code.",
		}, []string{"code"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rivulet_session_deliveries_deferred_total", Help: "Deliveries refused because the client does not keep up; they are made later, from the log.",
		}),
	}
	m.zero()
	for _, c := range []prometheus.Collector{m.connections, m.opened, m.rejected, m.disconnects, m.commands, m.errors, m.refused} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) zero() {
	for _, t := range transports() {
		m.connections.WithLabelValues(string(t))
		m.opened.WithLabelValues(string(t))
	}
	for _, r := range []string{"full", "draining", "handshake", "limit", "origin"} {
		m.rejected.WithLabelValues(r)
	}
	for _, c := range []protocol.Code{
		protocol.CloseDraining, protocol.CloseHeartbeat, protocol.CloseNotReading, protocol.CloseInternal,
		protocol.CloseConnectTimeout, protocol.CloseTokenExpired, protocol.CloseBadFrame, protocol.CloseUnauthorized,
		protocol.CloseForbidden, protocol.CloseTooLarge, protocol.CloseTooMany, protocol.CloseProtocolError,
		protocol.CloseInvalidText, protocol.CloseSuperseded, protocol.CloseRevoked,
	} {
		m.disconnects.WithLabelValues(label(c))
	}
	for _, c := range commandNames() {
		m.commands.WithLabelValues(c)
	}
	for _, c := range []protocol.Code{
		protocol.ErrorBadRequest, protocol.ErrorUnauthorized, protocol.ErrorForbidden, protocol.ErrorNotFound,
		protocol.ErrorTimeout, protocol.ErrorConflict, protocol.ErrorTooLarge, protocol.ErrorNotSupported,
		protocol.ErrorTooManyRequests, protocol.ErrorInternal, protocol.ErrorUnavailable, protocol.ErrorOutcomeUnknown,
		protocol.ErrorResubscribe, protocol.ErrorTokenExpired, protocol.ErrorRevoked,
	} {
		m.errors.WithLabelValues(label(c))
	}
}

func label(c protocol.Code) string { return strconv.Itoa(int(c)) }
