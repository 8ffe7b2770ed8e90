package api

import (
	"context"
	_ "embed" // the specification
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
)

//go:embed openapi.yaml
var specification []byte

// Publisher stores messages. A Receipt means stored. PublishAll keeps the order
// of messages of one channel and answers with one Outcome for each. PublishAtomic stores
// all or none; its errors are *fanout.BatchError.
type Publisher interface {
	Publish(ctx context.Context, p *fanout.Publication) (fanout.Receipt, error)
	PublishAll(ctx context.Context, list []*fanout.Publication) []fanout.Outcome
	PublishAtomic(ctx context.Context, list []*fanout.Publication) ([]fanout.Receipt, error)
}

// Purger empties channels, and takes single messages out of them. The receipt is of the
// marker; with Duplicate the message was deleted before. The error of Delete wraps
// fanout.ErrNoMessage where there is no such message.
type Purger interface {
	Purge(ctx context.Context, c fanout.Channel) (fanout.Receipt, error)
	Delete(ctx context.Context, c fanout.Channel, offset uint64) (fanout.Receipt, error)
}

// Scheduler knows the messages that wait to be stored. Errors wrap
// fanout.ErrNoSchedule where nothing waits under the ID, and fanout.ErrScheduleDue
// where it is too late to cancel.
type Scheduler interface {
	Schedules(ctx context.Context, q fanout.ScheduleQuery) (fanout.SchedulePage, error)
	Schedule(ctx context.Context, id string) (fanout.Scheduled, error)
	Cancel(ctx context.Context, id string) error
}

// History reads stored messages.
type History interface {
	History(ctx context.Context, q fanout.HistoryQuery) (fanout.HistoryPage, error)
}

// Readiness reports why the node cannot take publishes now, nil if it can.
type Readiness interface {
	Ready(ctx context.Context) error
}

// Authenticator turns a token, "" where none was sent, into claims. Errors wrap
// auth.ErrMissing, auth.ErrInvalid or auth.ErrExpired.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (auth.Claims, error)
}

// Deps are what the API stands on; all are needed.
type Deps struct {
	Publisher Publisher
	Purger    Purger
	Scheduler Scheduler
	Groups    Groups
	History   History
	Presence  Presence
	Tail      Tail
	Users     Users
	Readiness Readiness
	Auth      Authenticator
	Metrics   prometheus.Gatherer // shown at /metrics
	WebSocket http.Handler        // GET /v1/ws; it authenticates by itself
	Events    http.Handler        // GET /v1/events, likewise
	// Sessions and SessionControl are usually one.
	Sessions       Sessions
	SessionControl SessionControl
	Webhooks       Webhooks
	Poll           http.Handler // GET /v1/poll, likewise
	Echo           http.Handler // GET /test/echo, for conformance suites; nil serves none
}

// api is the handler; everything but the counters is static after New.
type api struct {
	cfg       Config
	deps      Deps
	log       *slog.Logger
	metrics   *metrics
	router    *chi.Mux
	bodyBytes atomic.Int64 // of bodies in memory
	exchanges sync.Pool
}

// New builds the API. cfg must be valid.
func New(cfg Config, deps Deps, logger *slog.Logger, reg prometheus.Registerer) http.Handler {
	a := &api{cfg: cfg, deps: deps, log: logger, router: chi.NewRouter()}
	a.exchanges.New = func() any { return new(exchange) }
	routes := a.routes()
	a.metrics = newMetrics(reg, routes, func() float64 { return float64(a.bodyBytes.Load()) })

	a.router.Use(routeByEscapedPath, middleware.GetHead)
	for _, rt := range routes {
		a.router.Method(rt.method, rt.pattern, a.handler(rt))
	}
	// These two take over the connection, so they get the server's own ResponseWriter.
	a.router.Method(http.MethodGet, "/v1/ws", deps.WebSocket)
	a.router.Method(http.MethodGet, "/v1/events", deps.Events)
	a.router.Method(http.MethodGet, "/v1/poll", deps.Poll)
	if deps.Echo != nil {
		a.router.Method(http.MethodGet, "/test/echo", deps.Echo)
	}
	a.router.Method(http.MethodGet, "/metrics", promhttp.HandlerFor(deps.Metrics, promhttp.HandlerOpts{}))
	a.router.NotFound(a.handler(route{name: "none", serve: a.notFound}))
	a.router.MethodNotAllowed(a.handler(route{name: "none", serve: a.methodNotAllowed}))
	return a.router
}

// route is one operation. serve answers through the exchange or returns an error
// for the table.
type route struct {
	name    string // in metrics and logs
	method  string
	pattern string
	private bool  // authenticate before serve
	maxBody int64 // read a JSON body of at most so many bytes before serve; 0: there is none
	serve   func(ctx context.Context, x *exchange) error
}

func (a *api) routes() []route {
	const (
		messages     = "/v1/channels/{channel}/messages"
		schedules    = "/v1/schedules"
		userSessions = "/v1/users/{user}/sessions"
		oneSession   = userSessions + "/{session}"
	)
	return []route{
		{"publish", http.MethodPost, messages, true, a.cfg.MaxBody, a.publish},
		{"publish_batch", http.MethodPost, "/v1/messages", true, a.cfg.MaxBatchBody, a.publishBatch},
		{"broadcast", http.MethodPost, "/v1/broadcast", true, a.cfg.MaxBody, a.broadcast},
		{"history", http.MethodGet, messages, true, 0, a.history},
		{"purge", http.MethodDelete, messages, true, 0, a.purge},
		{"delete", http.MethodDelete, messages + "/{offset}", true, 0, a.deleteMessage},
		{"schedules", http.MethodGet, schedules, true, 0, a.schedules},
		{"schedule", http.MethodGet, schedules + "/{schedule}", true, 0, a.oneSchedule},
		{"cancel", http.MethodDelete, schedules + "/{schedule}", true, 0, a.cancelSchedule},
		{"groups", http.MethodGet, "/v1/channels/{channel}/groups", true, 0, a.groups},
		{"group", http.MethodGet, "/v1/channels/{channel}/groups/{group}", true, 0, a.group},
		{"delete_group", http.MethodDelete, "/v1/channels/{channel}/groups/{group}", true, 0, a.deleteGroup},
		{"sessions", http.MethodGet, "/v1/sessions", true, 0, a.listSessions},
		{"user_sessions", http.MethodGet, userSessions, true, 0, a.listSessions},
		{"session", http.MethodGet, oneSession, true, 0, a.showOneSession},
		{"session_delete", http.MethodDelete, oneSession, true, 0, a.deleteSession},
		{"session_reset", http.MethodPost, oneSession + "/reset", true, maxResetBody, a.resetSession},
		{"presence", http.MethodGet, "/v1/channels/{channel}/presence", true, 0, a.presence},
		{"channel", http.MethodGet, "/v1/channels/{channel}", true, 0, a.channelInfo},
		{"channels", http.MethodGet, "/v1/channels", true, 0, a.channels},
		{"connections", http.MethodGet, "/v1/users/{user}/connections", true, 0, a.connections},
		{"disconnect", http.MethodDelete, "/v1/users/{user}/connections", true, 0, a.disconnect},
		{"webhooks", http.MethodGet, "/v1/webhooks", true, 0, a.listWebhooks},
		{"webhook_test", http.MethodPost, "/v1/webhooks/{webhook}/test", true, 0, a.testWebhook},
		{"healthz", http.MethodGet, "/healthz", false, 0, a.healthz},
		{"readyz", http.MethodGet, "/readyz", false, 0, a.readyz},
		{"openapi", http.MethodGet, "/openapi.yaml", false, 0, a.openapi},
	}
}

// routeByEscapedPath makes chi match the path as it was sent, always. Left alone,
// it does so only if the path has an unusual escape, and then a parameter is
// sometimes escaped and sometimes not: "%252F" would become "/".
func routeByEscapedPath(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		chi.RouteContext(r.Context()).RoutePath = r.URL.EscapedPath()
		next.ServeHTTP(w, r)
	})
}

func (a *api) notFound(context.Context, *exchange) error {
	return &problem{status: http.StatusNotFound, message: "there is no such path; GET /openapi.yaml lists them all"}
}

func (a *api) methodNotAllowed(ctx context.Context, x *exchange) error {
	allow := ""
	for _, m := range []string{http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodPost} {
		asked := m
		if m == http.MethodHead { // served as GET
			asked = http.MethodGet
		}
		if a.router.Match(chi.NewRouteContext(), asked, x.r.URL.EscapedPath()) {
			if allow != "" {
				allow += ", "
			}
			allow += m
		}
	}
	if allow == "" { // a method that nobody knows, on no path of ours
		return a.notFound(ctx, x)
	}
	x.w.Header().Set("Allow", allow)
	message := "the method is not one of " + allow
	if path := x.r.URL.EscapedPath() + "/messages"; a.router.Match(chi.NewRouteContext(), x.r.Method, path) {
		message += "; " + x.r.Method + " is for " + clip(path)
	}
	return &problem{status: http.StatusMethodNotAllowed, message: message}
}
