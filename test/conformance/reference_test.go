package conformance_test

import (
	"compress/flate"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	gorilla "github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/test/conformance/internal/wire"
)

// reference echoes with a library that many use. It shows that the tables ask for
// nothing that cannot be done, and with a fault that they notice.
type reference struct {
	upgrader gorilla.Upgrader
	wg       sync.WaitGroup // handlers; a hijacked connection is not the server's any more
}

// gorillaKnown is where the library itself is wrong.
var gorillaKnown = map[string]string{
	"7.3.2 half a code":                         "taken for a close frame without a code",
	"a last block before the end":               "taken for the message's end",
	"RSV1 on a continuation":                    "not looked at where compression is on",
	"RSV1 on a continuation of a plain message": "not looked at where compression is on",
	"RSV1 on a ping":                            "not looked at where compression is on",
	"RSV1 on a pong":                            "not looked at where compression is on",
	"RSV1 on a close":                           "not looked at where compression is on",
}

func newReference() *reference {
	return &reference{upgrader: gorilla.Upgrader{
		EnableCompression: true,
		CheckOrigin:       func(*http.Request) bool { return true },
	}}
}

// startReference serves it over connections that are wrapped.
func startReference(t *testing.T, wrap func(net.Conn) net.Conn) target {
	t.Helper()
	ref := newReference()
	t.Cleanup(ref.wg.Wait) // after the server is closed
	return target{addr: serveWrapped(t, ref, wrap), path: "/", known: gorillaKnown}
}

func (ref *reference) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ref.wg.Add(1)
	defer ref.wg.Done()
	negotiate(r.Header)
	conn, err := ref.upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // answered
	}
	defer func() { _ = conn.Close() }()
	conn.SetReadLimit(echoLimit)
	for {
		kind, payload, err := receive(conn)
		if err != nil {
			ref.leave(conn, err)
			return
		}
		if err := conn.WriteMessage(kind, payload); err != nil {
			return
		}
	}
}

// negotiate leaves of the offers only what the library does: it would accept
// parameters that it does not heed.
func negotiate(h http.Header) {
	const answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	offers := strings.Join(h.Values("Sec-Websocket-Extensions"), ",")
	h.Del("Sec-Websocket-Extensions")
	for offer := range strings.SplitSeq(offers, ",") {
		if wire.CheckAnswer(offer, answer) == nil {
			h.Set("Sec-Websocket-Extensions", "permessage-deflate")
		}
	}
}

var (
	errNotText = errors.New("not UTF-8")
	errTooBig  = errors.New("too big")
)

// receive reads a message, with the checks that the library leaves to its user.
func receive(conn *gorilla.Conn) (int, []byte, error) {
	kind, r, err := conn.NextReader()
	if err != nil {
		return 0, nil, err
	}
	payload, err := io.ReadAll(io.LimitReader(r, echoLimit+1))
	switch {
	case err != nil:
		return 0, nil, err
	case len(payload) > echoLimit:
		return 0, nil, errTooBig
	case kind == gorilla.TextMessage && !utf8.Valid(payload):
		return 0, nil, errNotText
	}
	return kind, payload, nil
}

// leave says what the library has not said already, and lets it arrive.
func (ref *reference) leave(conn *gorilla.Conn, err error) {
	code := 0
	_, corrupt := errors.AsType[flate.CorruptInputError](err)
	switch {
	case errors.Is(err, errTooBig), errors.Is(err, gorilla.ErrReadLimit):
		code = gorilla.CloseMessageTooBig
	case errors.Is(err, errNotText), corrupt, errors.Is(err, io.ErrUnexpectedEOF):
		code = gorilla.CloseInvalidFramePayloadData
	}
	if code != 0 {
		_ = conn.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(code, ""), time.Now().Add(time.Second)) // fails if it was said
	}
	if half, ok := conn.NetConn().(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // fails only if closed
	}
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.Copy(io.Discard, conn.NetConn()) // until the peer has closed
}
