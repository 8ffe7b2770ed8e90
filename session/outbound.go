package session

import (
	"sync"
	"time"
)

// Wire is where an Outbound writes: a net.Conn, or what stands for one. Write is
// called by one goroutine at a time; the other methods at any time. Close and a
// passed deadline must end a Write that blocks.
type Wire interface {
	Write(p []byte) (int, error)
	SetWriteDeadline(t time.Time) error
	Close() error
}

// Limits of one outbound buffer, in bytes of frames that wait and a fixed price
// for each. Each is exceeded by one frame at most.
type Limits struct {
	Soft  int           // deliveries are refused from here on
	Hard  int           // everything is
	Close time.Duration // bounds the last write
}

const (
	// frameOverhead is what a waiting frame costs beside its bytes.
	frameOverhead = 32
	// maxWrite bounds one write, so that progress shows and a cork of bytes in the
	// kernel stays small; frames are gathered up to it.
	maxWrite = 16 << 10
)

type outboundState uint8

const (
	outboundOpen      outboundState = iota
	outboundFinishing               // the final frame waits; nothing else is taken
	outboundClosed                  // the wire is closed, or the final frame is out
)

// Outbound is the buffer between whoever has frames for a client and its wire.
// Frames leave in the order given, all that wait in as few writes as possible. A
// goroutine writes only while something waits. Taking a frame never blocks and
// calls nothing back. All methods may be called concurrently.
type Outbound struct {
	// Static after NewOutbound.
	limits  Limits
	buffers *Buffers
	drained func()
	ended   func(error)
	flush   func() // o.run, made once so that starting it allocates nothing

	wg sync.WaitGroup // the flusher

	mu       sync.Mutex // guards the following
	wire     Wire       // nil until Start
	state    outboundState
	discard  bool   // finishing: what waits before the final frame is left out
	pending  *batch // nil when nothing waits
	bytes    int    // waiting or being written
	written  uint64 // bytes that the wire took
	flushing bool
	corked   bool          // what waits is held back
	direct   DirectWriter  // the wire, if it is one
	starved  bool          // a frame was refused: call drained when there is room
	room     chan struct{} // closed when there is room; nil if nobody waits

	watch watch // owned by Check's caller
}

// Buffers are shared by the outbounds of a registry, so that an idle connection
// holds none.
type Buffers struct{ pool sync.Pool }

// batch is what waits, and room to gather it in.
type batch struct {
	frames [][]byte
	room   []byte
}

func (b *Buffers) get() *batch {
	if v, ok := b.pool.Get().(*batch); ok {
		return v
	}
	return new(batch)
}

func (b *Buffers) put(v *batch) {
	const keep = 1024 // frames; a longer list was an exception
	if cap(v.frames) > keep {
		return
	}
	clear(v.frames)
	v.frames = v.frames[:0]
	b.pool.Put(v)
}

// NewOutbound returns a buffer that takes frames but writes none before Start.
// drained is called, from the flusher, when there is room again after a refusal;
// ended at most once, from the flusher: with nil when the final frame is out, or
// with the error of a write, the wire then being closed.
func NewOutbound(limits Limits, buffers *Buffers, drained func(), ended func(error)) *Outbound {
	o := &Outbound{limits: limits, buffers: buffers, drained: drained, ended: ended}
	o.flush = o.run
	return o
}

// Start gives the buffer its wire. head, if any, is written before everything else.
func (o *Outbound) Start(wire Wire, head []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state == outboundClosed {
		return
	}
	o.wire = wire
	o.direct, _ = wire.(DirectWriter)
	if o.state == outboundFinishing {
		_ = wire.SetWriteDeadline(time.Now().Add(o.limits.Close)) // fails only if closed
	}
	if head != nil {
		if o.pending == nil {
			o.pending = o.buffers.get()
		}
		o.pending.frames = append(o.pending.frames, nil)
		copy(o.pending.frames[1:], o.pending.frames)
		o.pending.frames[0] = head
		o.bytes += len(head) + frameOverhead
	}
	if o.pending != nil {
		o.startLocked()
	}
}

// Deliver takes the parts of one frame, or nothing and returns false when the soft
// limit is reached or the buffer is closed. The parts are not copied and must not
// change.
func (o *Outbound) Deliver(parts ...[]byte) bool { return o.take(o.limits.Soft, parts...) }

// Push takes one frame that is no delivery, unless the hard limit is reached or
// the buffer is closed.
func (o *Outbound) Push(frame []byte) bool { return o.take(o.limits.Hard, frame) }

func (o *Outbound) take(limit int, parts ...[]byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state != outboundOpen {
		return false
	}
	if o.bytes >= limit {
		o.starved = true
		if o.pending != nil && o.wire != nil {
			o.startLocked() // held back until now; it will call drained
		}
		return false
	}
	o.appendLocked(parts...)
	return true
}

func (o *Outbound) appendLocked(parts ...[]byte) {
	if o.pending == nil {
		o.pending = o.buffers.get()
	}
	for _, p := range parts {
		o.pending.frames = append(o.pending.frames, p)
		o.bytes += len(p) + frameOverhead
	}
	switch {
	case o.wire == nil:
	case !o.corked:
		o.startLocked()
	case o.bytes >= maxWrite:
		o.leaveLocked()
	}
}

func (o *Outbound) startLocked() {
	if !o.flushing {
		o.flushing = true
		o.wg.Add(1)
		go o.flush()
	}
}

// Finish takes the last frame: what waits is written before it, unless discard
// leaves out what the flusher has not begun, and nothing is taken any more. It
// reports whether the buffer was open. The write is bounded by Limits.Close.
func (o *Outbound) Finish(final []byte, discard bool) bool {
	o.mu.Lock()
	if o.state != outboundOpen {
		o.mu.Unlock()
		return false
	}
	o.state, o.discard, o.corked = outboundFinishing, discard, false
	if discard && o.pending != nil {
		for _, f := range o.pending.frames {
			o.bytes -= len(f) + frameOverhead
		}
		clear(o.pending.frames)
		o.pending.frames = o.pending.frames[:0]
	}
	o.appendLocked(final)
	o.wakeLocked()
	wire := o.wire
	o.mu.Unlock()
	if wire != nil {
		_ = wire.SetWriteDeadline(time.Now().Add(o.limits.Close)) // fails only if closed
	}
	return true
}

// Abort closes the wire and does not wait. What waits is lost.
func (o *Outbound) Abort() {
	if wire := o.close(); wire != nil {
		_ = wire.Close() // it was open, or closed by its peer: nobody needs to know
	}
}

// Wait waits for the flusher. It must follow Finish or Abort.
func (o *Outbound) Wait() { o.wg.Wait() }

// End lets a final frame go out, closes the wire and waits for the flusher.
// Without a Finish before, what waits is lost.
func (o *Outbound) End() {
	o.mu.Lock()
	finishing := o.state == outboundFinishing && o.wire != nil
	o.mu.Unlock()
	if finishing {
		o.wg.Wait()
	}
	o.Abort()
	o.wg.Wait()
}

func (o *Outbound) close() Wire {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.state = outboundClosed
	if o.pending != nil {
		o.buffers.put(o.pending)
		o.pending = nil
	}
	o.bytes = 0
	o.wakeLocked()
	return o.wire
}

// WaitRoom waits until less than the soft limit waits; false means that the
// buffer takes nothing any more.
func (o *Outbound) WaitRoom() bool {
	for {
		o.mu.Lock()
		if o.state != outboundOpen || o.bytes < o.limits.Soft {
			open := o.state == outboundOpen
			o.mu.Unlock()
			return open
		}
		if o.room == nil {
			o.room = make(chan struct{})
		}
		room := o.room
		o.mu.Unlock()
		<-room
	}
}

func (o *Outbound) wakeLocked() {
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
}

// run is the flusher: it ends when nothing waits.
func (o *Outbound) run() {
	defer o.wg.Done()
	for {
		b, wire := o.next()
		if b == nil {
			return
		}
		err := o.write(wire, b)
		o.buffers.put(b)
		if err != nil {
			o.Abort()
			o.ended(err)
			return
		}
	}
}

// next hands over all that waits.
func (o *Outbound) next() (*batch, Wire) {
	o.mu.Lock()
	if b := o.pending; b != nil && o.state != outboundClosed {
		o.pending = nil
		wire := o.wire
		o.mu.Unlock()
		return b, wire
	}
	o.flushing = false
	finished := o.state == outboundFinishing
	if finished {
		o.state = outboundClosed
	}
	o.mu.Unlock()
	if finished {
		o.ended(nil)
	}
	return nil, nil
}

func (o *Outbound) write(wire Wire, b *batch) error {
	for frames := b.frames; len(frames) > 0; {
		n, chunk := b.gather(frames)
		frames = frames[n:]
		rest := n * frameOverhead
		for len(chunk) > 0 {
			// A lone frame may be long: it is written in pieces, so that progress shows.
			piece := chunk[:min(len(chunk), maxWrite)]
			if _, err := wire.Write(piece); err != nil {
				return err
			}
			chunk = chunk[len(piece):]
			if o.wrote(len(piece), rest) && len(chunk) == 0 && len(frames) > 0 {
				o.skip(frames)
				return nil
			}
			rest = 0
		}
	}
	return nil
}

// gather returns the first n frames as one chunk: copied together while they fit
// in one write, or the first alone, as it is.
func (b *batch) gather(frames [][]byte) (n int, chunk []byte) {
	if len(frames) == 1 || len(frames[0])+len(frames[1]) > maxWrite {
		return 1, frames[0]
	}
	if b.room == nil {
		b.room = make([]byte, 0, maxWrite)
	}
	chunk = b.room
	for n < len(frames) && len(chunk)+len(frames[n]) <= maxWrite {
		chunk = append(chunk, frames[n]...)
		n++
	}
	return n, chunk
}

// wrote notes progress and reports whether what the flusher holds shall be left out.
func (o *Outbound) wrote(n, overhead int) (skip bool) {
	o.mu.Lock()
	o.bytes -= n + overhead
	o.written += uint64(n)
	low := o.bytes <= o.limits.Soft/4
	tell := low && o.starved && o.state == outboundOpen
	if tell {
		o.starved = false
	}
	if low {
		o.wakeLocked()
	}
	skip = o.discard && o.pending != nil
	o.mu.Unlock()
	if tell {
		o.drained()
	}
	return skip
}

func (o *Outbound) skip(frames [][]byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range frames {
		o.bytes -= len(f) + frameOverhead
	}
}
