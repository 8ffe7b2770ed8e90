package demo

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/session"
)

// TokenLifetime is how long a token of the page lives: short, so that the page shows what
// refreshing one is.
const TokenLifetime = 2 * time.Minute

// Bounds of what the page asks for.
const (
	maxTokenBody = 4 << 10
	maxNameRunes = 32
)

// issuer marks the tokens that are ours to judge.
const issuer = "rivulet-demo"

// Authenticator turns a token, "" where none was sent, into claims.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (auth.Claims, error)
}

// Tokens mints tokens for the page's users and is the Authenticator that knows them. They
// are signed with a secret that ends with the process. They give names, not rights: a
// node that runs open asks nobody for a token. Its methods may be called concurrently.
type Tokens struct {
	hmac     auth.HMACConfig
	caps     auth.Capabilities
	verifier *auth.Verifier
	next     Authenticator
}

// NewTokens leaves every token that is not its own to next. revocations may be nil.
func NewTokens(next Authenticator, revocations auth.Revocations) (*Tokens, error) {
	t := &Tokens{hmac: auth.HMACConfig{Secret: auth.NewSecret(rand.Text() + rand.Text()), Issuer: issuer}, next: next}
	var err error
	t.verifier, err = auth.New(auth.Config{HMAC: t.hmac, MaxTokenLifetime: TokenLifetime}, auth.Services{Revocations: revocations})
	if err != nil {
		return nil, fmt.Errorf("demo: prepare tokens: %w", err)
	}
	look := []auth.Action{auth.Subscribe, auth.History, auth.Presence}
	all := append([]auth.Action{auth.Publish}, look...)
	// The feed's channel is the node's: its page says that what it shows comes from there.
	rights := map[string][]auth.Action{"chat:>": all, "demo:probe.*": all, FeedChannel: look}
	if t.caps, err = auth.NewCapabilities(rights); err != nil {
		return nil, fmt.Errorf("demo: prepare tokens: %w", err)
	}
	return t, nil
}

// Authenticate is that of auth.Verifier for tokens of the page, and next's for all others.
func (t *Tokens) Authenticate(ctx context.Context, token string) (auth.Claims, error) {
	if ours(token) {
		return t.verifier.Authenticate(ctx, token)
	}
	return t.next.Authenticate(ctx, token)
}

// ours reports whether a token says that it is the page's, which is not checked yet.
func ours(token string) bool {
	if len(token) > auth.MaxTokenBytes {
		return false
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return false
	}
	var says struct {
		Issuer string `json:"iss"`
	}
	return json.Unmarshal(payload, &says) == nil && says.Issuer == issuer
}

// wanted is whom a token is for.
type wanted struct {
	User string `json:"user"`
	Name string `json:"name"`
}

// meta is what others see of a user.
type meta struct {
	Name string `json:"name"`
}

func (w wanted) problem() error {
	if w.User == "" || len(w.User) > 64 || strings.ContainsFunc(w.User, func(r rune) bool { return r < '!' || r > '~' }) {
		return session.BadRequest("user", "must have 1 to 64 printable ASCII characters without space")
	}
	n := utf8.RuneCountInString(w.Name)
	if n < 1 || n > maxNameRunes || strings.TrimSpace(w.Name) == "" || strings.ContainsFunc(w.Name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return session.BadRequest("name", "must have 1 to %d characters, no control characters, and not only space", maxNameRunes)
	}
	return nil
}

// serve answers POST {"user","name"} with {"token","expires_in_ms"}. That the body must
// be JSON keeps pages of other origins from asking.
func (t *Tokens) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		session.WriteHTTPStatus(w, http.StatusMethodNotAllowed, "the method is not POST")
		return
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		session.WriteHTTPStatus(w, http.StatusUnsupportedMediaType, "Content-Type: must be application/json")
		return
	}
	var who wanted
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxTokenBody))
	if err == nil {
		err = json.Unmarshal(body, &who)
	}
	if err != nil {
		session.WriteHTTPStatus(w, http.StatusBadRequest, `body: must be JSON like {"user":"ann","name":"Ann"} of at most 4 KiB`)
		return
	}
	if err := who.problem(); err != nil {
		session.WriteHTTPError(w, err)
		return
	}
	token, err := t.mint(who)
	if err != nil {
		session.WriteHTTPError(w, err)
		return
	}
	type data struct {
		Token       string `json:"token"`
		ExpiresInMS int64  `json:"expires_in_ms"`
	}
	answer, err := json.Marshal(struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Data    data   `json:"data"`
	}{http.StatusOK, "token", data{token, TokenLifetime.Milliseconds()}})
	if err != nil {
		session.WriteHTTPError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(append(answer, '\n')) // the peer may be gone; there is nobody to tell
}

func (t *Tokens) mint(who wanted) (string, error) {
	info, err := json.Marshal(meta{who.Name})
	if err != nil {
		return "", fmt.Errorf("demo: mint a token: %w", err)
	}
	return auth.Mint(t.hmac, auth.Claims{
		Subject: who.User, Info: string(info), Capabilities: t.caps, ExpiresAt: time.Now().Add(TokenLifetime),
	})
}
