package test_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/cmd"
	"github.com/rivulet-rt/rivulet/protocol"
)

// Bad input, in every way there is to send it: each is refused with a reason that
// names what is wrong, nothing is stored, and the node goes on.

// complaints fails the test where a node logs an error: bad input is none of its own.
type complaints struct {
	slog.Handler
	t *testing.T
}

func (c complaints) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelError
}

func (c complaints) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		r.Message += " " + a.String()
		return true
	})
	c.t.Errorf("the node logged: %s", r.Message)
	return nil
}

func (c complaints) WithAttrs([]slog.Attr) slog.Handler { return c }

// strict starts a node that lets in who has a token. It allows everything in t,
// nowhere and default:x; nowhere is not configured.
func strict(t *testing.T) *local {
	t.Helper()
	const key = "0123456789abcdefghijklmnopqrstuvwxyz"
	sum := sha256.Sum256([]byte(key))
	all := []auth.Action{auth.Subscribe, auth.Publish, auth.History, auth.Presence, auth.Manage}
	cfg := localConfig(t, func(ns *cmd.NamespaceConfig) { ns.MaxMessageBytes = 4 << 10 })
	cfg.Dev = false
	cfg.Auth.Keys = []cmd.KeyConfig{{
		Name: "test", SHA256: hex.EncodeToString(sum[:]),
		Capabilities: map[string][]auth.Action{"t:>": all, "nowhere:>": all},
	}}
	n := startLogging(t, cfg, complaints{slog.DiscardHandler, t})
	n.token = key
	return n
}

// unharmed checks that nothing was stored and that the node goes on.
func (l *local) unharmed() {
	l.t.Helper()
	if got := l.history("t:a", ""); len(got) > 0 {
		l.t.Errorf("stored: %s", got)
	}
	l.publish("t:a", "fine")
	if got := l.history("t:a", "").String(); got != `"fine"` {
		l.t.Errorf("after all that the log has %s", got)
	}
}

func TestBadHTTP(t *testing.T) {
	t.Parallel()
	n := strict(t)
	long := strings.Repeat("x", 201)
	for name, c := range map[string]struct {
		method, path, body string
		header             http.Header
		status             int
		field              string
	}{
		"unknown namespace":           {path: messagesPath("nowhere:a"), body: `{"data":1}`, status: 404, field: "channel"},
		"history of unknown":          {method: "GET", path: messagesPath("nowhere:a"), status: 404, field: "channel"},
		"purge of unknown":            {method: "DELETE", path: messagesPath("nowhere:a"), status: 404, field: "channel"},
		"namespace in capitals":       {path: messagesPath("T:a"), body: `{"data":1}`, status: 400, field: "channel"},
		"no name":                     {path: messagesPath("t:"), body: `{"data":1}`, status: 400, field: "channel"},
		"empty segment":               {path: messagesPath("t:a..b"), body: `{"data":1}`, status: 400, field: "channel"},
		"pattern":                     {path: messagesPath("t:*"), body: `{"data":1}`, status: 400, field: "channel"},
		"control character":           {path: messagesPath("t:a\x01"), body: `{"data":1}`, status: 400, field: "channel"},
		"name that is not UTF-8":      {path: "/v1/channels/t:%FF/messages", body: `{"data":1}`, status: 400, field: "channel"},
		"name too long":               {path: messagesPath("t:" + long), body: `{"data":1}`, status: 400, field: "channel"},
		"too many segments":           {path: messagesPath("t:" + strings.Repeat("a.", 16) + "a"), body: `{"data":1}`, status: 400, field: "channel"},
		"no body":                     {path: messagesPath("t:a"), status: 400, field: "body"},
		"half a body":                 {path: messagesPath("t:a"), body: `{"data":`, status: 400, field: "body"},
		"not JSON":                    {path: messagesPath("t:a"), body: `data=1`, status: 400, field: "body"},
		"not an object":               {path: messagesPath("t:a"), body: `[{"data":1}]`, status: 400, field: "body"},
		"something behind":            {path: messagesPath("t:a"), body: `{"data":1}{"data":2}`, status: 400, field: "body"},
		"no data":                     {path: messagesPath("t:a"), body: `{}`, status: 400, field: "data"},
		"bad data":                    {path: messagesPath("t:a"), body: `{"data":nil}`, status: 400, field: "data"},
		"lone surrogate":              {path: messagesPath("t:a"), body: `{"data":"\ud800"}`, status: 400, field: "data"},
		"surrogates the wrong way":    {path: messagesPath("t:a"), body: `{"data":"\udc00\ud800"}`, status: 400, field: "data"},
		"data that is not UTF-8":      {path: messagesPath("t:a"), body: "{\"data\":\"\xff\"}", status: 400, field: "data"},
		"too deep":                    {path: messagesPath("t:a"), body: `{"data":` + strings.Repeat("[", 65) + strings.Repeat("]", 65) + `}`, status: 400, field: "data"},
		"bad base64":                  {path: messagesPath("t:a"), body: `{"data_base64":"!"}`, status: 400, field: "data_base64"},
		"both kinds of data":          {path: messagesPath("t:a"), body: `{"data":1,"data_base64":"AA=="}`, status: 400, field: "data_base64"},
		"unknown field":               {path: messagesPath("t:a"), body: `{"data":1,"tll":5}`, status: 400, field: "tll"},
		"bad key":                     {path: messagesPath("t:a"), body: `{"data":1,"idempotency_key":"a b"}`, status: 400, field: "idempotency_key"},
		"bad header":                  {path: messagesPath("t:a"), body: `{"data":1,"headers":{"a b":"c"}}`, status: 400, field: "headers"},
		"data too large":              {path: messagesPath("t:a"), body: `{"data":"` + strings.Repeat("x", 5<<10) + `"}`, status: 413, field: "data"},
		"body too large":              {path: messagesPath("t:a"), body: `{"data":"` + strings.Repeat("x", 9<<20) + `"}`, status: 413, field: "body"},
		"not said to be JSON":         {path: messagesPath("t:a"), body: `{"data":1}`, header: http.Header{"Content-Type": {"text/plain"}}, status: 415, field: "Content-Type"},
		"unknown parameter":           {path: messagesPath("t:a") + "?ttl=5", body: `{"data":1}`, status: 400, field: "ttl"},
		"empty batch":                 {path: "/v1/messages", body: `{"messages":[]}`, status: 400, field: "messages"},
		"bad message in a batch":      {path: "/v1/messages", body: `{"messages":[{"channel":"t:a","data":1},{"channel":"t:a","data":"\ud800"}]}`, status: 400, field: "messages[1].data"},
		"bad position":                {method: "GET", path: messagesPath("t:a") + "?after=nonsense", status: 400, field: "after"},
		"long position":               {method: "GET", path: messagesPath("t:a") + "?after=" + long, status: 400, field: "after"},
		"position out of range":       {method: "GET", path: messagesPath("t:a") + "?before=abcde000-zzzzzzzzzzzz-1", status: 400, field: "before"},
		"limit out of range":          {method: "GET", path: messagesPath("t:a") + "?limit=1001", status: 400, field: "limit"},
		"bad order":                   {method: "GET", path: messagesPath("t:a") + "?order=newest", status: 400, field: "order"},
		"bad since":                   {method: "GET", path: messagesPath("t:a") + "?since=yesterday", status: 400, field: "since"},
		"unknown path":                {path: "/v1/channel/t:a", body: `{"data":1}`, status: 404},
		"wrong method":                {method: "PUT", path: messagesPath("t:a"), body: `{"data":1}`, status: 405},
		"no token":                    {path: messagesPath("t:a"), body: `{"data":1}`, header: http.Header{"Authorization": nil}, status: 401},
		"wrong token":                 {path: messagesPath("t:a"), body: `{"data":1}`, header: http.Header{"Authorization": {"Bearer x"}}, status: 401},
		"a channel that is not ours":  {path: messagesPath("other:a"), body: `{"data":1}`, status: 403, field: "channel"},
		"event stream of nothing":     {method: "GET", path: "/v1/events", status: 400, field: "channel"},
		"event stream, bad channel":   {method: "GET", path: "/v1/events?channel=t:a..b", status: 400, field: "channel"},
		"event stream, unknown":       {method: "GET", path: "/v1/events?channel=nowhere:a", status: 404, field: "channel"},
		"event stream, not ours":      {method: "GET", path: "/v1/events?channel=other:a", status: 403, field: "channel"},
		"event stream, no token":      {method: "GET", path: "/v1/events?channel=t:a", header: http.Header{"Authorization": nil}, status: 401, field: "token"},
		"event stream, bad position":  {method: "GET", path: "/v1/events?channel=t:a&position=x", status: 400, field: "position"},
		"event stream, bad token":     {method: "GET", path: "/v1/events?channel=t:a", header: http.Header{"Last-Event-Id": {"x"}}, status: 400, field: "Last-Event-ID"},
		"event stream, long token":    {method: "GET", path: "/v1/events?channel=t:a", header: http.Header{"Last-Event-Id": {strings.Repeat("x", 5000)}}, status: 400, field: "Last-Event-ID"},
		"event stream, bad last":      {method: "GET", path: "/v1/events?channel=t:a&last=many", status: 400, field: "last"},
		"event stream, last of none":  {method: "GET", path: "/v1/events?channel=t:a&last=0", status: 400, field: "last"},
		"event stream, two starts":    {method: "GET", path: "/v1/events?channel=t:a&last=1&since=1", status: 400, field: "position"},
		"event stream, many channels": {method: "GET", path: "/v1/events?" + manyChannels(33), status: 400, field: "channel"},
		"event stream, two patterns":  {method: "GET", path: "/v1/events?channel=t:a.*&channel=t:b.*", status: 400, field: "channel"},
		"event stream, by POST":       {path: "/v1/events?channel=t:a", status: 405},
		"no WebSocket handshake":      {method: "GET", path: "/v1/ws", status: 426},
	} {
		if c.method == "" {
			c.method = http.MethodPost
		}
		r := n.call(c.method, c.path, c.header, []byte(c.body))
		if r.status != c.status || r.field() != c.field || r.Message == "" {
			t.Errorf("%s: answered %d on %q (%s), want %d on %q", name, r.status, r.field(), r.Message, c.status, c.field)
		}
		if r.status == http.StatusUnauthorized && r.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: 401 without WWW-Authenticate", name)
		}
	}
	n.unharmed()
}

func manyChannels(n int) string {
	q := url.Values{}
	for i := range n {
		q.Add("channel", fmt.Sprint("t:", i))
	}
	return q.Encode()
}

func TestBadCommands(t *testing.T) {
	t.Parallel()
	n := strict(t)
	k := n.socket()
	for name, c := range map[string]struct {
		frame string
		code  protocol.Code
		field string
	}{
		"unknown namespace":         {`"subscribe":{"channel":"nowhere:a"}`, 4404, "channel"},
		"publish there":             {`"publish":{"channel":"nowhere:a","data":1}`, 4404, "channel"},
		"not ours":                  {`"subscribe":{"channel":"other:a"}`, 4403, "channel"},
		"pattern that is not ours":  {`"subscribe":{"channel":"default:>"}`, 4403, "channel"},
		"bad channel":               {`"subscribe":{"channel":"t:a..b"}`, 4400, "channel"},
		"no channel":                {`"subscribe":{}`, 4400, "channel"},
		"publish to a pattern":      {`"publish":{"channel":"t:*","data":1}`, 4400, "channel"},
		"publish nothing":           {`"publish":{"channel":"t:a"}`, 4400, "data"},
		"too deep":                  {`"publish":{"channel":"t:a","data":` + strings.Repeat("[", 65) + strings.Repeat("]", 65) + `}`, 4400, "data"},
		"too large":                 {`"publish":{"channel":"t:a","data":"` + strings.Repeat("x", 5<<10) + `"}`, 4413, "data"},
		"bad key":                   {`"publish":{"channel":"t:a","data":1,"idempotency_key":"a b"}`, 4400, "idempotency_key"},
		"bad position":              {`"subscribe":{"channel":"t:a","position":"x"}`, 4400, "position"},
		"two positions of a stream": {`"subscribe":{"channel":"t:>","positions":["abcde000-1-1","abcde001-2-2"]}`, 4400, "positions"},
		"two starts":                {`"subscribe":{"channel":"t:a","last":1,"since":1}`, 4400, "position"},
		"last out of range":         {`"subscribe":{"channel":"t:a","last":1001}`, 4400, "last"},
		"since out of range":        {`"subscribe":{"channel":"t:a","since":-1}`, 4400, "since"},
		"unsubscribe from nothing":  {`"unsubscribe":{"channel":"t:a"}`, 4404, "channel"},
		"history of nowhere":        {`"history":{"channel":"nowhere:a"}`, 4404, "channel"},
		"history, bad position":     {`"history":{"channel":"t:a","after":"x"}`, 4400, "after"},
		"ack without a session":     {`"ack":{"channel":"t:a","offset":1}`, 4400, "channel"},
		"presence, not configured":  {`"presence":{"channel":"t:a"}`, 4422, "channel"},
		"presence of a pattern":     {`"presence":{"channel":"t:>"}`, 4400, "channel"},
		"presence, bad limit":       {`"presence":{"channel":"t:a","limit":1001}`, 4400, "limit"},
		"presence, bad after":       {`"presence":{"channel":"t:a","after":"x"}`, 4400, "after"},
		"presence, not ours":        {`"presence":{"channel":"other:a"}`, 4403, "channel"},
		"watch, not configured":     {`"subscribe":{"channel":"t:z","presence":true}`, 4422, "channel"},
		"watch a pattern":           {`"subscribe":{"channel":"t:z.*","presence":true}`, 4400, "presence"},
	} {
		k.id++
		if err := k.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"id":%d,%s}`, k.id, c.frame)); err != nil {
			t.Fatal(err)
		}
		ev := k.reply() // on the one connection, which goes on
		if ev.Error == nil || ev.Error.Code != c.code || ev.Error.Field != c.field || ev.Error.Message == "" || ev.Error.Temporary {
			t.Errorf("%s: %s, want error %d on %q", name, shown(ev), c.code, c.field)
		}
	}
	for name, c := range map[string]struct {
		kind  int
		frame string
		code  protocol.Code
	}{
		"not JSON":       {websocket.TextMessage, `{`, protocol.CloseBadFrame},
		"no command":     {websocket.TextMessage, `{"hello":1}`, protocol.CloseBadFrame},
		"not UTF-8":      {websocket.TextMessage, "{\"id\":1,\"publish\":{\"channel\":\"t:a\",\"data\":\"\xff\"}}", protocol.CloseInvalidText},
		"lone surrogate": {websocket.TextMessage, `{"id":1,"publish":{"channel":"t:a","data":"\ud800"}}`, protocol.CloseBadFrame},
		"binary":         {websocket.BinaryMessage, `{"id":1,"ping":{}}`, protocol.CloseBadFrame},
		"over the limit": {websocket.TextMessage, strings.Repeat(" ", 70_000), protocol.CloseTooLarge},
	} {
		k := n.socket()
		if err := k.WriteMessage(c.kind, []byte(c.frame)); err != nil {
			t.Fatal(err)
		}
		_ = k.SetReadDeadline(time.Now().Add(deadline))
		var err error
		for err == nil { // disconnect comes first, and says why in words
			_, _, err = k.ReadMessage()
		}
		closed, ok := errors.AsType[*websocket.CloseError](err)
		if !ok || protocol.Code(closed.Code) != c.code || protocol.Code(closed.Code).Reconnect() {
			t.Errorf("%s: %v, want close code %d", name, err, c.code)
		}
	}
	n.unharmed()
}

func TestBadCommandLines(t *testing.T) {
	t.Parallel()
	n := strict(t)
	type row struct {
		code int
		want string
		args []string
	}
	rows := map[string]row{
		"unknown namespace":   {1, "namespace", []string{"publish", "nowhere:a", "1"}},
		"not ours":            {1, "4403", []string{"publish", "other:a", "1"}},
		"bad channel":         {2, "empty segment", []string{"publish", "t:a..b", "1"}},
		"not JSON":            {2, "JSON", []string{"publish", "t:a", "{"}},
		"lone surrogate":      {2, "surrogate", []string{"publish", "t:a", `"\ud800"`}},
		"too large":           {1, "4413", []string{"publish", "t:a", `"` + strings.Repeat("x", 5<<10) + `"`}},
		"bad position":        {1, "position", []string{"subscribe", "t:a", "--position", "x"}},
		"not a URL":           {2, "--url", []string{"publish", "t:a", "1", "--url", "nowhere"}},
		"wrong token":         {1, "4401", []string{"publish", "t:a", "1", "--token", "wrong"}},
		"unknown flag":        {2, "--frobnicate", []string{"publish", "--frobnicate"}},
		"unknown command":     {2, "frobnicate", []string{"frobnicate"}},
		"no auth":             {2, "serve --dev", []string{"serve"}},
		"open to the world":   {2, "server.listen", []string{"serve", "--dev", "--listen", "0.0.0.0:0"}},
		"no such key":         {2, "broker.dta", []string{"check", "--dev", "--set", "broker.dta=x"}},
		"not a duration":      {2, "stop_timeout", []string{"check", "--dev", "--set", "server.stop_timeout=soon"}},
		"retention too short": {2, "max_age", []string{"check", "--dev", "--set", "namespaces={t: {max_age: 1ms}}"}},
		"two replicas":        {2, "replicas", []string{"check", "--dev", "--set", "broker.replicas=2"}},
	}
	for name, c := range rows {
		var out, stderr strings.Builder
		environ := []string{"RIVULET_URL=" + n.base, "RIVULET_TOKEN=" + n.token}
		code := cmd.Main(bounded(t), c.args, cmd.Streams{In: strings.NewReader(""), Out: &out, Err: &stderr, Environ: environ})
		if code != c.code || !strings.Contains(stderr.String(), c.want) || strings.Contains(stderr.String(), "panic") {
			t.Errorf("%s: exit code %d, want %d and %q:\n%s", name, code, c.code, c.want, stderr.String())
		}
	}
	n.unharmed()
}
