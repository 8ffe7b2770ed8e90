package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
)

// What Trust may answer.
var (
	// ErrKeyExists: there is an API key of the name in the log.
	ErrKeyExists = errors.New("api: there is an API key of that name")
	// ErrKeyConfigured: there is an API key of the name in the configuration.
	ErrKeyConfigured = errors.New("api: there is an API key of that name in the configuration")
	// ErrUserIsKey: the user of a revocation is the publisher that an API key or a
	// certificate is: "key:" and its name. Revocations are of tokens.
	ErrUserIsKey = errors.New("api: the user is an API key")
	// ErrNoKey: there is no API key of the name in the log.
	ErrNoKey = errors.New("api: no such API key")
	// ErrNoRevocation: nothing is revoked so.
	ErrNoRevocation = errors.New("api: no such revocation")
)

// Trust keeps API keys and revocations. Changes are stored, and hold on this node, when
// they return nil; on the others a moment later. Their errors wrap fanout.ErrUnavailable,
// fanout.ErrTrustFull, or those above.
//
//nolint:interfacebloat // keys and revocations are kept, and fail, as one
type Trust interface {
	Keys() []auth.StoredKey
	CreateKey(ctx context.Context, k auth.StoredKey) error
	RevokeKey(ctx context.Context, name string) error
	Revocations() []auth.Revocation
	// Revoke fills in what is left out, and returns what holds now.
	Revoke(ctx context.Context, r auth.Revocation) (auth.Revocation, error)
	Restore(ctx context.Context, r auth.Revocation) error
}

const maxTrustBody = 64 << 10

// keyJSON is an API key as it is shown. Times are Unix milliseconds.
type keyJSON struct {
	Name         string                   `json:"name"`
	Capabilities map[string][]auth.Action `json:"capabilities"`
	Publishes    int                      `json:"publishes,omitempty"`
	Created      int64                    `json:"created"`
	CreatedBy    string                   `json:"created_by,omitempty"`
	Expires      int64                    `json:"expires,omitempty"`
	LastUsed     int64                    `json:"last_used,omitempty"`
	// Key is the key itself, in the answer to its creation alone.
	Key string `json:"key,omitempty"`
}

// keyRequest asks for an API key.
type keyRequest struct {
	Name         string                   `json:"name"`
	Capabilities map[string][]auth.Action `json:"capabilities"`
	Publishes    int                      `json:"publishes"`
	Expires      int64                    `json:"expires"` // Unix milliseconds; 0 is never
}

// revocationJSON is a revocation, as it is asked for and shown. IssuedBefore is in Unix
// seconds as in tokens, the others in milliseconds.
type revocationJSON struct {
	TokenID      string `json:"token_id,omitempty"`
	User         string `json:"user,omitempty"`
	IssuedBefore int64  `json:"issued_before,omitempty"`
	Expires      int64  `json:"expires,omitempty"`
	Reason       string `json:"reason,omitempty"`
}

type shownRevocation struct {
	revocationJSON

	Created   int64  `json:"created"`
	RevokedBy string `json:"revoked_by,omitempty"`
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// latestMillis is the end of the year 9999, as far as times go.
const latestMillis = 253402300799999

func timeOf(field string, n, perSecond int64) (time.Time, error) {
	switch {
	case n < 0 || n > latestMillis/1000*perSecond:
		return time.Time{}, badInput(field, "is no time since 1970")
	case n == 0:
		return time.Time{}, nil
	}
	return time.UnixMilli(n * (1000 / perSecond)), nil
}

// who is how the caller is named in what it leaves behind.
func (x *exchange) who() string {
	if x.claims.Key == "" && x.claims.Subject == "" {
		return ""
	}
	return x.claims.Publisher()
}

func showKey(k auth.StoredKey) keyJSON {
	return keyJSON{
		Name: k.Name, Capabilities: k.Capabilities, Publishes: k.Publishes, Created: millis(k.Created), CreatedBy: k.By,
		Expires: millis(k.Expires), LastUsed: millis(k.LastUsed),
	}
}

func showRevocation(r auth.Revocation) shownRevocation {
	s := shownRevocation{
		revocationJSON: revocationJSON{TokenID: r.TokenID, User: r.User, Expires: millis(r.Expires), Reason: r.Reason},
		Created:        millis(r.Created), RevokedBy: r.By,
	}
	if !r.IssuedBefore.IsZero() {
		s.IssuedBefore = r.IssuedBefore.Unix()
	}
	return s
}

// object reads the body, which must be one object of v's fields and no others.
func (x *exchange) object(v any, fields string) error {
	dec := json.NewDecoder(bytes.NewReader(x.body))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if kind, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && kind.Field != "" {
		return badInput(kind.Field, "must not be a "+kind.Value)
	}
	if _, end := dec.Token(); err != nil || !errors.Is(end, io.EOF) {
		return badInput("body", "is not one JSON object with fields of "+fields)
	}
	return nil
}

// fieldProblem is an error of auth that begins with the name of its field.
func fieldProblem(err error) error {
	text, _, _ := strings.Cut(err.Error(), "\n")
	field, what, ok := strings.Cut(text, ": ")
	if !ok {
		return badInput("body", text)
	}
	return badInput(field, what)
}

// trustError says of a key or revocation what is true of it, and not of a message.
func trustError(err error) error {
	switch {
	case errors.Is(err, ErrKeyExists):
		return &problem{status: http.StatusConflict, field: "name", message: "there is an API key of that name; revoke it first, or choose another name"}
	case errors.Is(err, ErrKeyConfigured):
		return &problem{status: http.StatusConflict, field: "name", message: "there is an API key of that name in the node's configuration (auth.keys), which no request changes; choose another name, or take that one out and restart"}
	case errors.Is(err, ErrUserIsKey):
		return badInput("user", "is an API key or a certificate, and only tokens are revoked by their user; use DELETE /v1/keys/{key} (rivulet key revoke NAME), or take it out of the configuration")
	case errors.Is(err, ErrNoKey):
		return &problem{status: http.StatusNotFound, field: "key", message: "the log has no API key of that name; GET /v1/keys lists them, and those of the configuration are changed there"}
	case errors.Is(err, ErrNoRevocation):
		return &problem{status: http.StatusNotFound, message: "nothing is revoked so; GET /v1/revocations lists what is"}
	case errors.Is(err, fanout.ErrTrustFull):
		return &problem{status: http.StatusServiceUnavailable, retryAfter: time.Minute, message: "the log holds as many API keys or revocations as it can; nothing was changed. Revoke by issued_before instead of one by one"}
	case errors.Is(err, fanout.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return &problem{status: http.StatusServiceUnavailable, retryAfter: 2 * time.Second, message: "the log cannot be reached, and it may or may not be changed; it is safe to ask again"}
	}
	return readError(err)
}

// listKeys serves GET /v1/keys.
func (a *api) listKeys(_ context.Context, x *exchange) error {
	if _, err := x.query(); err != nil {
		return err
	}
	list := []keyJSON{}
	for _, k := range a.deps.Trust.Keys() {
		list = append(list, showKey(k))
	}
	return x.answer("keys", map[string][]keyJSON{"keys": list})
}

// createKey serves POST /v1/keys.
func (a *api) createKey(ctx context.Context, x *exchange) error {
	if _, err := x.query(); err != nil {
		return err
	}
	var req keyRequest
	if err := x.object(&req, "name, capabilities, publishes and expires"); err != nil {
		return err
	}
	x.note(slog.String("key", withoutKeys(clip(req.Name))))
	expires, err := timeOf("expires", req.Expires, 1000)
	if err != nil {
		return err
	}
	k, secret, err := auth.NewStoredKey(auth.StoredKey{
		Name: req.Name, Capabilities: req.Capabilities, Publishes: req.Publishes, Expires: expires, By: x.who(),
	}, time.Now())
	if err != nil {
		return fieldProblem(err)
	}
	if err := k.Within(x.claims); err != nil {
		field, what, _ := strings.Cut(err.Error(), ": ")
		return forbidden(field, what)
	}
	if err := a.deps.Trust.CreateKey(ctx, k); err != nil {
		return trustError(err)
	}
	shown := showKey(k)
	shown.Key = secret.Reveal()
	x.w.Header().Set("Cache-Control", "no-store")
	return x.answerWith(http.StatusCreated, "created", shown)
}

// revokeKey serves DELETE /v1/keys/{key}.
func (a *api) revokeKey(ctx context.Context, x *exchange) error {
	if _, err := x.query(); err != nil {
		return err
	}
	name, err := url.PathUnescape(chi.URLParam(x.r, "key"))
	if err != nil {
		return &problem{status: http.StatusBadRequest, field: "key", message: "the path has a broken % escape"}
	}
	if strings.HasPrefix(name, auth.KeyPrefix) {
		return &problem{status: http.StatusBadRequest, field: "key", message: "is a key itself; give its name, which GET /v1/keys lists"}
	}
	if !auth.ValidKeyName(name) {
		return trustError(ErrNoKey)
	}
	if err := a.deps.Trust.RevokeKey(ctx, name); err != nil {
		return trustError(err)
	}
	return x.answer("revoked", map[string]string{"name": name})
}

// listRevocations serves GET /v1/revocations.
func (a *api) listRevocations(_ context.Context, x *exchange) error {
	params, err := x.query("limit", "after")
	if err != nil {
		return err
	}
	limit, err := numberOf(params, "limit", 1, mostRevocationsPage, mostRevocationsPage)
	if err != nil {
		return err
	}
	after, err := numberOf(params, "after", 0, auth.MaxRevocations, 0)
	if err != nil {
		return err
	}
	all := a.deps.Trust.Revocations()
	from := min(int(after), len(all))
	page := struct {
		Revocations []shownRevocation `json:"revocations"`
		Next        int               `json:"next"` // 0: it is the last page
	}{Revocations: []shownRevocation{}}
	for _, r := range all[from:min(from+int(limit), len(all))] {
		page.Revocations = append(page.Revocations, showRevocation(r))
	}
	if end := from + len(page.Revocations); end < len(all) {
		page.Next = end
	}
	return x.answer("revocations", page)
}

const mostRevocationsPage = 1000

// revoke serves POST /v1/revocations.
func (a *api) revoke(ctx context.Context, x *exchange) error {
	if _, err := x.query(); err != nil {
		return err
	}
	var req revocationJSON
	if err := x.object(&req, "token_id, user, issued_before, expires and reason"); err != nil {
		return err
	}
	x.noteRevocation(req)
	r := auth.Revocation{TokenID: req.TokenID, User: req.User, Reason: req.Reason, By: x.who()}
	var err error
	if r.IssuedBefore, err = timeOf("issued_before", req.IssuedBefore, 1); err != nil {
		return err
	}
	if r.Expires, err = timeOf("expires", req.Expires, 1000); err != nil {
		return err
	}
	now := time.Now()
	if r.User != "" && r.TokenID == "" && r.IssuedBefore.IsZero() {
		// A token says in whole seconds when it was issued: one of this second is revoked.
		r.IssuedBefore = now.Truncate(time.Second).Add(time.Second)
	}
	checked := r
	if checked.Expires.IsZero() { // it is filled in so that it fits
		checked.Expires = now.Add(time.Hour)
		if checked.IssuedBefore.After(checked.Expires) {
			checked.Expires = checked.IssuedBefore
		}
	}
	if err := checked.Validate(now); err != nil {
		return fieldProblem(err)
	}
	done, err := a.deps.Trust.Revoke(ctx, r)
	if err != nil {
		return trustError(err)
	}
	return x.answerWith(http.StatusCreated, "revoked", showRevocation(done))
}

// restore serves DELETE /v1/revocations.
func (a *api) restore(ctx context.Context, x *exchange) error {
	params, err := x.query("token_id", "user", "everybody")
	if err != nil {
		return err
	}
	if len(params) != 1 || params.Has("everybody") && params.Get("everybody") != "true" {
		return badInput("query", "must be one of token_id=, user= and everybody=true")
	}
	r := auth.Revocation{TokenID: params.Get("token_id"), User: params.Get("user")}
	x.noteRevocation(revocationJSON{TokenID: r.TokenID, User: r.User})
	for name, most := range map[string]int{"token_id": auth.MaxTokenIDBytes, "user": auth.MaxSubjectBytes} {
		if value := params.Get(name); params.Has(name) && (value == "" || len(value) > most) {
			return badInput(name, "must have 1 to "+strconv.Itoa(most)+" bytes")
		}
	}
	if err := a.deps.Trust.Restore(ctx, r); err != nil {
		return trustError(err)
	}
	return x.answer("restored", showRevocation(r).revocationJSON)
}
