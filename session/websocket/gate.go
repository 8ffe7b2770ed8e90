package websocket

import "encoding/binary"

// gate lets whole messages and control frames through to the parser, and holds back
// what is unfinished, so that the parser never waits and keeps nothing of a
// connection. Its zero value is ready. It belongs to the reading side.
//
// A header in which it finds something wrong it passes on, for the parser to refuse;
// what the parser would take, it keeps.
type gate struct {
	held *held // nil while nothing is unfinished
}

// held is an unfinished message: whole frames, then one that is cut off.
type held struct {
	buf   []byte
	whole int // bytes of buf that are whole frames
	size  int // payload of those
}

// passed is what a gate lets through.
type passed struct {
	frames   []byte // in the order in which they take effect
	messages int    // that end in frames
	shared   bool   // frames are part of what was received
	broken   bool   // what follows frames, or the last of them, breaks a rule
	flood    bool   // a message has too many bytes of frames for its payload
}

// rules are what the parser enforces, as far as the gate must know.
type rules struct {
	limit   int  // of a message's payload, in bytes, compressed if it is
	deflate bool // permessage-deflate was negotiated
}

// most is how many bytes of frames may be held: a message as long as it may be, in
// fragments of a handful of bytes.
func (r rules) most() int { return 2*r.limit + 4096 }

// take looks at what was received, p, and returns what is whole. Every byte is
// copied at most twice, whatever the fragments.
func (g *gate) take(p []byte, r rules) passed {
	if g.held == nil {
		out, rest := pass(p, r)
		if len(rest) == 0 || out.broken {
			return out
		}
		g.held = &held{buf: append(make([]byte, 0, len(rest)), rest...)}
		more := g.advance(r)
		if len(more.frames) > 0 || more.broken {
			more.frames = append(append(make([]byte, 0, len(out.frames)+len(more.frames)), out.frames...), more.frames...)
			more.messages += out.messages
			return more
		}
		out.flood = more.flood
		return out
	}
	g.held.buf = append(g.held.buf, p...)
	return g.advance(r)
}

// pass is the usual case: the unfragmented frames that p begins with.
func pass(p []byte, r rules) (out passed, rest []byte) {
	out.shared = true
	at := 0
	for at < len(p) {
		f := parseFrame(p[at:], r, false, 0)
		if f.broken {
			out.broken = true
			at += f.header
			break
		}
		if f.size == 0 || !f.final {
			break
		}
		if !f.control {
			out.messages++
		}
		at += f.size
	}
	out.frames = p[:at]
	return out, p[at:]
}

// advance lets through what is whole of what is held. Control frames between the
// fragments of a message go before it: they take effect at once.
func (g *gate) advance(r rules) (out passed) {
	h := g.held
	in, begin, to, from := h.buf, 0, h.whole, h.whole // the message is in[begin:to]; from is looked at next
	for from < len(in) {
		f := parseFrame(in[from:], r, to > begin, h.size)
		if f.broken {
			out.frames = append(append(out.frames, in[begin:to]...), in[from:from+f.header]...)
			out.broken, g.held = true, nil
			return out
		}
		if f.size == 0 {
			break
		}
		if f.control {
			out.frames = append(out.frames, in[from:from+f.size]...)
			from += f.size
			continue
		}
		if to < from {
			copy(in[to:], in[from:from+f.size])
		}
		to, from, h.size = to+f.size, from+f.size, h.size+f.payload
		if f.final {
			out.messages++
			if out.frames == nil && from == len(in) {
				out.frames, g.held = in[begin:to], nil // nobody else has it
				return out
			}
			out.frames = append(out.frames, in[begin:to]...)
			begin, to, h.size = from, from, 0
		}
	}
	g.keep(in, begin, to, from)
	out.flood = g.held != nil && len(g.held.buf) > r.most()
	return out
}

// keep holds the unfinished message in[begin:to] and the cut-off frame in[from:].
func (g *gate) keep(in []byte, begin, to, from int) {
	if to < from {
		to += copy(in[to:], in[from:])
		in, from = in[:to], to-(len(in)-from)
	}
	if begin == len(in) {
		g.held = nil
		return
	}
	h := g.held
	h.whole = from - begin
	h.buf = in
	if begin > 0 { // little is left, so that a long message's buffer does not stay
		h.buf = append(make([]byte, 0, len(in)-begin), in[begin:]...)
	}
}

// frame is one frame's header as the gate sees it.
type frame struct {
	header  int // bytes of the header; 0 of one that the parser is not to see
	size    int // bytes of the whole frame; 0 if it is not all there
	payload int
	final   bool
	control bool
	broken  bool
}

const (
	finBit, rsv1Bit  = 0x80, 0x40
	reservedBits     = 0x30
	maskBit          = 0x80
	opContinuation   = 0
	firstControl     = 0x8
	lastControl      = 0xa
	lastData         = 2
	maskBytes        = 4
	length16         = 126
	length64         = 127
	shortestFrame    = 2 + maskBytes
	opcodeBits       = 0x0f
	lengthBits       = 0x7f
	extended16Length = 2
	extended64Length = 8
)

// parseFrame reads the header at the beginning of b. inside says that a message has
// begun, of which payload bytes so far are whole.
func parseFrame(b []byte, r rules, inside bool, payload int) (f frame) {
	if len(b) < 2 {
		return f
	}
	opcode, length := b[0]&opcodeBits, int(b[1]&lengthBits)
	f.final, f.control = b[0]&finBit != 0, opcode >= firstControl
	f.header = shortestFrame
	f.broken = b[0]&reservedBits != 0 || b[1]&maskBit == 0 || opcode > lastControl || opcode > lastData && opcode < firstControl
	compressed := b[0]&rsv1Bit != 0
	// Two rules that gorilla does not know: a close frame has no code or a whole one, and
	// only a message's first frame says that it is compressed.
	half := opcode == opClose&opcodeBits && length == 1
	if half || compressed && (f.control || opcode == opContinuation) {
		return frame{broken: true}
	}
	switch {
	case f.control:
		f.broken = f.broken || !f.final || length > maxControl
	case opcode == opContinuation:
		f.broken = f.broken || !inside
	default:
		f.broken = f.broken || inside || compressed && !r.deflate
	}
	switch length {
	case length16:
		f.header += extended16Length
		if len(b) >= f.header {
			length = int(binary.BigEndian.Uint16(b[2:]))
		}
	case length64:
		f.header += extended64Length
		if len(b) >= f.header {
			n := binary.BigEndian.Uint64(b[2:])
			length = int(min(n, 1<<40))
		}
	}
	if len(b) < f.header {
		f.header = len(b) // enough for a parser that refuses the first two bytes
		return f
	}
	if !f.control && payload+length > r.limit {
		f.broken = true
	}
	f.payload = length
	if len(b)-f.header >= length {
		f.size = f.header + length
	}
	return f
}
