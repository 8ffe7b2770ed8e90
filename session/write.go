package session

import "io"

// Cork holds back what is taken from now on, until Uncork or until there is enough
// for one write, so that it leaves together.
func (o *Outbound) Cork() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.corked = o.state == outboundOpen
}

// Uncork lets go what was held back.
func (o *Outbound) Uncork() {
	o.mu.Lock()
	o.corked = false
	o.leaveLocked()
	o.unlock()
}

// Writable says that a direct wire may have room again.
func (o *Outbound) Writable() {
	o.mu.Lock()
	if !o.blocked {
		o.mu.Unlock()
		return
	}
	o.blocked = false
	o.leaveLocked()
	o.unlock()
}

// leaveLocked writes what waits, or sees to it that somebody does.
func (o *Outbound) leaveLocked() {
	switch {
	case o.pending == nil || o.wire == nil:
	case !o.direct:
		o.startFlusherLocked()
	case !o.blocked:
		o.writeLocked()
	}
}

// writeOneLocked writes a frame before which nothing waits.
func (o *Outbound) writeOneLocked(frame []byte) {
	n := o.tryLocked(frame)
	if n == len(frame) || o.state == outboundClosed {
		return
	}
	b := o.batchLocked()
	b.frames, b.begun = append(b.frames, frame[n:]), n > 0
	o.bytes += len(frame) - n + frameOverhead
	if n >= maxWrite {
		o.writeLocked() // it was cut at that, not by the wire
		return
	}
	o.blocked = true
}

// writeLocked writes to a direct wire until nothing waits or it takes no more.
func (o *Outbound) writeLocked() {
	b := o.pending
	g := gatherer{buffers: o.buffers}
	defer g.release()
	for len(b.frames) > 0 {
		_, chunk := g.gather(b.frames)
		chunk = chunk[:min(len(chunk), maxWrite)]
		n := o.tryLocked(chunk)
		if o.state == outboundClosed {
			return
		}
		o.takenLocked(n)
		if n < len(chunk) {
			o.blocked = true
			break
		}
	}
	if o.bytes <= o.buffers.limits.Soft/4 {
		o.wakeLocked()
	}
	if len(b.frames) > 0 {
		return
	}
	o.pending = nil
	o.buffers.put(b)
	if o.state == outboundFinishing {
		o.state, o.final = outboundClosed, true
		o.wakeLocked()
	}
}

// tryLocked makes one write. If it fails, the buffer is closed.
func (o *Outbound) tryLocked(p []byte) int {
	n, err := o.wire.(DirectWriter).TryWrite(p[:min(len(p), maxWrite)])
	if err != nil {
		o.abortLocked()
		return 0
	}
	o.written += uint64(n)
	return n
}

// takenLocked takes the first n bytes off what waits.
func (o *Outbound) takenLocked(n int) {
	b := o.pending
	done := 0
	for done < len(b.frames) {
		f := b.frames[done]
		if n < len(f) {
			b.frames[done], b.begun = f[n:], b.begun || n > 0
			o.bytes -= n
			break
		}
		n -= len(f)
		o.bytes -= len(f) + frameOverhead
		b.begun = false
		done++
	}
	left := copy(b.frames, b.frames[done:])
	clear(b.frames[left:])
	b.frames = b.frames[:left]
}

// gatherer copies frames together. It has room for that while somebody writes, not
// while frames wait: the room would be most of what a slow client costs.
type gatherer struct {
	buffers *Buffers
	room    *[maxWrite]byte // nil until it is needed
}

// gather returns the first n frames as one chunk, valid until the next call: copied
// together while they fit in one write, or the first alone, as it is.
func (g *gatherer) gather(frames [][]byte) (n int, chunk []byte) {
	if len(frames) == 1 || len(frames[0])+len(frames[1]) > maxWrite {
		return 1, frames[0]
	}
	if g.room == nil {
		g.room, _ = g.buffers.rooms.Get().(*[maxWrite]byte)
	}
	if g.room == nil {
		g.room = new([maxWrite]byte)
	}
	chunk = g.room[:0]
	for n < len(frames) && len(chunk)+len(frames[n]) <= maxWrite {
		chunk = append(chunk, frames[n]...)
		n++
	}
	return n, chunk
}

func (g *gatherer) release() {
	if g.room != nil {
		g.buffers.rooms.Put(g.room)
		g.room = nil
	}
}

func (o *Outbound) startFlusherLocked() {
	if o.flushing {
		return
	}
	o.flushing = true
	o.flushed = make(chan struct{})
	go o.flush(o.wire.(io.Writer), o.flushed) // by Wire's contract; End waits for it
}

// flush writes to a wire on which that may wait. It ends when nothing waits.
func (o *Outbound) flush(wire io.Writer, done chan struct{}) {
	defer close(done)
	for {
		b := o.next()
		if b == nil {
			return
		}
		err := o.writeAll(wire, b)
		o.buffers.put(b)
		if err != nil {
			o.Abort()
			return
		}
	}
}

// next hands over all that waits; nil ends the flusher.
func (o *Outbound) next() *batch {
	o.mu.Lock()
	if b := o.pending; b != nil && o.state != outboundClosed {
		o.pending = nil
		o.mu.Unlock()
		return b
	}
	o.flushing = false
	if o.state == outboundFinishing {
		o.state, o.final = outboundClosed, true
		o.wakeLocked()
	}
	o.unlock()
	return nil
}

func (o *Outbound) writeAll(wire io.Writer, b *batch) error {
	g := gatherer{buffers: o.buffers}
	defer g.release()
	for frames := b.frames; len(frames) > 0; {
		n, chunk := g.gather(frames)
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

// wrote notes progress and reports whether what the flusher holds shall be left out.
func (o *Outbound) wrote(n, overhead int) (skip bool) {
	o.mu.Lock()
	o.bytes -= n + overhead
	o.written += uint64(n)
	if o.bytes <= o.buffers.limits.Soft/4 {
		o.wakeLocked()
	}
	skip = o.discard && o.pending != nil
	o.unlock()
	return skip
}

func (o *Outbound) skip(frames [][]byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range frames {
		o.bytes -= len(f) + frameOverhead
	}
}
