package auth

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// keyMetrics are of the key sets that are fetched.
type keyMetrics struct {
	fetches *prometheus.CounterVec
	keys    *prometheus.GaugeVec
	last    *prometheus.GaugeVec
	results *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*keyMetrics, error) {
	m := &keyMetrics{
		fetches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rivulet_auth_key_fetches_total", Help: "Fetches of an issuer's key set, by result.",
		}, []string{"issuer", "result"}),
		keys: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "rivulet_auth_keys", Help: "Keys of an issuer's fetched set that verify tokens.",
		}, []string{"issuer"}),
		last: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "rivulet_auth_keys_fetched_timestamp_seconds", Help: "When an issuer's key set was last fetched.",
		}, []string{"issuer"}),
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rivulet_auth_attempts_total", Help: "Tokens and API keys that were looked at, by result.",
		}, []string{"result"}),
	}
	for _, r := range []string{"ok", "missing", "invalid", "expired", "revoked", "unavailable"} {
		m.results.WithLabelValues(r)
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.fetches, m.keys, m.last, m.results} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *keyMetrics) init(issuer string) {
	m.fetches.WithLabelValues(issuer, "ok")
	m.fetches.WithLabelValues(issuer, "error")
	m.keys.WithLabelValues(issuer)
	m.last.WithLabelValues(issuer)
}

func (m *keyMetrics) fetched(issuer string, set *keySet, err error) {
	if err != nil {
		m.fetches.WithLabelValues(issuer, "error").Inc()
		return
	}
	m.fetches.WithLabelValues(issuer, "ok").Inc()
	m.keys.WithLabelValues(issuer).Set(float64(len(set.keys)))
	m.last.WithLabelValues(issuer).SetToCurrentTime()
}

// count notes what came of an attempt, and returns its error.
func (m *keyMetrics) count(err error) error {
	result := "ok"
	switch {
	case err == nil:
	case errors.Is(err, ErrMissing):
		result = "missing"
	case errors.Is(err, ErrExpired):
		result = "expired"
	case errors.Is(err, ErrRevoked):
		result = "revoked"
	case errors.Is(err, ErrUnavailable):
		result = "unavailable"
	default:
		result = "invalid"
	}
	m.results.WithLabelValues(result).Inc()
	return err
}
