package demo_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/cmd/demo"
)

func post(h http.Handler, kind, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, demo.TokenPath, strings.NewReader(body))
	r.Header.Set("Content-Type", kind)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func handler(t testing.TB, tokens *demo.Tokens) http.Handler {
	t.Helper()
	site, err := demo.NewSite(tokens)
	if err != nil {
		t.Fatal(err)
	}
	return site.Over(http.NotFoundHandler())
}

func mint(t testing.TB, h http.Handler, body string) string {
	t.Helper()
	w := post(h, "application/json", body)
	var answer struct {
		Code int
		Data struct {
			Token     string
			ExpiresIn int64 `json:"expires_in_ms"`
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK || answer.Code != w.Code {
		t.Fatalf("status %d, %v: %s", w.Code, err, w.Body)
	}
	if got := answer.Data.ExpiresIn; got != demo.TokenLifetime.Milliseconds() {
		t.Errorf("expires_in_ms is %d", got)
	}
	return answer.Data.Token
}

func TestTokenNamesItsUser(t *testing.T) {
	tokens := newTokens(t)
	token := mint(t, handler(t, tokens), `{"user":"ann-1","name":"Ann \u2028<b>"}`)
	claims, err := tokens.Authenticate(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	var info struct{ Name string }
	if err := json.Unmarshal([]byte(claims.Info), &info); err != nil || claims.Subject != "ann-1" || info.Name != "Ann \u2028<b>" {
		t.Errorf("the claims are of %q with %s (%v)", claims.Subject, claims.Info, err)
	}
	for _, action := range []auth.Action{auth.Subscribe, auth.Publish, auth.History, auth.Presence} {
		if !claims.Allows(action, "chat:lobby") || !claims.Allows(action, "demo:probe.0badcafe") {
			t.Errorf("the page may not %s", action)
		}
		if claims.Allows(action, demo.FeedChannel) == (action == auth.Publish) {
			t.Errorf("whether the page may %s in the feed's channel is wrong", action)
		}
	}
	if claims.Allows(auth.Manage, "chat:lobby") || claims.Allows(auth.Publish, "default:x") || claims.Allows(auth.Publish, "demo:other") {
		t.Error("the token allows more than the page needs")
	}
}

func TestTokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := newTokens(t)
		token := mint(t, handler(t, tokens), `{"user":"ann","name":"Ann"}`)
		pass(demo.TokenLifetime + time.Second)
		if _, err := tokens.Authenticate(t.Context(), token); !errors.Is(err, auth.ErrExpired) {
			t.Errorf("after its end: %v", err)
		}
	})
}

// Another process, and so another secret.
func TestTokenOfBeforeIsRefused(t *testing.T) {
	old := mint(t, handler(t, newTokens(t)), `{"user":"ann","name":"Ann"}`)
	if _, err := newTokens(t).Authenticate(t.Context(), old); !errors.Is(err, auth.ErrInvalid) {
		t.Errorf("a token that another node signed: %v", err)
	}
}

// A node that runs open ignores tokens; those of an application under development too.
func TestOtherTokensAreNotJudged(t *testing.T) {
	secret := auth.NewSecret(strings.Repeat("s", 32))
	other, err := auth.Mint(auth.HMACConfig{Secret: secret, Issuer: "shop"}, auth.Claims{Subject: "bob", ExpiresAt: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{"", "x", "a.b.c", "..", other, strings.Repeat("x", auth.MaxTokenBytes+1)} {
		claims, err := newTokens(t).Authenticate(t.Context(), token)
		if err != nil || claims.Subject != "" || !claims.Allows(auth.Manage, "default:x") {
			t.Errorf("%.20q: %v, %q", token, err, claims.Subject)
		}
	}
}

func TestBadTokenRequests(t *testing.T) {
	h := handler(t, newTokens(t))
	for name, tc := range map[string]struct {
		kind, body string
		status     int
		says       string
	}{
		"no JSON type":  {"text/plain", `{"user":"ann","name":"Ann"}`, http.StatusUnsupportedMediaType, "application/json"},
		"no JSON":       {"application/json", `{`, http.StatusBadRequest, "body: "},
		"too large":     {"application/json", `{"user":"ann","name":"` + strings.Repeat("x", 5000) + `"}`, http.StatusBadRequest, "4 KiB"},
		"no user":       {"application/json", `{"name":"Ann"}`, http.StatusBadRequest, "user: "},
		"spaced user":   {"application/json", `{"user":"a b","name":"Ann"}`, http.StatusBadRequest, "user: "},
		"no name":       {"application/json", `{"user":"ann","name":"  "}`, http.StatusBadRequest, "name: "},
		"long name":     {"application/json", `{"user":"ann","name":"` + strings.Repeat("ü", 33) + `"}`, http.StatusBadRequest, "name: "},
		"control":       {"application/json", `{"user":"ann","name":"a\u0007"}`, http.StatusBadRequest, "name: "},
		"type of field": {"application/json", `{"user":1,"name":"Ann"}`, http.StatusBadRequest, "body: "},
	} {
		t.Run(name, func(t *testing.T) {
			w := post(h, tc.kind, tc.body)
			if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.says) {
				t.Errorf("status %d: %s", w.Code, w.Body)
			}
		})
	}
	if res := ask(t, h, http.MethodGet, demo.TokenPath); res.Code != http.StatusMethodNotAllowed || res.Header().Get("Allow") != "POST" {
		t.Errorf("GET: status %d, Allow %q", res.Code, res.Header().Get("Allow"))
	}
}
