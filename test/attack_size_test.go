package test_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/protocol"
)

// TestAttackFrames: frames that are large, that become large, or that nest deeply end the
// connection with a code, or the command with an error, before they cost anything.
func TestAttackFrames(t *testing.T) {
	t.Parallel()
	f := besiege(t, "namespaces: {t: {max_bytes: 64MiB}}", "--dev")
	defer f.stands(t, 96<<20)
	const times = 20 // what is not given back adds up
	const large = 10 << 20
	nested := func(open, shut string, depth int) string {
		return strings.Repeat(open, depth) + "1" + strings.Repeat(shut, depth)
	}
	deep := nested("[", "]", 25_000)
	for name, c := range map[string]struct {
		dialer websocket.Dialer
		kind   int
		frame  string
		pieces bool
		want   int // to close with; 44.. is an error that leaves the connection open
	}{
		"10 MB of JSON":             {kind: websocket.TextMessage, frame: `{"id":1,"publish":{"channel":"t:a","data":"` + strings.Repeat("x", large) + `"}}`, want: 4203},
		"10 MB in pieces":           {kind: websocket.TextMessage, frame: strings.Repeat(" ", large), pieces: true, want: 4203},
		"10 MB of binary":           {kind: websocket.BinaryMessage, frame: strings.Repeat("\x00", large), want: 4203},
		"a bomb: 50 MB in 50 KB":    {dialer: websocket.Dialer{EnableCompression: true}, kind: websocket.TextMessage, frame: strings.Repeat(" ", 50_000_000), want: 4203},
		"a bomb of a command":       {dialer: websocket.Dialer{EnableCompression: true}, kind: websocket.TextMessage, frame: `{"id":1,"ping":{}` + strings.Repeat(" ", 50_000_000) + "}", want: 4203},
		"a bomb in Protobuf":        {dialer: websocket.Dialer{EnableCompression: true, Subprotocols: []string{protocol.SubprotocolProtobuf}}, kind: websocket.BinaryMessage, frame: strings.Repeat("\x00", 50_000_000), want: 4203},
		"groups in groups":          {dialer: websocket.Dialer{Subprotocols: []string{protocol.SubprotocolProtobuf}}, kind: websocket.BinaryMessage, frame: strings.Repeat("\x0b", 60_000), want: 4200},
		"a length without an end":   {dialer: websocket.Dialer{Subprotocols: []string{protocol.SubprotocolProtobuf}}, kind: websocket.BinaryMessage, frame: "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", want: 4200},
		"arrays 25,000 deep":        {kind: websocket.TextMessage, frame: `{"id":1,"publish":{"channel":"t:a","data":` + deep + `}}`, want: 4200},
		"objects 9,000 deep":        {kind: websocket.TextMessage, frame: `{"id":1,"publish":{"channel":"t:a","data":` + nested(`{"a":`, `}`, 9_000) + `}}`, want: 4200},
		"arrays 65 deep":            {kind: websocket.TextMessage, frame: `{"id":1,"publish":{"channel":"t:a","data":` + nested("[", "]", 65) + `}}`, want: 4400},
		"depth without an end":      {kind: websocket.TextMessage, frame: strings.Repeat("[", 60_000), want: 4200},
		"depth where no command is": {kind: websocket.TextMessage, frame: `{"id":1,"ping":` + nested("[", "]", 9_000) + `}`, want: 4200},
		"depth in an unknown field": {kind: websocket.TextMessage, frame: `{"id":1,"ping":{},"x":` + deep + `}`, want: 4200},
		"a filter 5,000 deep":       {kind: websocket.TextMessage, frame: `{"id":1,"subscribe":{"channel":"t:a","filter":"` + nested("(", ")", 5_000) + `"}}`, want: 4400},
		"a filter that multiplies":  {kind: websocket.TextMessage, frame: `{"id":1,"subscribe":{"channel":"t:a","filter":"` + strings.Repeat("[0,1,2,3,4,5,6,7,8,9].all(x, ", 8) + "true" + strings.Repeat(")", 8) + `"}}`, want: 4400},
	} {
		for range times {
			if got := thrown(t, f.url(), &c.dialer, c.kind, c.frame, c.pieces); got != c.want {
				t.Errorf("%s: %d, want %d", name, got, c.want)
				break
			}
		}
	}
}

// thrown sends a message on a connection of its own and returns the code that it ends with,
// or that of the error that answers it.
func thrown(t *testing.T, base string, d *websocket.Dialer, kind int, message string, pieces bool) int {
	t.Helper()
	d.HandshakeTimeout = deadline
	conn, resp, err := d.DialContext(t.Context(), "ws"+strings.TrimPrefix(base, "http")+"/v1/ws", nil)
	if err != nil {
		t.Fatal(err, resp)
	}
	_ = resp.Body.Close()
	defer func() { _ = conn.Close() }()
	_ = conn.SetReadDeadline(time.Now().Add(deadline))
	write := func() error {
		if !pieces {
			return conn.WriteMessage(kind, []byte(message))
		}
		w, err := conn.NextWriter(kind)
		if err != nil {
			return err
		}
		for rest := message; len(rest) > 0 && err == nil; rest = rest[min(1000, len(rest)):] {
			_, err = w.Write([]byte(rest[:min(1000, len(rest))]))
		}
		return err
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_ = write() // fails where the node has closed before it has read all
	}()
	defer func() {
		_ = conn.Close()
		<-sent
	}()
	for {
		_, text, err := conn.ReadMessage()
		if closed, ok := err.(*websocket.CloseError); ok { //nolint:errorlint // gorilla's own
			return closed.Code
		}
		if err != nil {
			t.Errorf("it ended without a code: %v", err)
			return 0
		}
		var ev struct {
			ID    int
			Error *struct{ Code int }
		}
		if json.Unmarshal(text, &ev) == nil && ev.ID != 0 {
			if ev.Error == nil {
				return 0
			}
			return ev.Error.Code
		}
	}
}

// TestAttackBodies: the same over HTTP.
func TestAttackBodies(t *testing.T) {
	t.Parallel()
	f := besiege(t, "namespaces: {t: {max_bytes: 64MiB}}", "--dev")
	defer f.stands(t, 160<<20)
	v := visit(t, f.node)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	if _, err := z.Write(make([]byte, 50<<20)); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	const most = 7 << 20 // below the most that a body may have
	path := messagesPath("t:a")
	for name, c := range map[string]struct {
		target, body string
		header       http.Header
		want         int
	}{
		"arrays without an end":        {path, `{"data":` + strings.Repeat("[", most), nil, 400},
		"objects without an end":       {path, strings.Repeat(`{"data":`, most/8), nil, 400},
		"arrays 100,000 deep":          {path, `{"data":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`, nil, 400},
		"depth in a header":            {path, `{"data":1,"headers":` + strings.Repeat(`{"a":`, 100_000) + `1` + strings.Repeat("}", 100_000) + `}`, nil, 400},
		"depth beside what is known":   {path, `{"data":1,"x":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`, nil, 400},
		"a batch of batches":           {"/v1/messages", strings.Repeat(`{"messages":[`, 100_000), nil, 400},
		"a batch of 3 million zeros":   {"/v1/messages", `{"messages":[` + strings.Repeat("0,", most/2-20) + `0]}`, nil, 400},
		"a million empty messages":     {"/v1/messages", `{"messages":[` + strings.Repeat("{},", most/3-20) + `{}]}`, nil, 400},
		"a million headers":            {path, `{"data":1,"headers":{"a":"b"` + strings.Repeat(`,"a":"b"`, most/8-20) + `}}`, nil, 400},
		"a million unknown fields":     {path, `{"data":1` + strings.Repeat(`,"a":1`, most/6-20) + `}`, nil, 400},
		"a million channels":           {"/v1/broadcast", `{"data":1,"channels":["t:a"` + strings.Repeat(`,"t:a"`, most/6-20) + `]}`, nil, 400},
		"20 MB":                        {path, `{"data":"` + strings.Repeat("x", 20<<20) + `"}`, nil, 413},
		"a bomb of gzip":               {path, bomb.String(), http.Header{"Content-Encoding": {"gzip"}}, 415},
		"a number of a million digits": {path, `{"data":1,"ttl":` + strings.Repeat("9", 1_000_000) + `}`, nil, 400},
	} {
		for range 5 {
			header := http.Header{"Expect": {"100-continue"}} // not to write what the node has refused
			maps.Copy(header, c.header)
			if got, _, text := v.request(http.MethodPost, c.target, c.body, header); got != c.want {
				t.Errorf("%s: %d %.200s, want %d", name, got, text, c.want)
				break
			}
		}
	}
	for name, target := range map[string]string{
		"deep":                "/v1/events?channel=t:a&filter=" + url.QueryEscape(strings.Repeat("(", 2000)+"true"+strings.Repeat(")", 2000)),
		"many channels":       "/v1/events?" + manyChannels(500),
		"a position of 8 KiB": fmt.Sprintf("/v1/poll?channel=t:a&position=%s", strings.Repeat("x", 8<<10)),
	} {
		if got, _, text := v.request(http.MethodGet, target, "", nil); got != http.StatusBadRequest {
			t.Errorf("%s: %d %.200s", name, got, text)
		}
	}
}
