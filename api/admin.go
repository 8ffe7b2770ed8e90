package api

import (
	"log/slog"
	"net/http"
	"strings"

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
	return clients, operators
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
