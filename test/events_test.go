package test_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
)

// eventStream is an SSE connection.
type eventStream struct {
	follower
	lines *bufio.Reader
	id    string // the token to come back with
}

// events opens an event stream; last is the Last-Event-ID, "" for none.
func (s *site) events(query, last string) *eventStream {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	s.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/v1/events?"+query, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header = s.authorization()
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if err == nil {
				err = conn.SetDeadline(time.Now().Add(deadline))
			}
			return conn, err
		},
	}}
	resp, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		s.t.Fatalf("GET /v1/events?%s: %d %s", query, resp.StatusCode, text)
	}
	e := &eventStream{lines: bufio.NewReader(resp.Body)}
	e.t, e.read = s.t, e.next
	e.close = func() { _ = resp.Body.Close() }
	return e
}

// next reads one event and the token that comes with it.
func (e *eventStream) next() protocol.Event {
	e.t.Helper()
	name, data := "message", ""
	for {
		line, err := e.lines.ReadString('\n')
		if err != nil {
			e.t.Fatalf("event stream: %v", err)
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case field == "event":
			name = value
		case field == "data":
			data = value
		case field == "id":
			e.id = value
		case line == "\n" && data != "":
			var ev protocol.Event
			if err := json.Unmarshal(fmt.Appendf(nil, "{%q:%s}", name, data), &ev); err != nil {
				e.t.Fatalf("event %s: %v in %s", name, err, data)
			}
			return ev
		}
	}
}
