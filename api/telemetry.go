package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Bounds of one report.
const (
	maxReport    = 16 << 10 // bytes
	maxSamples   = 64       // of one kind
	maxReported  = 32       // errors told by name
	maxCount     = 10_000   // of anything that is counted
	maxErrorName = 64       // bytes
	maxErrorFrom = 128      // bytes
	mostMillis   = 600_000  // of any time; longer ones are no measurement
	// reportCost is what a report counts among a caller's reads, in messages.
	reportCost = 10
)

// report is what a browser's monitor tells: numbers, and names of errors. Times are in
// milliseconds. What else a later SDK may tell is passed over.
type report struct {
	SDK        string          `json:"sdk"`
	Transport  string          `json:"transport"`
	Connects   []float64       `json:"connects"`
	RoundTrips []float64       `json:"round_trips"`
	Deliveries []float64       `json:"deliveries"`
	Reconnects int             `json:"reconnects"`
	Gaps       int             `json:"gaps"`
	Paints     paints          `json:"paints"`
	Errors     []reportedError `json:"errors"`
	MoreErrors int             `json:"more_errors"`
}

type paints struct {
	First   *float64 `json:"first"`
	Largest *float64 `json:"largest"`
}

type reportedError struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Source string `json:"source"`
}

// check reports the first field that cannot be: nothing of such a report counts.
func (r *report) check() error {
	for _, list := range []struct {
		field  string
		values []float64
	}{{"connects", r.Connects}, {"round_trips", r.RoundTrips}, {"deliveries", r.Deliveries}} {
		if len(list.values) > maxSamples {
			return wrong(list.field, "has %d values, at most %d are allowed", len(list.values), maxSamples)
		}
		for _, v := range list.values {
			if v < 0 || v > mostMillis {
				return wrong(list.field, "has %v, must be from 0 to %d milliseconds", v, mostMillis)
			}
		}
	}
	for _, count := range []struct {
		field string
		n     int
	}{{"reconnects", r.Reconnects}, {"gaps", r.Gaps}, {"more_errors", r.MoreErrors}} {
		if count.n < 0 || count.n > maxCount {
			return wrong(count.field, "is %d, must be from 0 to %d", count.n, maxCount)
		}
	}
	for field, v := range map[string]*float64{"paints.first": r.Paints.First, "paints.largest": r.Paints.Largest} {
		if v != nil && (*v < 0 || *v > mostMillis) {
			return wrong(field, "is %v, must be from 0 to %d milliseconds", *v, mostMillis)
		}
	}
	if len(r.Errors) > maxReported {
		return wrong("errors", "has %d, at most %d are allowed; the others are counted by more_errors", len(r.Errors), maxReported)
	}
	for i, e := range r.Errors {
		if len(e.Name) > maxErrorName || len(e.Source) > maxErrorFrom {
			return wrong(fmt.Sprintf("errors[%d]", i), "has a name of more than %d or a source of more than %d bytes", maxErrorName, maxErrorFrom)
		}
	}
	return nil
}

// clientMetrics are what browsers report. Their labels are closed sets, whatever is reported.
type clientMetrics struct {
	connects   map[string]prometheus.Observer // by transport
	roundTrips prometheus.Observer
	deliveries prometheus.Observer
	paints     map[string]prometheus.Observer
	reconnects prometheus.Counter
	gaps       prometheus.Counter
	errors     map[string]prometheus.Counter // by kind
	reports    map[string]prometheus.Counter // by what became of them
}

func newClientMetrics(reg prometheus.Registerer) *clientMetrics {
	with := promauto.With(reg)
	seconds := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return with.NewHistogramVec(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, labels)
	}
	connects := seconds("rivulet_client_connect_seconds", "What browsers report: from an attempt to being connected.", "transport")
	paint := seconds("rivulet_client_paint_seconds", "What browsers report: from the navigation to the first and the largest contentful paint.", "paint")
	kinds := with.NewCounterVec(prometheus.CounterOpts{
		Name: "rivulet_client_errors_total", Help: "What browsers report: errors that nobody caught, and rejections that nobody handled.",
	}, []string{"kind"})
	results := with.NewCounterVec(prometheus.CounterOpts{
		Name: "rivulet_client_reports_total", Help: "Reports of browsers' monitors, by what became of them.",
	}, []string{"result"})
	count := func(name, help string) prometheus.Counter {
		return with.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &clientMetrics{
		connects:   map[string]prometheus.Observer{},
		roundTrips: seconds("rivulet_client_round_trip_seconds", "What browsers report: from a ping to its pong.").WithLabelValues(),
		deliveries: seconds("rivulet_client_delivery_seconds", "What browsers report: from a message's being stored to its arrival.").WithLabelValues(),
		paints:     map[string]prometheus.Observer{"first": paint.WithLabelValues("first"), "largest": paint.WithLabelValues("largest")},
		reconnects: count("rivulet_client_reconnects_total", "What browsers report: connections that came back."),
		gaps:       count("rivulet_client_gaps_total", "What browsers report: gaps that they were told of."),
		errors:     map[string]prometheus.Counter{},
		reports:    map[string]prometheus.Counter{},
	}
	for _, transport := range []string{"websocket", "sse", "poll", otherLabel} {
		m.connects[transport] = connects.WithLabelValues(transport)
	}
	for _, kind := range []string{"uncaught", "unhandled", otherLabel} {
		m.errors[kind] = kinds.WithLabelValues(kind)
	}
	for _, result := range []string{"taken", "refused"} {
		m.reports[result] = results.WithLabelValues(result)
	}
	return m
}

// otherLabel stands for what is in none of the closed sets.
const otherLabel = "other"

func oneOf[V any](set map[string]V, label string) V {
	if v, ok := set[label]; ok {
		return v
	}
	return set[otherLabel]
}

func (m *clientMetrics) take(r *report) {
	observe := func(o prometheus.Observer, millis []float64) {
		for _, v := range millis {
			o.Observe(v / 1000)
		}
	}
	observe(oneOf(m.connects, r.Transport), r.Connects)
	observe(m.roundTrips, r.RoundTrips)
	observe(m.deliveries, r.Deliveries)
	for paint, v := range map[string]*float64{"first": r.Paints.First, "largest": r.Paints.Largest} {
		if v != nil {
			m.paints[paint].Observe(*v / 1000)
		}
	}
	m.reconnects.Add(float64(r.Reconnects))
	m.gaps.Add(float64(r.Gaps))
	for _, e := range r.Errors {
		oneOf(m.errors, e.Kind).Inc()
	}
	m.errors[otherLabel].Add(float64(r.MoreErrors))
}

// telemetry takes what a browser's monitor reports. Anybody may report who may load a page of
// an allowed origin, so what comes is bounded, and moves nothing but the metrics.
func (a *api) telemetry(ctx context.Context, x *exchange) error {
	if !a.cfg.Telemetry {
		return &problem{status: http.StatusNotFound, message: "this node takes no reports of browsers; set server.telemetry: true"}
	}
	r, err := a.readReport(ctx, x)
	if err != nil {
		a.metrics.clients.reports["refused"].Inc()
		return err
	}
	a.metrics.clients.take(r)
	a.metrics.clients.reports["taken"].Inc()
	for _, e := range r.Errors {
		a.log.LogAttrs(ctx, slog.LevelDebug, "error in a browser", slog.String("kind", e.Kind),
			slog.String("name", e.Name), slog.String("source", e.Source), slog.String("sdk", r.SDK))
	}
	x.begin(http.StatusOK, "noted")
	x.out = append(x.out, "null"...)
	x.end()
	return nil
}

// readReport reads the body whatever its type says: browsers send beacons as text.
func (a *api) readReport(ctx context.Context, x *exchange) (*report, error) {
	if a.deps.Origins != nil && x.r.Header.Get("Origin") != "" {
		if allowed, _ := a.deps.Origins.Allow(x.r); !allowed {
			return nil, &problem{status: http.StatusForbidden, field: "Origin", message: "Origin: pages of it may not report here; see session.origins"}
		}
	}
	if err := a.mayRead(ctx, x, reportCost); err != nil {
		return nil, err
	}
	if x.r.ContentLength > maxReport {
		return nil, bodyTooLarge(maxReport)
	}
	text, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, maxReport))
	if err != nil {
		return nil, bodyError(err, maxReport)
	}
	r := new(report)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, wrong("body", "is no report: %v", err)
	}
	return r, r.check()
}
