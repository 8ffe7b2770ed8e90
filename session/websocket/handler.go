package websocket

import (
	"bufio"
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

// readBuffer holds what a connection has read ahead; longer frames are read past it.
const readBuffer = 256

// Handler upgrades requests and hands the connections to the registry.
type Handler struct {
	registry *session.Registry
	log      *slog.Logger
	upgrader websocket.Upgrader
	frames   sync.Pool // of *bytes.Buffer, for command frames
}

// New returns the handler of GET /v1/ws.
func New(registry *session.Registry, logger *slog.Logger) *Handler {
	return &Handler{
		registry: registry, log: logger,
		upgrader: websocket.Upgrader{
			ReadBufferSize: readBuffer,
			// Nothing is written through gorilla; without a pool it would keep a buffer.
			WriteBufferPool: &sync.Pool{}, WriteBufferSize: readBuffer,
			HandshakeTimeout: registry.Config().CloseTimeout,
			Error: func(w http.ResponseWriter, _ *http.Request, status int, reason error) {
				session.WriteHTTPStatus(w, status, reason.Error())
			},
			CheckOrigin: func(*http.Request) bool { return true }, // checked before, for an answer in JSON
		},
	}
}

// ServeHTTP does the handshake. It returns when the connection is upgraded or
// refused: 400 for a bad request, 401 and 403, 426 for one that is no WebSocket
// handshake, 503 when the node is full or draining.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	shake, err := h.check(w, r)
	if err != nil {
		h.registry.Rejected()
		if !errors.Is(err, errAnswered) {
			session.WriteHTTPError(w, err)
		}
		return
	}
	slot, err := h.registry.Admit(session.WebSocket)
	if err != nil {
		session.WriteHTTPError(w, err)
		return
	}
	guard := &guardedConn{}
	upgrader := h.upgrader
	if offered := websocket.Subprotocols(r); len(offered) > 0 {
		upgrader.Subprotocols = []string{protocol.SubprotocolJSON}
	}
	ws, err := upgrader.Upgrade(&hijacker{ResponseWriter: w, guard: guard}, r, nil)
	if err != nil {
		slot.Release()
		h.registry.Rejected()
		h.log.Debug("websocket upgrade failed", slog.Any("err", err))
		return
	}
	h.start(slot, ws, guard, shake)
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
	if allowed, _ := h.registry.Origins().Allow(r); !allowed {
		return none, session.Forbidden("Origin", "%.128q is not among the allowed origins (session.origins)", r.Header.Get("Origin"))
	}
	if offered := websocket.Subprotocols(r); len(offered) > 0 && !slices.Contains(offered, protocol.SubprotocolJSON) {
		return none, session.BadRequest("Sec-WebSocket-Protocol", "none of %.128q is supported; offer %s, or none",
			strings.Join(offered, ", "), protocol.SubprotocolJSON)
	}
	claims, given, err := h.registry.Handshake(r)
	if err != nil && (given || !errors.Is(err, auth.ErrMissing)) {
		return none, err
	}
	return session.Handshake{
		Claims: claims, Given: given, Told: given && session.HasToken(r), Browser: r.Header.Get("Origin") != "",
	}, nil
}

// hijacker gives gorilla the connection inside a guard.
type hijacker struct {
	http.ResponseWriter
	guard *guardedConn
}

// Hijack finds the connection under whatever middleware wrapped the writer.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.guard.Conn = conn
	return h.guard, rw, nil
}
