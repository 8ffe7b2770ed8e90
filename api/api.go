package api

import (
	"context"
	_ "embed" // the specification
	"log/slog"
	"net/http"
	"net/netip"
	"sync"

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

// Readiness reports why the node cannot take publishes now, nil if it can; and what it
// refuses all the same, "" for nothing.
type Readiness interface {
	Ready(ctx context.Context) error
	Refused() string
}

// Authenticator turns a token, "" where none was sent, into claims. Errors wrap
// auth.ErrMissing, auth.ErrInvalid, auth.ErrExpired, auth.ErrRevoked or
// auth.ErrUnavailable.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (auth.Claims, error)
}

// Limits hold a caller to what one may read and publish. Errors are *limit.Error.
type Limits interface {
	// Read tells callers without a name apart by their address; client is "".
	Read(ctx context.Context, publisher string, addr netip.Addr, client string, messages int) error
	// Ready is asked before the body of a publish is read, of so many bytes.
	Ready(ctx context.Context, who *fanout.Publication, bytes int64) error
}

// Tries bound how often an address shows tokens that are refused. Errors are *limit.Error.
type Tries interface {
	MayTry(ctx context.Context, addr netip.Addr) error
	Tried(addr netip.Addr) // and was refused
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
	Trust          Trust
	Poll           http.Handler // GET /v1/poll, likewise
	Limits         Limits       // nil: there are none
	Origins        Origins      // of pages that may use it from other hosts; nil: none may
	Tries          Tries        // likewise
	Echo           http.Handler // GET /test/echo, for conformance suites; nil serves none
}

// api is the handler; everything but the counters is static after New.
type api struct {
	cfg       Config
	deps      Deps
	log       *slog.Logger
	metrics   *metrics
	bodies    *bodies
	heavy     *heavy
	exchanges sync.Pool
}

// New builds the API. cfg must be valid.
func New(cfg Config, deps Deps, logger *slog.Logger, reg prometheus.Registerer) http.Handler {
	a, routes := newAPI(cfg, deps, logger, reg)
	router := a.mount(routes)
	a.clients(router)
	router.Method(http.MethodGet, "/metrics", a.metricsPage())
	return router
}

func newAPI(cfg Config, deps Deps, logger *slog.Logger, reg prometheus.Registerer) (*api, []route) {
	a := &api{cfg: cfg, deps: deps, log: logger}
	a.heavy, a.bodies = newHeavy(cfg.Timeout), newBodies(cfg.BodyBudget)
	a.exchanges.New = func() any { return new(exchange) }
	routes := a.routes()
	a.metrics = newMetrics(reg, routes, func() float64 { return float64(a.bodies.held()) })
	return a, routes
}

// mount returns a router of routes.
func (a *api) mount(routes []route) *chi.Mux {
	router := chi.NewRouter()
	router.Use(routeByEscapedPath, middleware.GetHead)
	for _, rt := range routes {
		router.Method(rt.method, rt.pattern, a.acrossOrigins(rt.pattern, a.handler(rt)))
		a.preflights(router, rt.pattern)
	}
	router.NotFound(a.handler(route{name: "none", need: need{on: everybody}, serve: a.notFound}))
	router.MethodNotAllowed(a.handler(route{name: "none", need: need{on: everybody}, serve: a.methodNotAllowed(router)}))
	return router
}

// clients mounts what takes over the connection, and so gets the server's own ResponseWriter.
func (a *api) clients(router *chi.Mux) {
	router.Method(http.MethodGet, "/v1/ws", a.deps.WebSocket)
	for pattern, handler := range map[string]http.Handler{"/v1/events": a.deps.Events, "/v1/poll": a.deps.Poll} {
		router.Method(http.MethodGet, pattern, a.acrossOrigins(pattern, handler))
		a.preflights(router, pattern)
	}
	if a.deps.Echo != nil {
		router.Method(http.MethodGet, "/test/echo", a.deps.Echo)
	}
}

func (a *api) metricsPage() http.Handler {
	return promhttp.HandlerFor(a.deps.Metrics, promhttp.HandlerOpts{})
}

// route is one operation, and the table of them says who may do it. serve answers through the exchange or returns an error
// for the table.
type route struct {
	name    string // in metrics and logs
	method  string
	pattern string
	need    need
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
	manage := func(on scope) need { return need{auth.Manage, on} }
	return []route{
		{"publish", http.MethodPost, messages, need{auth.Publish, pathChannel}, a.cfg.MaxBody, a.publish},
		{"publish_batch", http.MethodPost, "/v1/messages", need{auth.Publish, eachChannel}, a.cfg.MaxBatchBody, a.publishBatch},
		{"broadcast", http.MethodPost, "/v1/broadcast", need{auth.Publish, eachChannel}, a.cfg.MaxBody, a.broadcast},
		{"history", http.MethodGet, messages, need{auth.History, pathChannel}, 0, a.history},
		{"purge", http.MethodDelete, messages, manage(pathChannel), 0, a.purge},
		{"delete", http.MethodDelete, messages + "/{offset}", manage(pathChannel), 0, a.deleteMessage},
		{"schedules", http.MethodGet, schedules, manage(eachChannel), 0, a.schedules},
		{"schedule", http.MethodGet, schedules + "/{schedule}", manage(eachChannel), 0, a.oneSchedule},
		{"cancel", http.MethodDelete, schedules + "/{schedule}", manage(eachChannel), 0, a.cancelSchedule},
		{"groups", http.MethodGet, "/v1/channels/{channel}/groups", manage(pathChannel), 0, a.groups},
		{"group", http.MethodGet, "/v1/channels/{channel}/groups/{group}", manage(pathChannel), 0, a.group},
		{"delete_group", http.MethodDelete, "/v1/channels/{channel}/groups/{group}", manage(pathChannel), 0, a.deleteGroup},
		{"sessions", http.MethodGet, "/v1/sessions", manage(everything), 0, a.listSessions},
		{"user_sessions", http.MethodGet, userSessions, manage(everything), 0, a.listSessions},
		{"session", http.MethodGet, oneSession, manage(everything), 0, a.showOneSession},
		{"session_delete", http.MethodDelete, oneSession, manage(everything), 0, a.deleteSession},
		{"session_reset", http.MethodPost, oneSession + "/reset", manage(everything), maxResetBody, a.resetSession},
		{"presence", http.MethodGet, "/v1/channels/{channel}/presence", need{auth.Presence, pathChannel}, 0, a.presence},
		{"channel", http.MethodGet, "/v1/channels/{channel}", need{auth.Presence, pathChannel}, 0, a.channelInfo},
		{"channels", http.MethodGet, "/v1/channels", need{auth.Presence, eachChannel}, 0, a.channels},
		{"connections", http.MethodGet, "/v1/users/{user}/connections", manage(everything), 0, a.connections},
		{"disconnect", http.MethodDelete, "/v1/users/{user}/connections", manage(everything), 0, a.disconnect},
		{"keys", http.MethodGet, "/v1/keys", manage(everything), 0, a.listKeys},
		{"key_create", http.MethodPost, "/v1/keys", manage(everything), maxTrustBody, a.createKey},
		{"key_revoke", http.MethodDelete, "/v1/keys/{key}", manage(everything), 0, a.revokeKey},
		{"revocations", http.MethodGet, "/v1/revocations", manage(everything), 0, a.listRevocations},
		{"revoke", http.MethodPost, "/v1/revocations", manage(everything), maxTrustBody, a.revoke},
		{"restore", http.MethodDelete, "/v1/revocations", manage(everything), 0, a.restore},
		{"webhooks", http.MethodGet, "/v1/webhooks", manage(everything), 0, a.listWebhooks},
		{"webhook_test", http.MethodPost, "/v1/webhooks/{webhook}/test", manage(everything), 0, a.testWebhook},
		{"telemetry", http.MethodPost, "/v1/telemetry", need{on: everybody}, 0, a.telemetry},
		{"healthz", http.MethodGet, "/healthz", need{on: everybody}, 0, a.healthz},
		{"readyz", http.MethodGet, "/readyz", need{on: everybody}, 0, a.readyz},
		{"openapi", http.MethodGet, "/openapi.yaml", need{on: everybody}, 0, a.openapi},
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

func (a *api) methodNotAllowed(router *chi.Mux) func(context.Context, *exchange) error {
	return func(ctx context.Context, x *exchange) error {
		allow := ""
		for _, m := range []string{http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodPost} {
			asked := m
			if m == http.MethodHead { // served as GET
				asked = http.MethodGet
			}
			if router.Match(chi.NewRouteContext(), asked, x.r.URL.EscapedPath()) {
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
		if path := x.r.URL.EscapedPath() + "/messages"; router.Match(chi.NewRouteContext(), x.r.Method, path) {
			message += "; " + x.r.Method + " is for " + clip(path)
		}
		return &problem{status: http.StatusMethodNotAllowed, message: message}
	}
}
