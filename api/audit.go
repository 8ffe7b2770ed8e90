package api

import (
	"context"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/session"
)

// isAudited reports whether a route changes what others have or may: all that changes
// anything, but for publishing.
func isAudited(rt route) bool {
	switch rt.name {
	case "publish", "publish_batch", "broadcast":
		return false
	}
	return rt.method == http.MethodPost || rt.method == http.MethodDelete || rt.method == http.MethodPut || rt.method == http.MethodPatch
}

// note adds to the exchange's line in the audit log what its path does not say.
func (x *exchange) note(attrs ...slog.Attr) { x.noted = append(x.noted, attrs...) }

// noteRevocation notes whose tokens a revocation is about: one token, or those of a user or
// of everybody that were issued before a time. A token in place of its ID is cut before its
// signature begins.
func (x *exchange) noteRevocation(r revocationJSON) {
	switch {
	case r.TokenID != "":
		x.note(slog.String("token_id", clip(r.TokenID)))
	case r.User == "":
		x.note(slog.Bool("everybody", true))
	}
	if r.User != "" {
		x.note(slog.String("user", clipTo(r.User, auth.MaxSubjectBytes)))
	}
	if r.IssuedBefore != 0 {
		x.note(slog.Int64("issued_before", r.IssuedBefore))
	}
}

// someKey is an API key, or the beginning of one.
var someKey = regexp.MustCompile(regexp.QuoteMeta(auth.KeyPrefix) + `[A-Za-z0-9_-]*`)

// withoutKeys takes API keys out of what is logged, which may have been put in place of
// their names.
func withoutKeys(s string) string { return someKey.ReplaceAllString(s, "[API key]") }

// maxAuditedPath bounds what a line of the audit log says of the request, in bytes.
const maxAuditedPath = 512

// audit logs who did what, whether or not it came to be. It is the one place where a
// channel's or a user's name is logged. Those who could not say who they are get a line
// for whoever debugs only: anybody can send as many as they like.
func (a *api) audit(ctx context.Context, x *exchange) {
	level := slog.LevelInfo
	if x.status == http.StatusUnauthorized {
		level = slog.LevelDebug
	}
	what := withoutKeys(x.r.URL.EscapedPath()) // without the query, where a token may have been put by mistake
	if len(what) > maxAuditedPath {
		what = what[:maxAuditedPath] + "…"
	}
	outcome := "done"
	if x.status >= http.StatusBadRequest || x.status == 0 {
		outcome = "refused"
		if x.status >= http.StatusInternalServerError || x.status == 0 {
			outcome = "failed"
		}
	}
	attrs := []any{
		slog.String("who", who(&x.claims)), slog.String("action", x.route), slog.String("what", what),
		slog.String("from", session.ClientAddr(x.r).String()), slog.String("outcome", outcome),
		slog.String("status", strconv.Itoa(x.status)), slog.String("request", x.id),
	}
	for _, attr := range x.noted {
		attrs = append(attrs, attr)
	}
	a.log.LogAttrs(ctx, level, "control action", slog.Group("audit", attrs...))
}

// who is the caller as an operator knows it.
func who(c *auth.Claims) string {
	switch {
	case c.Key != "":
		return "key:" + c.Key
	case c.Subject != "":
		return "user:" + c.Subject
	case c.Capabilities.IsZero():
		return "nobody"
	}
	return "anonymous"
}
