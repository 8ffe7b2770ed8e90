package test_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// connect opens a bare connection to the node at base.
func connect(t *testing.T, base string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{Timeout: deadline}).DialContext(t.Context(), "tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(2 * deadline))
	return conn
}

// raw sends a request as it is, and returns the status and the header of the answer, 0 where
// there is none.
func raw(t *testing.T, base, request string) (int, http.Header) {
	t.Helper()
	conn := connect(t, base)
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte(request)); err != nil {
		t.Logf("the request was not taken whole: %v", err) // the answer may have come before
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, nil
	}
	_ = resp.Body.Close()
	return resp.StatusCode, resp.Header
}

// TestAttackRequests: requests that two servers could read differently are refused, and so is
// what would put a line of the caller's own into an answer.
func TestAttackRequests(t *testing.T) {
	t.Parallel()
	f := besiege(t, "namespaces: {t: {max_bytes: 64MiB}}", "--dev")
	defer f.stands(t, 64<<20)
	const path, host = "/v1/channels/t:a/messages", "Host: 127.0.0.1\r\n"
	post := "POST " + path + " HTTP/1.1\r\n" + host + "Content-Type: application/json\r\n"
	get := "GET " + path + " HTTP/1.1\r\n" + host
	const body = `{"data":1}`
	for name, c := range map[string]struct {
		request string
		want    int
	}{
		"good":                          {post + "Content-Length: 10\r\n\r\n" + body, 201},
		"two lengths":                   {post + "Content-Length: 10\r\nContent-Length: 11\r\n\r\n" + body, 400},
		"a length with a sign":          {post + "Content-Length: +10\r\n\r\n" + body, 400},
		"a negative length":             {post + "Content-Length: -1\r\n\r\n", 400},
		"an unknown coding":             {post + "Transfer-Encoding: xchunked\r\n\r\n", 501},
		"chunked twice":                 {post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 501},
		"a tab before the colon":        {post + "Transfer-Encoding\t: chunked\r\n\r\n", 400},
		"a space before the colon":      {get + "X-A : b\r\n\r\n", 400},
		"a zero byte in a name":         {get + "X-\x00A: b\r\n\r\n", 400},
		"a zero byte in a value":        {get + "X-A: b\x00\r\n\r\n", 400},
		"a bare CR in a value":          {get + "X-A: b\rX-B: c\r\n\r\n", 400},
		"no Host":                       {"GET " + path + " HTTP/1.1\r\n\r\n", 400},
		"two Hosts":                     {get + "Host: other\r\n\r\n", 400},
		"a chunk's length in 20 digits": {post + "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFFFF\r\n", 400},
		"a chunk's length with a sign":  {post + "Transfer-Encoding: chunked\r\n\r\n-1\r\n", 400},
		"another method by a header":    {get + "X-HTTP-Method-Override: DELETE\r\nX-Method-Override: DELETE\r\n\r\n", 200},
		"another path by a header":      {get + "X-Original-URL: /metrics\r\nX-Rewrite-URL: /metrics\r\n\r\n", 200},
		"a header of 64 KiB":            {get + "X-A: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431},
		"10,000 headers":                {get + strings.Repeat("A: b\r\n", 10_000) + "\r\n", 431},
		"a path of 64 KiB":              {"GET /" + strings.Repeat("x", 64<<10) + " HTTP/1.1\r\n" + host + "\r\n", 431},
		"a body in gzip":                {post + "Content-Encoding: gzip\r\nContent-Length: 10\r\n\r\n" + body, 415},
		"CONNECT":                       {"CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: 169.254.169.254:80\r\n\r\n", 403},
		"TRACE":                         {"TRACE " + path + " HTTP/1.1\r\n" + host + "\r\n", 405},
		"a proxy's request":             {"GET http://169.254.169.254/latest/meta-data HTTP/1.1\r\n" + host + "\r\n", 403},
		"HTTP/2 without TLS":            {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404},
	} {
		if got, _ := raw(t, f.url(), c.request); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	v := visit(t, f.node)
	for name, id := range map[string]string{"quotes": `a"b`, "markup": "<script>", "long": strings.Repeat("x", 65), "encoded": "a%0d%0aX-B:c", "spaces": "a b"} {
		if _, head, _ := v.request(http.MethodGet, path, "", http.Header{"X-Request-Id": {id}}); head.Get("X-Request-Id") == id {
			t.Errorf("%s: the answer repeats the request's id %q", name, id)
		}
	}
	for name, c := range map[string]string{
		"a message's header":  `{"data":1,"headers":{"a":"b\r\nNats-Expected-Stream: x"}}`,
		"its name":            `{"data":1,"headers":{"a\r\nNats-Rollup":"all"}}`,
		"a name of the log's": `{"data":1,"headers":{"Nats-Rollup":"all\n"}}`,
		"an idempotency key":  `{"data":1,"idempotency_key":"a\r\nNats-Rollup: all"}`,
	} {
		if status, _, text := v.request(http.MethodPost, path, c, nil); status != http.StatusBadRequest {
			t.Errorf("line ends in %s: %d %s", name, status, text)
		}
	}
	eventsStayEvents(t, v)
}

// eventsStayEvents: no data makes an event of its own in a stream.
func eventsStayEvents(t *testing.T, v *visitor) {
	t.Helper()
	s := newSite(t, v.base)
	stream := s.events("channel=t:sse", "")
	for stream.next().Subscribed == nil {
	}
	for sent, want := range map[string]string{
		`"x\n\nevent: gap\ndata: {}\n\n"`: `"x\n\nevent: gap\ndata: {}\n\n"`,
		"[1,\r\n\r\nevent:2]":             "",
		"[1,\r\n\r\n2]":                   "[1,2]",
	} {
		status, _, text := v.request(http.MethodPost, messagesPath("t:sse"), fmt.Sprintf(`{"data":%s}`, sent), nil)
		if want == "" {
			if status != http.StatusBadRequest {
				t.Errorf("%q: %d %s", sent, status, text)
			}
			continue
		}
		ev := stream.next()
		for ev.Message == nil && ev.Gap == nil {
			ev = stream.next()
		}
		if ev.Message == nil || string(ev.Message.Data) != want {
			t.Errorf("%q came as %s", sent, shown(ev))
		}
	}
}
