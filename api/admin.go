package api

import (
	"context"
	"log/slog"
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
)

// NewApart is New in two parts, for two listeners: admin has what operators of a node
// use, and public all else. Metrics, users and their connections, durable sessions, keys,
// revocations and webhooks are in admin alone; health and the specification in both.
func NewApart(cfg Config, deps Deps, logger *slog.Logger, reg prometheus.Registerer) (public, admin http.Handler) {
	a, routes := newAPI(cfg, deps, logger, reg)
	var forClients, forOperators []route
	for _, rt := range routes {
		if isOperators(rt) {
			forOperators = append(forOperators, rt)
			continue
		}
		forClients = append(forClients, rt)
		if rt.need.on == everybody {
			forOperators = append(forOperators, rt)
		}
	}
	clients, operators := a.mount(forClients), a.mount(forOperators)
	a.clients(clients)
	operators.Method(http.MethodGet, "/metrics", a.metricsPage())
	a.pointTo(clients, operators, "server.admin_listen")
	a.pointTo(operators, clients, "server.listen")
	return clients, operators
}

// pointTo has here say of what is only there, at the listener of a key, that it is: a 404
// reads as if the node could not do it.
func (a *api) pointTo(here, there *chi.Mux, key string) {
	here.NotFound(a.handler(route{name: "none", need: need{on: everybody}, serve: func(ctx context.Context, x *exchange) error {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			if there.Match(chi.NewRouteContext(), method, x.r.URL.EscapedPath()) {
				return &problem{
					status:  http.StatusNotFound,
					message: "it is served at another address of this node, that of " + key + "; ask there (rivulet: --url)",
				}
			}
		}
		return a.notFound(ctx, x)
	}}))
}

// controlled are the paths, and all below them, by which a node is operated.
func controlled() []string {
	return []string{"/v1/users", "/v1/sessions", "/v1/webhooks", "/v1/keys", "/v1/revocations"}
}

func isOperators(rt route) bool {
	for _, path := range controlled() {
		if rt.pattern == path || strings.HasPrefix(rt.pattern, path+"/") {
			return true
		}
	}
	return false
}
