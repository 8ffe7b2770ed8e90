package session

// DirectWriter is a Wire that can also write without waiting.
type DirectWriter interface {
	// TryWrite writes what the socket takes at once, in one system call, and returns
	// how many bytes; 0 also where it fails, which the next Write will tell. It is
	// called while no Write is under way.
	TryWrite(p []byte) int
}

// Cork holds back what is taken from now on, until Uncork or until there is enough
// for one write, so that it leaves together.
func (o *Outbound) Cork() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.corked = o.state == outboundOpen
}

// Uncork lets go what was held back: the caller writes it, as far as the wire takes
// it without waiting, and the flusher what is left. That spares a goroutine for
// nearly every delivery.
func (o *Outbound) Uncork() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.corked = false
	o.leaveLocked()
}

func (o *Outbound) leaveLocked() {
	if o.pending == nil || o.wire == nil || o.flushing {
		return
	}
	if o.direct == nil || o.state != outboundOpen || !o.writeLocked() {
		o.startLocked()
	}
}

// writeLocked writes what waits without waiting itself, and reports whether that
// was all.
func (o *Outbound) writeLocked() bool {
	b := o.pending
	frames := b.frames
	for len(frames) > 0 {
		_, chunk := b.gather(frames)
		chunk = chunk[:min(len(chunk), maxWrite)]
		n := o.direct.TryWrite(chunk)
		o.written += uint64(n)
		frames = o.takenLocked(frames, n)
		if n < len(chunk) {
			break
		}
	}
	if o.bytes <= o.limits.Soft/4 {
		o.wakeLocked()
	}
	if len(frames) == 0 {
		o.pending = nil
		o.buffers.put(b)
		return true
	}
	left := copy(b.frames, frames)
	clear(b.frames[left:])
	b.frames = b.frames[:left]
	return false
}

// takenLocked returns the frames without their first n bytes.
func (o *Outbound) takenLocked(frames [][]byte, n int) [][]byte {
	for n > 0 {
		f := frames[0]
		if n < len(f) {
			frames[0] = f[n:]
			o.bytes -= n
			break
		}
		n -= len(f)
		o.bytes -= len(f) + frameOverhead
		frames = frames[1:]
	}
	return frames
}
