package fanout

import "slices"

// lane is what a source's cursors on one shard have still to be handed, where that is
// done in slices. Messages that wait behind each other are handed over together, so
// that they leave in one write per client. Owned by the shard's goroutine.
type lane struct {
	items   []item
	head    int // the first of items that is not done
	pass    int // of them are being handed over, all of them messages in order
	visited int // cursors that have these
}

func (l *lane) waiting() []item { return l.items[l.head:] }

// drop takes out the first n that wait, and returns how many messages they were.
func (l *lane) drop(n int) (messages int) {
	done := l.waiting()[:n]
	for i := range done {
		if done[i].kind == itemMessage {
			messages++
		}
	}
	clear(done)
	const most = 1024 // a burst's buffer is not kept
	switch l.head += n; {
	case l.head < len(l.items) && l.head < most:
	case l.head < len(l.items):
		l.items, l.head = slices.Clone(l.waiting()), 0
	case cap(l.items) > most:
		l.items, l.head = nil, 0
	default:
		l.items, l.head = l.items[:0], 0
	}
	return messages
}

// queueUp puts news of a source into its lane.
func (s *shard) queueUp(ss *shardSource, it *item) {
	if len(ss.lane.waiting()) == 0 {
		s.sliced = append(s.sliced, ss)
	}
	ss.lane.items = append(ss.lane.items, *it)
	if it.kind == itemMessage {
		s.laned++
	}
}

// slice moves the cursors of one slice of one lane. alone says that the shard has
// handled no more than one item since the last.
func (s *shard) slice(alone bool) {
	if len(s.sliced) == 0 {
		return
	}
	ss := s.sliced[0]
	s.solo = alone && len(s.sliced) == 1 && len(ss.lane.waiting()) == 1
	s.sliced = slices.Delete(s.sliced, 0, 1)
	if done := ss.advanceLane(s.hub.cfg.SliceCursors); done > 0 {
		s.laned -= ss.lane.drop(done)
	}
	s.uncork()
	if len(ss.lane.waiting()) > 0 {
		s.sliced = append(s.sliced, ss) // the others have their turn first
	}
}

// advanceLane hands the next slice of so many cursors what it is due, and returns how
// many items all cursors have then.
func (ss *shardSource) advanceLane(size int) (done int) {
	l := &ss.lane
	if l.pass == 0 {
		if l.pass = ss.begin(); l.pass == 0 { // it is no message that can be sliced
			ss.handle(&l.waiting()[0])
			return 1
		}
	}
	pass := l.waiting()[:l.pass]
	for range min(size, len(ss.cursors)-l.visited) {
		c := ss.cursors[l.visited]
		l.visited++
		for i := range pass {
			c.message(&pass[i])
		}
	}
	if l.visited < len(ss.cursors) {
		return 0
	}
	done, l.pass, l.visited = l.pass, 0, 0
	return done
}

// begin returns how many messages at the lane's head are handed over together. The
// shard's place is then behind them: a cursor that joins meanwhile begins there.
func (ss *shardSource) begin() (n int) {
	items := ss.lane.waiting()
	for n < min(len(items), turn) {
		it := &items[n]
		if it.kind != itemMessage || it.late || it.offset.Offset <= ss.pos.Offset {
			break
		}
		ss.pos = it.offset
		n++
	}
	return n
}

// dropLane forgets what nobody is left to be handed.
func (s *shard) dropLane(ss *shardSource) {
	s.laned -= ss.lane.drop(len(ss.lane.waiting()))
	ss.lane = lane{}
	s.sliced = slices.DeleteFunc(s.sliced, func(o *shardSource) bool { return o == ss })
}
