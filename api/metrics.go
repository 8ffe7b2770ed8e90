package api

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics has every label value from the start, so that a dashboard never shows
// "no data".
type metrics struct {
	routes   map[string]*routeMetrics // static after newMetrics
	messages map[outcome]prometheus.Counter
	clients  *clientMetrics
}

type routeMetrics struct {
	classes [6]prometheus.Counter // by status / 100; 0 for a response that never was
	seconds prometheus.Observer
}

// outcome is what became of a message that someone published.
type outcome string

const (
	becameStored      outcome = "stored"
	becameDuplicate   outcome = "duplicate"
	becameRefused     outcome = "refused"     // 4xx: the publisher's fault
	becameUnavailable outcome = "unavailable" // 503: nothing was stored
	becameUnknown     outcome = "unknown"     // 504
	becameFailed      outcome = "failed"      // any other 5xx
)

func newMetrics(reg prometheus.Registerer, routes []route, bodyBytes func() float64) *metrics {
	with := promauto.With(reg)
	requests := with.NewCounterVec(prometheus.CounterOpts{
		Name: "rivulet_api_requests_total", Help: "Requests by operation and class of status; \"none\" where there was no response.",
	}, []string{"route", "class"})
	seconds := with.NewHistogramVec(prometheus.HistogramOpts{
		Name: "rivulet_api_request_seconds", Help: "Time from a request's header to the end of its response.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"route"})
	messages := with.NewCounterVec(prometheus.CounterOpts{
		Name: "rivulet_api_messages_total", Help: "Messages published over HTTP, by what became of them.",
	}, []string{"outcome"})
	with.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "rivulet_api_body_bytes", Help: "Bytes reserved for request bodies in memory.",
	}, bodyBytes)

	m := &metrics{routes: map[string]*routeMetrics{}, messages: map[outcome]prometheus.Counter{}, clients: newClientMetrics(reg)}
	for _, rt := range append(routes, route{name: "none"}) {
		r := &routeMetrics{seconds: seconds.WithLabelValues(rt.name)}
		for i, class := range [...]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"} {
			r.classes[i] = requests.WithLabelValues(rt.name, class)
		}
		m.routes[rt.name] = r
	}
	for _, o := range []outcome{becameStored, becameDuplicate, becameRefused, becameUnavailable, becameUnknown, becameFailed} {
		m.messages[o] = messages.WithLabelValues(string(o))
	}
	return m
}

func (r *routeMetrics) observe(status int, took time.Duration) {
	r.classes[status/100].Inc()
	r.seconds.Observe(took.Seconds())
}

func (m *metrics) published(err error, duplicate bool) {
	m.messages[outcomeOf(err, duplicate)].Inc()
}

func outcomeOf(err error, duplicate bool) outcome {
	if err == nil {
		if duplicate {
			return becameDuplicate
		}
		return becameStored
	}
	switch status := translate(err).status; {
	case status < http.StatusInternalServerError:
		return becameRefused
	case status == http.StatusServiceUnavailable:
		return becameUnavailable
	case status == http.StatusGatewayTimeout:
		return becameUnknown
	}
	return becameFailed
}
