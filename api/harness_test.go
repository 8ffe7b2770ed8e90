package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/rivulet-rt/rivulet/api"
	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeLog is a log in memory; the broker's own is tested with this API in test/.
type fakeLog struct {
	mu     sync.Mutex
	stored []*fanout.Publication
	purged []fanout.Channel
	atomic []int // sizes of atomic batches
	// waiting are schedules, cancelled what was taken from them.
	waiting   []fanout.Scheduled
	listed    fanout.ScheduleQuery
	cancelled []string
	// deleted are offsets.
	deleted []uint64
	asked   fanout.HistoryQuery
	page    fanout.HistoryPage
	refused string
	// errs answer by channel name, err everything; before runs first.
	errs   map[string]error
	err    error
	before func(ctx context.Context)
}

func (l *fakeLog) Publish(ctx context.Context, p *fanout.Publication) (fanout.Receipt, error) {
	if l.before != nil {
		l.before(ctx)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.errs[p.Channel.Name()]; err != nil || l.err != nil {
		return fanout.Receipt{}, errorsJoin(err, l.err)
	}
	for i, q := range l.stored {
		if p.Key != "" && p.Key == q.Key && p.Channel == q.Channel {
			return fanout.Receipt{Position: positionAt(uint64(i + 1)), Duplicate: true}, nil
		}
	}
	if p.DeliverAt != 0 {
		id := fmt.Sprintf("%026d", len(l.waiting))
		l.waiting = append(l.waiting, fanout.Scheduled{ID: id, Publication: p, Created: 1_732_290_000_123_456_789})
		return fanout.Receipt{Schedule: id, DeliverAt: p.DeliverAt}, nil
	}
	l.stored = append(l.stored, p)
	return fanout.Receipt{Position: positionAt(uint64(len(l.stored)))}, nil
}

func (l *fakeLog) PublishAll(ctx context.Context, list []*fanout.Publication) []fanout.Outcome {
	out := make([]fanout.Outcome, len(list))
	for i, p := range list {
		out[i].Receipt, out[i].Err = l.Publish(ctx, p)
	}
	return out
}

func (l *fakeLog) PublishAtomic(ctx context.Context, list []*fanout.Publication) ([]fanout.Receipt, error) {
	l.atomic = append(l.atomic, len(list))
	if l.err != nil {
		return nil, l.err
	}
	out := make([]fanout.Receipt, len(list))
	for i, p := range list {
		var err error
		if out[i], err = l.Publish(ctx, p); err != nil {
			l.stored = l.stored[:len(l.stored)-i]
			return nil, &fanout.BatchError{Index: i, Err: err}
		}
	}
	return out, nil
}

func (l *fakeLog) Purge(_ context.Context, c fanout.Channel) (fanout.Receipt, error) {
	l.purged = append(l.purged, c)
	return fanout.Receipt{Position: positionAt(99)}, l.err
}

func (l *fakeLog) Delete(_ context.Context, _ fanout.Channel, offset uint64) (fanout.Receipt, error) {
	if l.err != nil {
		return fanout.Receipt{}, l.err
	}
	before := slices.Contains(l.deleted, offset)
	l.deleted = append(l.deleted, offset)
	return fanout.Receipt{Position: positionAt(99), Duplicate: before}, nil
}

func (l *fakeLog) Schedules(_ context.Context, q fanout.ScheduleQuery) (fanout.SchedulePage, error) {
	l.listed = q
	page := fanout.SchedulePage{List: slices.Clone(l.waiting)}
	if len(page.List) > q.Limit {
		page.List, page.Next = page.List[:q.Limit], uint64(q.Limit)
	}
	return page, l.err
}

func (l *fakeLog) Schedule(_ context.Context, id string) (fanout.Scheduled, error) {
	for _, s := range l.waiting {
		if s.ID == id {
			return s, nil
		}
	}
	return fanout.Scheduled{}, fmt.Errorf("%w: %s", fanout.ErrNoSchedule, id)
}

func (l *fakeLog) Cancel(_ context.Context, id string) error {
	if l.err == nil {
		l.cancelled = append(l.cancelled, id)
	}
	return l.err
}

func (l *fakeLog) History(_ context.Context, q fanout.HistoryQuery) (fanout.HistoryPage, error) {
	l.asked = q
	return l.page, l.err
}

func (l *fakeLog) Ready(context.Context) error { return l.err }

func (l *fakeLog) Refused() string { return l.refused }

func errorsJoin(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func positionAt(offset uint64) fanout.Position {
	return fanout.Position{Stream: fanout.StreamTag([]byte("3fGk2a0b")), Offset: offset, Time: 1_732_290_000_123_456_789}
}

// harness is the API over a fakeLog. Every exchange through do is held against
// the specification.
type harness struct {
	handler http.Handler
	log     *fakeLog
	people  *fakePeople
	auth    api.Authenticator
	limits  api.Limits // nil: there are none
	cfg     api.Config
	reg     *prometheus.Registry
	logged  bytes.Buffer
	json    bool // it is logged as JSON

	sessions fakeSessions
	webhooks fakeWebhooks
	trust    fakeTrust
	origins  api.Origins
	doc      *openapi3.T
}

func newHarness(tb testing.TB, change ...func(*harness)) *harness {
	tb.Helper()
	h := &harness{log: &fakeLog{}, people: &fakePeople{}, auth: auth.Open{}, cfg: api.DefaultConfig(), reg: prometheus.NewPedanticRegistry(), doc: specification(tb)}
	for _, c := range change {
		c(h)
	}
	if err := h.cfg.Validate(); err != nil {
		tb.Fatal(err)
	}
	elsewhere := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, hijacker := w.(http.Hijacker)
			_, _ = io.WriteString(w, name+map[bool]string{true: " can hijack"}[hijacker])
		})
	}
	options := &slog.HandlerOptions{Level: slog.LevelDebug}
	var logs slog.Handler = slog.NewTextHandler(&h.logged, options)
	if h.json {
		logs = slog.NewJSONHandler(&h.logged, options)
	}
	h.handler = api.New(h.cfg, api.Deps{
		Publisher: h.log, Purger: h.log, Scheduler: h.log, Groups: h.log, History: h.log, Readiness: h.log, Auth: h.auth,
		Presence: h.people, Tail: h.people, Users: h.people,
		Metrics: h.reg, WebSocket: elsewhere("websocket"), Events: elsewhere("events"), Poll: elsewhere("poll"),
		Sessions: &h.sessions, SessionControl: &h.sessions, Webhooks: &h.webhooks, Trust: &h.trust, Limits: h.limits,
		Origins: h.origins,
	}, slog.New(logs), h.reg)
	return h
}

// loaded reads the specification once; nothing changes it.
var loaded = sync.OnceValues(func() (*openapi3.T, error) {
	text, err := os.ReadFile("openapi.yaml")
	if err != nil {
		return nil, err
	}
	return openapi3.NewLoader().LoadFromData(text)
})

func specification(tb testing.TB) *openapi3.T {
	tb.Helper()
	doc, err := loaded()
	if err != nil {
		tb.Fatal(err)
	}
	return doc
}

// response is what came back.
type response struct {
	status int
	header http.Header
	body   []byte
	// of a JSON body:
	code    int
	message string
	data    map[string]any // nil for null
	field   string         // data.field
}

func (h *harness) request(method, target, body string, headers ...string) *http.Request {
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, in)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
		if headers[i+1] == "" {
			r.Header.Del(headers[i])
		}
	}
	return r
}

func (h *harness) do(tb testing.TB, method, target, body string, headers ...string) response {
	tb.Helper()
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, h.request(method, target, body, headers...))
	res := response{status: w.Code, header: w.Header(), body: w.Body.Bytes()}
	if strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
		res.parse(tb)
	}
	h.checkAgainstSpec(tb, h.request(method, target, body, headers...), &res)
	return res
}

func (r *response) parse(tb testing.TB) {
	tb.Helper()
	var body struct {
		Code    int             `json:"code"`
		Message string          `json:"message"`
		Data    *map[string]any `json:"data"`
	}
	dec := json.NewDecoder(bytes.NewReader(r.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&body); err != nil {
		tb.Fatalf("body is not {code, message, data}: %v\n%s", err, r.body)
	}
	if body.Code != r.status || body.Message == "" {
		tb.Errorf("status %d with body %s", r.status, r.body)
	}
	r.code, r.message = body.Code, body.Message
	if body.Data != nil {
		r.data = *body.Data
		r.field, _ = r.data["field"].(string)
	}
}

// checkAgainstSpec validates the response, and the request if it was served.
func (h *harness) checkAgainstSpec(tb testing.TB, r *http.Request, res *response) {
	tb.Helper()
	routes, _ := h.handler.(chi.Routes)
	rctx := chi.NewRouteContext()
	if !routes.Match(rctx, r.Method, r.URL.EscapedPath()) {
		return // 404 and 405 are not of any operation
	}
	path := h.doc.Paths.Find(rctx.RoutePattern())
	if path == nil || path.GetOperation(r.Method) == nil {
		tb.Fatalf("%s %s is not in the specification", r.Method, rctx.RoutePattern())
	}
	params := map[string]string{}
	for _, name := range []string{"channel", "offset", "schedule", "group", "user", "session", "webhook", "key"} {
		var err error
		if params[name], err = url.PathUnescape(rctx.URLParam(name)); err != nil {
			tb.Fatal(err)
		}
	}
	in := &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params,
		Route:   &routers.Route{Spec: h.doc, Path: rctx.RoutePattern(), PathItem: path, Method: r.Method, Operation: path.GetOperation(r.Method)},
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, SkipSettingDefaults: true},
	}
	if res.status < 300 {
		if err := openapi3filter.ValidateRequest(tb.Context(), in); err != nil {
			tb.Errorf("%s %s was served and is outside the specification: %v", r.Method, r.URL, err)
		}
	}
	in.Options.ExcludeResponseBody = !strings.HasPrefix(res.header.Get("Content-Type"), "application/json") // YAML and text are strings
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: res.status, Header: res.header, Options: in.Options}
	if err := openapi3filter.ValidateResponse(tb.Context(), out.SetBodyBytes(res.body)); err != nil {
		tb.Errorf("%s %s: the response is outside the specification: %v\n%s", r.Method, r.URL, err, res.body)
	}
}

const lobby = "/v1/channels/chat:lobby/messages"

func (l *fakeLog) Groups(context.Context, fanout.Channel) ([]fanout.GroupInfo, error) {
	return []fanout.GroupInfo{l.group()}, l.err
}

func (l *fakeLog) Group(_ context.Context, _ fanout.Channel, group string) (fanout.GroupInfo, error) {
	if group != "crew" {
		return fanout.GroupInfo{}, fanout.ErrNoGroup
	}
	return l.group(), l.err
}

func (l *fakeLog) DeleteGroup(_ context.Context, _ fanout.Channel, group string) error {
	if group != "crew" {
		return fanout.ErrNoGroup
	}
	return l.err
}

func (*fakeLog) group() fanout.GroupInfo {
	return fanout.GroupInfo{Group: "crew", Created: 1_700_000_000_123_456_789, Pending: 7, InFlight: 3, Redelivered: 1, Waiting: 2}
}
