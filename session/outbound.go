package session

import (
	"sync"
	"time"
)

// Wire is where an Outbound writes. It is either a DirectWriter, or an io.Writer whose
// Write may wait, which one goroutine at a time then calls; Close and a passed
// deadline must end a Write that waits. The methods may be called at any time.
type Wire interface {
	SetDeadline(t time.Time) error
	Close() error
}

// DirectWriter is a Wire that is written to without waiting.
type DirectWriter interface {
	// TryWrite writes what the wire takes at once and returns how many bytes. Where
	// that is not all, Outbound.Writable must be called when there may be room. An error
	// is final. It is called by one goroutine at a time.
	TryWrite(p []byte) (int, error)
}

// Owner is whose frames an Outbound holds. Its methods are called without a lock, by
// whoever has written, and must not wait.
type Owner interface {
	// Drained says that there is room again after a delivery was refused.
	Drained()
	// Finished says that the final frame is out.
	Finished()
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
// Frames leave in the order given, all that wait in as few writes as possible: a
// direct wire is written to by whoever brings a frame, as far as it takes it; another
// one by a goroutine that runs only while something waits. Taking a frame never
// blocks. All methods may be called concurrently.
type Outbound struct {
	// Static after Init.
	owner   Owner
	buffers *Buffers

	mu       sync.Mutex // guards the following
	pending  *batch     // nil when nothing waits
	bytes    int        // waiting or being written
	state    outboundState
	direct   bool // the wire is a DirectWriter
	corked   bool // what waits is held back
	blocked  bool // a direct wire has not taken all: it tells when there is room
	flushing bool // the flusher runs, or is about to
	starved  bool // a delivery was refused: call Drained when there is room
	discard  bool // finishing: what the flusher holds is left out
	final    bool // the final frame is out, and the owner does not know yet
	written  uint64
	wire     Wire          // nil until Start
	room     chan struct{} // closed when there is room or the end; nil if nobody waits
	flushed  chan struct{} // closed when the flusher has ended; nil if it never ran
	watch    watch
}

// Buffers are shared by the outbounds of a registry, so that an idle connection
// holds none.
type Buffers struct {
	limits Limits
	pool   sync.Pool // of *batch
	rooms  sync.Pool // of *[maxWrite]byte
}

// NewBuffers returns buffers of outbounds with the given limits.
func NewBuffers(l Limits) *Buffers { return &Buffers{limits: l} }

// batch is what waits.
type batch struct {
	frames [][]byte
	begun  bool // the first frame was written in part
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
	v.frames, v.begun = v.frames[:0], false
	b.pool.Put(v)
}

// Init makes a zero Outbound one that takes frames but writes none before Start.
func (o *Outbound) Init(b *Buffers, owner Owner) { o.buffers, o.owner = b, owner }

// Start gives the buffer its wire. head, if any, is written before everything else.
func (o *Outbound) Start(wire Wire, head []byte) {
	o.mu.Lock()
	o.wire = wire
	if o.state == outboundClosed {
		o.mu.Unlock()
		_ = wire.Close() // nobody will write
		return
	}
	_, o.direct = wire.(DirectWriter)
	if o.state == outboundFinishing {
		_ = wire.SetDeadline(time.Now().Add(o.buffers.limits.Close)) // fails only if closed
	}
	if head != nil {
		b := o.batchLocked()
		b.frames = append(b.frames, nil)
		copy(b.frames[1:], b.frames)
		b.frames[0] = head
		o.bytes += len(head) + frameOverhead
	}
	o.leaveLocked()
	o.unlock()
}

// Wire is what Start gave, nil before it.
func (o *Outbound) Wire() Wire {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.wire
}

// Deliver takes the parts of one frame, or nothing and returns false when the soft
// limit is reached or the buffer is closed. The parts are not copied and must not
// change.
func (o *Outbound) Deliver(parts ...[]byte) bool { return o.take(o.buffers.limits.Soft, parts...) }

// Push takes one frame that is no delivery, unless the hard limit is reached or
// the buffer is closed.
func (o *Outbound) Push(frame []byte) bool { return o.take(o.buffers.limits.Hard, frame) }

func (o *Outbound) take(limit int, parts ...[]byte) bool {
	o.mu.Lock()
	if o.bytes >= limit {
		o.leaveLocked() // it may have been held back until now
	}
	if o.state != outboundOpen || o.bytes >= limit {
		o.starved = o.state == outboundOpen // whoever writes next calls Drained
		o.mu.Unlock()
		return false
	}
	if len(parts) == 1 && o.idleLocked() {
		o.writeOneLocked(parts[0])
	} else {
		o.appendLocked(parts...)
	}
	o.unlock()
	return true
}

// idleLocked reports whether a frame can be written as it comes.
func (o *Outbound) idleLocked() bool {
	return o.direct && o.pending == nil && !o.corked && !o.blocked
}

func (o *Outbound) batchLocked() *batch {
	if o.pending == nil {
		o.pending = o.buffers.get()
	}
	return o.pending
}

func (o *Outbound) appendLocked(parts ...[]byte) {
	b := o.batchLocked()
	for _, p := range parts {
		b.frames = append(b.frames, p)
		o.bytes += len(p) + frameOverhead
	}
	if !o.corked || o.bytes >= maxWrite {
		o.leaveLocked()
	}
}

// Finish takes the last frame: what waits is written before it, unless discard
// leaves out what no write has begun, and nothing is taken any more. It reports
// whether the buffer was open. The write is bounded by Limits.Close.
func (o *Outbound) Finish(final []byte, discard bool) bool {
	o.mu.Lock()
	if o.state != outboundOpen {
		o.mu.Unlock()
		return false
	}
	o.state, o.discard, o.corked = outboundFinishing, discard, false
	if discard && o.pending != nil {
		o.discardLocked()
	}
	b := o.batchLocked()
	b.frames = append(b.frames, final)
	o.bytes += len(final) + frameOverhead
	o.wakeLocked()
	o.leaveLocked()
	if o.state == outboundFinishing && o.wire != nil {
		_ = o.wire.SetDeadline(time.Now().Add(o.buffers.limits.Close)) // fails only if closed
	}
	o.unlock()
	return true
}

// discardLocked leaves out what waits, but for the frame that was begun.
func (o *Outbound) discardLocked() {
	b := o.pending
	keep := 0
	if b.begun {
		keep = 1
	}
	for _, f := range b.frames[keep:] {
		o.bytes -= len(f) + frameOverhead
	}
	clear(b.frames[keep:])
	b.frames = b.frames[:keep]
}

// Abort closes the wire and does not wait. What waits is lost.
func (o *Outbound) Abort() {
	o.mu.Lock()
	o.abortLocked()
	o.mu.Unlock()
}

func (o *Outbound) abortLocked() {
	o.closeLocked()
	if o.wire != nil {
		_ = o.wire.Close() // it was open, or closed by its peer: nobody needs to know
	}
}

func (o *Outbound) closeLocked() {
	o.state = outboundClosed
	if o.pending != nil {
		o.buffers.put(o.pending)
		o.pending = nil
	}
	o.bytes = 0
	o.wakeLocked()
}

// End lets a final frame go out, closes the wire and waits for whoever writes.
// Without a Finish before, what waits is lost.
func (o *Outbound) End() {
	o.waitFinal()
	o.mu.Lock()
	o.abortLocked()
	flushed := o.flushed
	o.mu.Unlock()
	if flushed != nil {
		<-flushed
	}
}

// waitFinal waits for the final frame to go out, as long as Limits.Close.
func (o *Outbound) waitFinal() {
	var timeout <-chan time.Time
	for {
		o.mu.Lock()
		if o.state != outboundFinishing || o.wire == nil {
			o.mu.Unlock()
			return
		}
		room := o.roomLocked()
		o.mu.Unlock()
		if timeout == nil {
			timer := time.NewTimer(o.buffers.limits.Close)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-room:
		case <-timeout:
			return
		}
	}
}

// WaitRoom waits until less than the soft limit waits; false means that the
// buffer takes nothing any more.
func (o *Outbound) WaitRoom() bool {
	for {
		o.mu.Lock()
		if o.state != outboundOpen || o.bytes < o.buffers.limits.Soft {
			open := o.state == outboundOpen
			o.mu.Unlock()
			return open
		}
		room := o.roomLocked()
		o.mu.Unlock()
		<-room
	}
}

// HasRoom reports whether WaitRoom would return at once.
func (o *Outbound) HasRoom() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.state != outboundOpen || o.bytes < o.buffers.limits.Soft
}

// Open reports whether frames are taken.
func (o *Outbound) Open() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.state == outboundOpen
}

func (o *Outbound) roomLocked() <-chan struct{} {
	if o.room == nil {
		o.room = make(chan struct{})
	}
	return o.room
}

func (o *Outbound) wakeLocked() {
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
}

// unlock gives the lock back, then tells the owner what has come of it.
func (o *Outbound) unlock() {
	drained := o.starved && o.state == outboundOpen && o.wire != nil && o.bytes <= o.buffers.limits.Soft/4
	if drained {
		o.starved = false
	}
	finished := o.final
	o.final = false
	o.mu.Unlock()
	if drained {
		o.owner.Drained()
	}
	if finished {
		o.owner.Finished()
	}
}
