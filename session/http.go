package session

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// httpBody is the body of a refused handshake.
type httpBody struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    any    `json:"data"`
}

// WriteHTTPError answers a handshake that is refused with err, as ReadErrorEvent
// tells it: the status agrees with the code, 401 and 503 have their headers.
func WriteHTTPError(w http.ResponseWriter, err error) {
	ev := ReadErrorEvent(err)
	status := httpStatus(ev.Code)
	h := w.Header()
	switch {
	case status == http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="rivulet"`)
	case ev.Temporary:
		h.Set("Retry-After", strconv.FormatInt(max(1, (ev.RetryAfterMS+999)/1000), 10))
	}
	message := ev.Message
	if ev.Field != "" {
		message = ev.Field + ": " + message
	}
	var data any
	if ev.Field != "" || ev.RetryAfterMS > 0 {
		data = httpDetail{ev.Field, ev.RetryAfterMS}
	}
	writeHTTP(w, httpBody{Code: status, Message: message, Data: data})
}

// httpDetail names the input at fault, and says when to try again.
type httpDetail struct {
	Field        string `json:"field,omitempty"`
	RetryAfterMS int64  `json:"retry_after_ms,omitempty"`
}

// WriteHTTPStatus answers a handshake with the JSON body of a refusal.
func WriteHTTPStatus(w http.ResponseWriter, status int, message string) {
	writeHTTP(w, httpBody{Code: status, Message: message})
}

func writeHTTP(w http.ResponseWriter, answer httpBody) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	body, err := json.Marshal(answer)
	if err != nil { // plain fields always encode
		body = nil
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(append(body, '\n')) // the peer may be gone; there is nobody to tell
}

// BadRequest is a handshake's or a command's input error on field.
func BadRequest(field, format string, args ...any) error {
	return refuse(protocol.ErrorBadRequest, field, format, args...)
}

// Forbidden is what the claims or the origin do not allow.
func Forbidden(field, format string, args ...any) error {
	return refuse(protocol.ErrorForbidden, field, format, args...)
}

// Lacking is what claims do not allow of a channel.
func Lacking(claims auth.Claims, field string, action auth.Action, c fanout.Channel) error {
	return Forbidden(field, "%s does not allow %s on %s", claims.Credential(), action, c)
}

// lacking is Lacking of the session's own claims.
func (s *Session) lacking(field string, action auth.Action, c fanout.Channel) error {
	return Lacking(s.claimed(), field, action, c)
}

// handshakeToken is the token of a request: "Authorization: Bearer", else ?token=.
func handshakeToken(r *http.Request) string {
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "bearer") {
		return strings.TrimSpace(token)
	}
	return r.URL.Query().Get("token")
}

// Handshake authenticates a request. given is false where it carries no token and
// one is needed: err then wraps auth.ErrMissing, and a connect command may follow.
func (r *Registry) Handshake(req *http.Request) (claims auth.Claims, given bool, err error) {
	token := handshakeToken(req)
	from := r.peerOf(req)
	claims, err = r.authenticate(req.Context(), token, &from)
	if err != nil {
		return auth.Claims{}, token != "" || !errors.Is(err, auth.ErrMissing), err
	}
	return claims, true, nil
}

// HasToken reports whether the request carries a token.
func HasToken(r *http.Request) bool { return handshakeToken(r) != "" }
