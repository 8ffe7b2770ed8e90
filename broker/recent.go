package broker

import "sync"

// recentSize is how many of a stream's latest messages are remembered, by their
// store time: 8 KB per stream.
const recentSize = 512

// recent remembers when a stream's latest messages were stored. The live feed
// fills it; a publisher finds there what its acknowledgement does not say.
type recent struct {
	mu      sync.Mutex // guards the following
	seqs    [recentSize]uint64
	times   [recentSize]int64
	waiting map[uint64]chan int64
	seen    seen
}

// seen is how far this node knows a stream to have been.
type seen struct {
	last uint64 // a message was stored there, whenever
	// at is the last message of which the store time is known, too.
	at   uint64
	time int64
}

func newRecent() *recent { return &recent{waiting: map[uint64]chan int64{}} }

func (r *recent) put(seq uint64, time int64) {
	at := seq % recentSize
	r.mu.Lock()
	r.seqs[at], r.times[at] = seq, time
	r.reachedLocked(seq, time)
	w := r.waiting[seq]
	delete(r.waiting, seq)
	r.mu.Unlock()
	if w != nil {
		w <- time // room for one, and sent once
	}
}

// time returns the store time of seq, or a channel on which it will come if the
// feed delivers it; the caller gives the channel back with forget.
func (r *recent) time(seq uint64) (int64, chan int64) {
	at := seq % recentSize
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seqs[at] == seq {
		return r.times[at], nil
	}
	if r.waiting[seq] != nil {
		return 0, make(chan int64) // another waits already, for a duplicate: never comes
	}
	w := make(chan int64, 1)
	r.waiting[seq] = w
	return 0, w
}

// known returns the store time of seq if it is remembered.
func (r *recent) known(seq uint64) (int64, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := seq % recentSize
	return r.times[at], r.seqs[at] == seq
}

func (r *recent) forget(seq uint64, w chan int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting[seq] == w {
		delete(r.waiting, seq)
	}
}

// reached notes that the stream had a message, of which this node may have told a
// client; time is 0 where it is not known.
func (r *recent) reached(seq uint64, time int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reachedLocked(seq, time)
}

func (r *recent) reachedLocked(seq uint64, time int64) {
	r.seen.last = max(r.seen.last, seq)
	if time != 0 && seq > r.seen.at {
		r.seen.at, r.seen.time = seq, time
	}
}

func (r *recent) reach() seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen
}

// clear forgets everything: the stream is another one.
func (r *recent) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.seqs[:])
	r.seen = seen{}
}
