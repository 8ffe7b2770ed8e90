package fanout

import (
	"runtime"
	"slices"
	"sync"
	"time"
)

// shard is one goroutine that writes to its share of the node's clients. It alone
// touches their cursors, so a channel's messages, a cursor's reads and a client's
// commands are ordered by its queue.
type shard struct {
	// Static after construction.
	hub   *Hub
	index int
	ready chan struct{} // size 1: something is queued
	// stopped is closed when run has ended.
	stopped chan struct{}

	mu     sync.Mutex // guards the following
	queue  []item
	live   int // itemMessage in queue, bounded by ShardQueue
	lagged map[*liveSource]struct{}

	// Owned by run.
	sources   map[*liveSource]*shardSource
	corked    []*Client
	sliced    []*shardSource // with something in their lane
	laned     int            // messages in all lanes, part of the bound ShardQueue
	solo      bool           // what is being handled brings a client one frame: nothing to gather
	delivered int            // since the metric was told
	turns     *turns         // of subscriptions with a rate; nil before the first
}

// turn is how many items a shard handles before what they brought leaves: enough to
// gather a burst for each client, few enough to wait for.
const turn = 32

// shardSource is a shard's part of a source's subscribers. Owned by run.
type shardSource struct {
	src *liveSource
	// pos is the end of what this shard was handed.
	pos Position
	// seq is the number of the source's news that pos includes; older news, queued
	// for an earlier subscriber, is skipped.
	seq uint64
	// caught is the same of the last time the shard had left messages out: a gap
	// queued before does not move pos back.
	caught  uint64
	cursors []*cursor
	// awake of them, in front, are visited by messages; the others wait for their turn.
	awake int
	lane  lane
	// epoch is raised by each gap: what was read before it proves nothing after it.
	epoch uint32
	// asides counts what of a loose pattern's late messages and gaps was handled.
	asides uint32
}

type itemKind uint8

const (
	itemMessage itemKind = iota // m, at offset; late if it lies before what was handed over
	itemGap                     // what lay between from and offset is gone
	itemFresh                   // nothing lies between pos and offset
	itemProven                  // the source's proofs up to the number in offset were found
	itemDo                      // do, whatever it is
)

type item struct {
	kind   itemKind
	late   bool
	seq    uint64 // of the source's news
	src    *liveSource
	m      *Message
	offset Position
	from   Position // where the source stood before; of what is late, its floor
	gap    *gap
	do     func()
}

// gap is what an itemGap tells beside its places.
type gap struct {
	reason string
	base   Position // up to here all that there was had been handed over
}

func newShard(h *Hub, index int) *shard {
	return &shard{
		hub: h, index: index, ready: make(chan struct{}, 1), stopped: make(chan struct{}),
		lagged: make(map[*liveSource]struct{}), sources: make(map[*liveSource]*shardSource),
	}
}

// offer queues news of a source. It never blocks: a shard that does not keep up
// loses the source's messages from here until it has drained its queue, and its
// cursors then catch up. Gaps, late messages and proofs, which catching up would not
// find, are few and are always taken. The caller holds the source's lock.
func (s *shard) offer(it item) {
	s.mu.Lock()
	inOrder := it.kind == itemMessage && !it.late
	if _, lagged := s.lagged[it.src]; lagged && (inOrder || it.kind == itemFresh) {
		s.mu.Unlock()
		return
	}
	if inOrder {
		if s.live >= s.hub.cfg.ShardQueue {
			s.lagged[it.src] = struct{}{}
			s.hub.metrics.shardOverflow.Inc()
			s.mu.Unlock()
			return
		}
		s.live++
	}
	s.queue = append(s.queue, it)
	s.mu.Unlock()
	s.wake()
}

// post queues work for the shard's goroutine. What is queued is bounded by what
// clients have asked: a command, a read or a drained buffer each.
func (s *shard) post(do func()) {
	s.mu.Lock()
	s.queue = append(s.queue, item{kind: itemDo, do: do})
	s.mu.Unlock()
	s.wake()
}

// later posts do after d, unless the hub ends before.
func (s *shard) later(d time.Duration, do func()) {
	s.hub.start(func() {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			s.post(do)
		case <-s.hub.ctx.Done():
		}
	})
}

func (s *shard) wake() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

func (s *shard) run() {
	defer close(s.stopped)
	var batch []item
	for {
		select {
		case <-s.ready:
		case <-s.clock():
		case <-s.hub.ctx.Done():
			return
		}
		for s.hub.ctx.Err() == nil {
			var lagged []*liveSource
			batch, lagged = s.take(batch)
			more := s.giveTurns()
			if len(batch) == 0 && len(lagged) == 0 && len(s.sliced) == 0 && !more {
				break
			}
			single := len(batch) == 1 && batch[0].kind == itemMessage
			for i := range batch {
				s.solo = single && len(s.sliced) == 0
				s.handle(&batch[i])
				batch[i] = item{}
				if i%turn == turn-1 {
					s.uncork()
					s.slice(false)
				}
			}
			for _, src := range lagged {
				s.catchUp(src)
			}
			s.uncork()
			if len(s.sliced) > 0 {
				s.slice(len(batch) <= 1 && len(lagged) == 0)
				// A crowd's writes leave no room for whoever brings the next messages, which
				// then come one by one, too late to leave together.
				runtime.Gosched()
			}
		}
	}
}

// uncork lets go what the turn gathered.
func (s *shard) uncork() {
	s.solo = false
	if s.delivered > 0 {
		s.hub.metrics.deliveries.Add(float64(s.delivered))
		s.delivered = 0
	}
	for i, c := range s.corked {
		c.corked = false
		c.sink.(Corker).Uncork()
		s.corked[i] = nil
	}
	s.corked = s.corked[:0]
}

// take swaps the queue for the emptied batch.
func (s *shard) take(batch []item) ([]item, []*liveSource) {
	const most = 4096 // a burst's buffer is not kept for ever
	if cap(batch) > most {
		batch = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	batch, s.queue = s.queue, batch[:0]
	s.live = s.laned
	var lagged []*liveSource
	for src := range s.lagged {
		lagged = append(lagged, src)
	}
	return batch, lagged
}

func (s *shard) handle(it *item) {
	if it.kind == itemDo {
		it.do()
		return
	}
	ss := s.sources[it.src]
	if ss == nil || it.seq <= ss.seq {
		return
	}
	if it.kind == itemProven { // to those that are behind: what is in the lane is not theirs
		ss.proven(it.offset.Offset)
		return
	}
	inOrder := it.kind == itemMessage && !it.late
	if inOrder && (len(ss.lane.items) > 0 || ss.awake > s.hub.cfg.SliceCursors) {
		s.queueUp(ss, it)
		return
	}
	s.finishLane(ss) // all else keeps its place among the messages
	ss.handle(it)
}

func (ss *shardSource) handle(it *item) {
	switch it.kind {
	case itemMessage:
		ss.message(it)
	case itemGap:
		ss.gap(it)
	case itemFresh:
		ss.fresh(it.from, it.offset)
	case itemProven, itemDo:
	}
}

// fresh moves the live cursors of a quiet source, which stood at from, to the end of its
// stream.
func (ss *shardSource) fresh(from, end Position) {
	ss.pos = end
	for _, c := range ss.cursors {
		if c.state != cursorLive || !c.sub.announced || end.Offset <= c.pos.Offset || c.lateWaits() {
			continue
		}
		if c.pos != from && c.pos.Stream != end.Stream {
			continue // by its own read it is in a log of which the source does not know yet
		}
		prior := c.prior()
		c.pos = end
		// A client without room gets a later one.
		c.sub.client.cork()
		_ = c.sub.client.sink.Notify(Notice{Kind: NoticePosition, Channel: c.sub.channel, Positions: []Position{end}, Prior: prior})
	}
}

// catchUp ends a source's lag: from now on the queue takes its messages again, and
// what was left out is read by each cursor.
func (s *shard) catchUp(src *liveSource) {
	src.mu.Lock()
	s.mu.Lock()
	delete(s.lagged, src)
	s.mu.Unlock()
	end, seq := src.last, src.seq
	src.mu.Unlock()
	ss := s.sources[src]
	if ss == nil {
		return
	}
	s.dropLane(ss) // what is in it is read again
	ss.caught = seq
	ss.pos = end // ss.seq stays: gaps and late messages that were queued meanwhile count
	for _, c := range ss.cursors {
		if c.state == cursorLive {
			c.state = cursorCatchingUp
		}
		c.step()
	}
}

// source returns the shard's part of src, declaring interest at its first use.
func (s *shard) source(src *liveSource) *shardSource {
	ss := s.sources[src]
	if ss == nil {
		ss = &shardSource{src: src}
		s.sources[src] = ss
		src.mu.Lock()
		src.wanted[s.index] = true
		ss.pos, ss.seq = src.last, src.seq
		if src.proofs != nil {
			ss.asides = src.proofs.asides
		}
		src.mu.Unlock()
	}
	return ss
}

func (ss *shardSource) move(from, to int) {
	ss.cursors[to] = ss.cursors[from]
	ss.cursors[to].index = to
}

func (ss *shardSource) add(c *cursor) {
	c.at, c.index = ss, len(ss.cursors)
	ss.cursors = append(ss.cursors, c)
	ss.wake(c)
}

// wake has messages visit c again, if they do not.
func (ss *shardSource) wake(c *cursor) {
	if c.index < ss.awake {
		return
	}
	ss.move(ss.awake, c.index)
	ss.cursors[ss.awake], c.index = c, ss.awake
	ss.awake++
}

// rest has messages leave c out. Not while they visit.
func (ss *shardSource) rest(c *cursor) {
	if c.index >= ss.awake {
		return
	}
	hole := ss.leaveAwake(c.index)
	ss.cursors[hole], c.index = c, hole
}

// leaveAwake moves a hole among those that are awake behind them, and returns it.
func (ss *shardSource) leaveAwake(hole int) int {
	if visited := ss.lane.visited; hole < visited { // what was visited stays in front
		ss.lane.visited = visited - 1
		ss.move(visited-1, hole)
		hole = visited - 1
	}
	ss.awake--
	if hole != ss.awake { // else the hole may hold a cursor that was just moved out of it
		ss.move(ss.awake, hole)
	}
	return ss.awake
}

// remove takes c out, and the source with its last cursor.
func (s *shard) remove(c *cursor) {
	ss := c.at
	hole := c.index
	if hole < ss.awake {
		hole = ss.leaveAwake(hole)
	}
	last := len(ss.cursors) - 1
	if hole != last { // else the hole may hold a cursor that was just moved out of it
		ss.move(last, hole)
	}
	ss.cursors = slices.Delete(ss.cursors, last, last+1)
	c.at = nil
	if len(ss.cursors) > 0 {
		return
	}
	s.dropLane(ss)
	delete(s.sources, ss.src)
	ss.src.mu.Lock()
	ss.src.wanted[s.index] = false
	ss.src.mu.Unlock()
}
