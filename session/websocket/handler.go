package websocket

import (
	"bufio"
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
)

// readBuffer is gorilla's during the handshake, in bytes.
const readBuffer = 256

// Handler upgrades requests and hands the connections to the registry.
type Handler struct {
	// Static after New.
	registry *session.Registry
	log      *slog.Logger
	upgrader websocket.Upgrader
	choices  []choice // the first is for clients that offer no subprotocol
	plain    parsers
	deflate  parsers

	frames    sync.Pool // of *bytes.Buffer, for what clients send
	inflaters sync.Pool // of *inflater
}

// choice is what a client can choose by subprotocol.
type choice struct {
	subprotocol       string
	plain, compressed *speech
}

// New returns the handler of GET /v1/ws.
func New(registry *session.Registry, logger *slog.Logger) *Handler {
	above := registry.Config().CompressAbove
	h := newHandler(registry, logger, registry.Config().MaxFrame)
	text := newCodec(protocol.JSON{}, opText, session.SlotWebSocketJSON)
	binary := newCodec(protocol.Protobuf{}, opBinary, session.SlotWebSocketProtobuf)
	h.choices = []choice{
		h.offer(protocol.SubprotocolJSON, text, newDeflated(text, above, session.SlotDeflateJSON)),
		h.offer(protocol.SubprotocolProtobuf, binary, newDeflated(binary, above, session.SlotDeflateProtobuf)),
	}
	return h
}

func (h *Handler) offer(subprotocol string, codec, deflated wireCodec) choice {
	return choice{subprotocol, &speech{h, codec, &h.plain}, &speech{h, deflated, &h.deflate}}
}

func newHandler(registry *session.Registry, logger *slog.Logger, limit int) *Handler {
	return &Handler{
		registry: registry, log: logger,
		plain:   parsers{limit: int64(limit)},
		deflate: parsers{limit: int64(limit), deflate: true},
		upgrader: websocket.Upgrader{
			ReadBufferSize: readBuffer,
			// Nothing is written through gorilla; without a pool it would keep a buffer.
			WriteBufferPool: &sync.Pool{}, WriteBufferSize: readBuffer,
			HandshakeTimeout: registry.Config().CloseTimeout,
			Error: func(w http.ResponseWriter, _ *http.Request, status int, reason error) {
				session.WriteHTTPStatus(w, status, reason.Error())
			},
			CheckOrigin:       func(*http.Request) bool { return true }, // checked before, for an answer in JSON
			EnableCompression: true,                                     // of what negotiate has left
		},
	}
}

// keep takes a buffer back; one that had to be large was an exception.
func (h *Handler) keep(buf *bytes.Buffer) {
	const most = 1 << 20
	if buf.Cap() <= most {
		h.frames.Put(buf)
	}
}

func (h *Handler) inflate(dst, message *bytes.Buffer, limit int64) error {
	z, ok := h.inflaters.Get().(*inflater)
	if !ok {
		z = &inflater{}
	}
	defer h.inflaters.Put(z)
	return z.inflate(dst, message, limit)
}

func (h *Handler) buffer() *bytes.Buffer {
	buf, ok := h.frames.Get().(*bytes.Buffer)
	if !ok {
		return new(bytes.Buffer)
	}
	buf.Reset()
	return buf
}

// ServeHTTP does the handshake. It returns when the connection is upgraded or
// refused: 400 for a bad request, 401 and 403, 426 for one that is no WebSocket
// handshake, 503 when the node is full or draining.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	shake, err := h.check(w, r)
	if err != nil {
		h.registry.Rejected(err)
		if !errors.Is(err, errAnswered) {
			session.WriteHTTPError(w, err)
		}
		return
	}
	slot, err := h.registry.AdmitFrom(session.WebSocket, r, shake.Claims.Subject)
	if err != nil {
		session.WriteHTTPError(w, err)
		return
	}
	chosen, upgrader := h.choices[0], h.upgrader
	if offered := websocket.Subprotocols(r); len(offered) > 0 && chosen.subprotocol != "" {
		chosen = h.choose(offered)
		upgrader.Subprotocols = []string{chosen.subprotocol}
	}
	speaks := chosen.plain
	if negotiate(r.Header, h.registry.Config().CompressAbove > 0) {
		speaks = chosen.compressed
	}
	ws, err := upgrader.Upgrade(hijacker{w}, r, nil)
	if err != nil {
		slot.Release()
		h.registry.Rejected(err)
		h.log.Debug("websocket upgrade failed", slog.Any("err", err))
		return
	}
	shake.Slot = slot
	h.start(ws.NetConn(), speaks, shake)
}

// choose returns the first of the offered subprotocols that is spoken here; check has
// seen that there is one.
func (h *Handler) choose(offered []string) choice {
	for _, name := range offered {
		for _, c := range h.choices {
			if c.subprotocol == name {
				return c
			}
		}
	}
	return h.choices[0]
}

// spoken lists the subprotocols.
func (h *Handler) spoken() []string {
	var names []string
	for _, c := range h.choices {
		if c.subprotocol != "" {
			names = append(names, c.subprotocol)
		}
	}
	return names
}

// errAnswered: the response was written.
var errAnswered = errors.New("websocket: handshake answered")

func (h *Handler) check(w http.ResponseWriter, r *http.Request) (session.Handshake, error) {
	var none session.Handshake
	if !websocket.IsWebSocketUpgrade(r) {
		w.Header().Set("Upgrade", "websocket")
		session.WriteHTTPStatus(w, http.StatusUpgradeRequired, "this is a WebSocket endpoint; connect with a WebSocket client")
		return none, errAnswered
	}
	if v := r.Header.Get("Sec-Websocket-Version"); v != "13" {
		w.Header().Set("Sec-WebSocket-Version", "13")
		return none, session.BadRequest("Sec-WebSocket-Version", "%.16q is not supported, must be 13", v)
	}
	if _, err := h.registry.AllowPage(r); err != nil {
		return none, err
	}
	spoken := h.spoken()
	known := func(name string) bool { return slices.Contains(spoken, name) }
	if offered := websocket.Subprotocols(r); len(offered) > 0 && len(spoken) > 0 && !slices.ContainsFunc(offered, known) {
		return none, session.BadRequest("Sec-WebSocket-Protocol", "none of %.128q is supported; offer %s, or none",
			strings.Join(offered, ", "), strings.Join(spoken, " or "))
	}
	if err := h.registry.Await(r); err != nil {
		return none, err
	}
	claims, given, err := h.registry.Handshake(r)
	if err != nil && (given || !errors.Is(err, auth.ErrMissing)) {
		return none, err
	}
	return session.Handshake{
		Claims: claims, Given: given, Told: given && session.HasToken(r), Browser: r.Header.Get("Origin") != "",
		Peer: h.registry.PeerOf(r),
	}, nil
}

// hijacker finds the connection under whatever middleware wrapped the writer.
type hijacker struct{ http.ResponseWriter }

// Hijack implements http.Hijacker.
func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(h.ResponseWriter).Hijack()
}
