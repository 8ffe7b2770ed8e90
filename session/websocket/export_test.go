package websocket

import (
	"log/slog"
	"unsafe"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/socket"
)

// CodecForTest is the codec of rivulet.v1.json.
func CodecForTest() session.Codec {
	return newCodec(protocol.JSON{}, opText, session.SlotWebSocketJSON)
}

// Wire is a codec of package protocol.
type Wire = wire

// CodecsForTest are a subprotocol's codec and the one that compresses.
func CodecsForTest(w Wire, above int) (plain, deflated session.Codec) {
	opcode, slot, compressed := byte(opText), session.SlotWebSocketJSON, session.SlotDeflateJSON
	if w.Subprotocol() == protocol.SubprotocolProtobuf {
		opcode, slot, compressed = opBinary, session.SlotWebSocketProtobuf, session.SlotDeflateProtobuf
	}
	c := newCodec(w, opcode, slot)
	return c, newDeflated(c, above, compressed)
}

// Gate is a gate with its rules.
type Gate struct {
	Limit   int
	Deflate bool

	gate gate
}

// Passed is what a Gate lets through.
type Passed struct {
	Frames        []byte
	Messages      int
	Broken, Flood bool
}

func (g *Gate) rules() rules { return rules{limit: g.Limit, deflate: g.Deflate} }

// Take is gate.take.
func (g *Gate) Take(p []byte) Passed {
	out := g.gate.take(p, g.rules())
	return Passed{out.frames, out.messages, out.broken, out.flood}
}

// Most is rules.most.
func (g *Gate) Most() int { return g.rules().most() }

// Held is how many bytes the gate holds.
func (g *Gate) Held() int {
	if g.gate.held == nil {
		return 0
	}
	return len(g.gate.held.buf)
}

// Receiver is the reading side of a connection without a socket.
type Receiver struct{ c *conn }

// NewReceiver returns one that writes to d and gives the messages to got, which must
// not keep them.
func NewReceiver(r *session.Registry, d socket.Driver, limit int, deflate bool, got func(kind int, message []byte)) (*Receiver, error) {
	slot, err := r.Admit(session.WebSocket)
	if err != nil {
		return nil, err
	}
	h := newHandler(r, slog.New(slog.DiscardHandler), limit)
	c := &conn{speech: &speech{h, recorder{got}, &h.plain}}
	if deflate {
		c.speech.parsers = &h.deflate
	}
	c.Init(r, c.speech.codec, session.Handshake{Slot: slot}, c)
	c.Outbound().Start(d, nil)
	return &Receiver{c}, nil
}

// Receive does what a driver does with what arrives.
func (r *Receiver) Receive(p []byte) {
	if r.c.Receive(p) {
		r.c.Work()
	}
}

// Over reports that nothing more is read.
func (r *Receiver) Over() bool { return r.c.deaf }

// Ended is what a driver calls at the end.
func (r *Receiver) Ended(err error) { r.c.Ended(err) }

// End is the connection's.
func (r *Receiver) End() {
	r.c.End()
	r.c.Slot().Release()
}

// recorder is a codec that hands on what it receives.
type recorder struct {
	got func(kind int, message []byte)
}

func (recorder) Event(*protocol.Event) []byte                   { return nil }
func (recorder) Message(*fanout.Message) []byte                 { return nil }
func (recorder) Ping(bool) []byte                               { return control(opPing, nil) }
func (recorder) Close(code protocol.Code, reason string) []byte { return closeFrame(code, reason) }
func (r recorder) receive(_ *conn, kind int, frame []byte)      { r.got(kind, frame) }

// ConnSize is what a connection takes at its end of the wire, in bytes.
const ConnSize = unsafe.Sizeof(conn{})

// Drain is drain.
var Drain = drain
