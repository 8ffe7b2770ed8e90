package cmd_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/cmd"
)

// specified reads the specification once; nothing changes it.
var specified = sync.OnceValues(func() (*openapi3.T, error) { return openapi3.NewLoader().LoadFromFile("../api/openapi.yaml") })

func specification(t testing.TB) *openapi3.T {
	t.Helper()
	doc, err := specified()
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// asSpecified holds an answer of a node against the specification.
func asSpecified(t testing.TB, req *http.Request, res *http.Response, body []byte) {
	t.Helper()
	doc := specification(t)
	asked := strings.Split(req.URL.EscapedPath(), "/")
	for path, item := range doc.Paths.Map() {
		op, params := item.GetOperation(req.Method), map[string]string{}
		segments := strings.Split(path, "/")
		fits := op != nil && len(segments) == len(asked)
		for i := 0; fits && i < len(segments); i++ {
			if name, ok := strings.CutPrefix(segments[i], "{"); ok {
				params[strings.TrimSuffix(name, "}")], _ = url.PathUnescape(asked[i])
				continue
			}
			fits = segments[i] == asked[i]
		}
		if !fits {
			continue
		}
		options := &openapi3filter.Options{
			AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, SkipSettingDefaults: true,
			ExcludeResponseBody: !strings.HasPrefix(res.Header.Get("Content-Type"), "application/json"), // YAML and text are strings
		}
		in := &openapi3filter.RequestValidationInput{
			Request: req, PathParams: params, Options: options,
			Route: &routers.Route{Spec: doc, Path: path, PathItem: item, Method: req.Method, Operation: op},
		}
		out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: res.StatusCode, Header: res.Header, Options: options}
		if err := openapi3filter.ValidateResponse(req.Context(), out.SetBodyBytes(body)); err != nil {
			t.Errorf("%s %s: %d is outside the specification: %v\n%s", req.Method, req.URL, res.StatusCode, err, body)
		}
		return
	}
	t.Errorf("%s %s is not in the specification", req.Method, req.URL)
}

// TestLimitsAnswerAsSpecified: a node answers who is over a limit with 429 and when to come
// back, at every operation that has one; callAs holds all answers against the specification.
func TestLimitsAnswerAsSpecified(t *testing.T) {
	cfg := guardedConfig(t)
	cfg.Limits.PublishesPerUser, cfg.Limits.ReadsPerCaller = 1, 100
	cfg.Limits.HandshakesPerIP, cfg.Limits.Exempt = 1, nil
	n := startNode(t, cfg)
	for name, ask := range map[string]struct{ method, target, body string }{
		"publish":   {"POST", "/v1/channels/chat:a/messages", `{"data":1}`},
		"batch":     {"POST", "/v1/messages", `{"messages":[{"channel":"chat:a","data":1}]}`},
		"broadcast": {"POST", "/v1/broadcast", `{"channels":["chat:a","chat:b"],"data":1}`},
		"history":   {"GET", "/v1/channels/chat:a/messages", ""},
		"events":    {"GET", "/v1/events?channel=chat:a", ""},
		"poll":      {"GET", "/v1/poll?channel=chat:a&timeout=0", ""},
		"ws":        {"GET", "/v1/ws", ""},
	} {
		token := mint(t, auth.Claims{Subject: name}, map[string][]auth.Action{"chat:>": auth.Actions()})
		refused := false
		for ctx := testContext(t); !refused && ctx.Err() == nil; {
			status, _ := callAs(t, n, ask.method, ask.target, token, ask.body)
			refused = status == http.StatusTooManyRequests
		}
		if !refused {
			t.Errorf("%s: never over the limit", name)
		}
	}
}

// TestHooksAnswerAsSpecified: a hook's no is 403 with its words, and a hook that gives no
// answer 503, at every operation that asks it.
func TestHooksAnswerAsSpecified(t *testing.T) {
	answers := map[string]string{"/no": `{"allow":false,"message":"not here"}`, "/nonsense": "nonsense"}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, answers[r.URL.Path])
	}))
	t.Cleanup(receiver.Close)
	cfg := guardedConfig(t)
	for namespace, path := range map[string]string{"chat": "/no", "other": "/nonsense"} {
		ns := cfg.Namespaces[namespace]
		ns.Hooks.Publish = cmd.HookConfig{URL: receiver.URL + path, Secret: auth.NewSecret(testSecret), Retries: -1}
		ns.Hooks.Subscribe = ns.Hooks.Publish
		cfg.Namespaces[namespace] = ns
	}
	n := startNode(t, cfg)
	for namespace, want := range map[string]int{"chat": http.StatusForbidden, "other": http.StatusServiceUnavailable} {
		for _, ask := range []struct{ method, target, body string }{
			{"POST", "/v1/channels/%s:a/messages", `{"data":1}`},
			{"POST", "/v1/messages", `{"messages":[{"channel":"%s:a","data":1},{"channel":"%[1]s:b","data":1}]}`},
			{"POST", "/v1/messages", `{"atomic":true,"messages":[{"channel":"%s:a","data":1}]}`},
			{"POST", "/v1/broadcast", `{"channels":["%s:a","%[1]s:b"],"data":1}`},
			{"GET", "/v1/events?channel=%s:a", ""},
			{"GET", "/v1/poll?timeout=0&channel=%s:a", ""},
		} {
			target, body := ask.target, ask.body
			if strings.Contains(target, "%s") {
				target = fmt.Sprintf(target, namespace)
			} else {
				body = fmt.Sprintf(body, namespace)
			}
			status, answer := callAs(t, n, ask.method, target, root(t), body)
			if status != want || want == http.StatusForbidden && !strings.Contains(answer, "not here") {
				t.Errorf("%s %s: %d %s, want %d", ask.method, target, status, answer, want)
			}
		}
	}
}

// TestKeysThatCannotBeHadAnswerAsSpecified: a token of an issuer whose keys were never fetched is
// neither good nor bad: every operation that needs one answers 503, and never 401.
func TestKeysThatCannotBeHadAnswerAsSpecified(t *testing.T) {
	away := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(away.Close)
	cfg := guardedConfig(t)
	cfg.Auth.HMAC.Issuer = "app"
	cfg.Auth.Tokens = []cmd.IssuerConfig{{Name: "idp", Issuer: "idp", Algorithms: []string{"ES256"}, JWKSURL: away.URL}}
	n := startNode(t, cfg)
	token, err := auth.Signer{Algorithm: "ES256", Key: newECKey(t), KeyID: "k", Issuer: "idp"}.Mint(auth.Claims{
		Subject: "ann", Capabilities: auth.Everything(), ExpiresAt: time.Now().Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	for name, need := range operations() {
		if need.action == "" {
			continue
		}
		asked++
		method, path, _ := strings.Cut(name, " ")
		if status, answer := callAs(t, n, method, inPath().Replace(path)+need.query, token, need.body); status != http.StatusServiceUnavailable {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
	if asked < 30 {
		t.Errorf("only %d operations were asked", asked)
	}
}

func newECKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
