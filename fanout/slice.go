package fanout

import "slices"

// lane is messages, in order, that a source's cursors on one shard have still to be
// handed in slices. Those that wait behind each other are handed over together, so
// that they leave in one write per client. Owned by the shard's goroutine.
type lane struct {
	items   []item
	pass    int // of them, from the first on, are being handed over
	visited int // cursors that have these
}

// drop takes out the first n.
func (l *lane) drop(n int) {
	l.items = slices.Delete(l.items, 0, n)
	const most = 1024 // a burst's buffer is not kept
	if len(l.items) == 0 && cap(l.items) > most {
		l.items = nil
	}
}

// queueUp puts a message into its source's lane.
func (s *shard) queueUp(ss *shardSource, it *item) {
	if len(ss.lane.items) == 0 {
		s.sliced = append(s.sliced, ss)
	}
	ss.lane.items = append(ss.lane.items, *it)
	s.laned++
}

// slice moves the cursors of one slice of one lane. alone says that the shard has
// handled no more than one item since the last.
func (s *shard) slice(alone bool) {
	if len(s.sliced) == 0 {
		return
	}
	ss := s.sliced[0]
	s.solo = alone && len(s.sliced) == 1 && len(ss.lane.items) == 1
	s.sliced = slices.Delete(s.sliced, 0, 1)
	s.advanceLane(ss, s.hub.cfg.SliceCursors)
	s.uncork()
	if len(ss.lane.items) > 0 {
		s.sliced = append(s.sliced, ss) // the others have their turn first
	}
}

// advanceLane hands the next cursors, at most so many, what they are due.
func (s *shard) advanceLane(ss *shardSource, most int) {
	l := &ss.lane
	if l.pass == 0 {
		s.laned -= ss.skipHad()
		if l.pass = ss.begin(); l.pass == 0 {
			return
		}
	}
	pass := l.items[:l.pass]
	for range min(most, ss.awake-l.visited) {
		c := ss.cursors[l.visited]
		l.visited++
		for i := range pass {
			c.message(&pass[i])
		}
	}
	if l.visited < ss.awake {
		return
	}
	s.laned -= l.pass
	l.drop(l.pass)
	l.pass, l.visited = 0, 0
}

// skipHad drops what the shard's place is behind already, and returns how much.
func (ss *shardSource) skipHad() (n int) {
	for n < len(ss.lane.items) && ss.lane.items[n].offset.Offset <= ss.pos.Offset {
		n++
	}
	ss.lane.drop(n)
	return n
}

// begin returns how many messages at the lane's head are handed over together. The
// shard's place is then behind them: a cursor that joins meanwhile begins there.
func (ss *shardSource) begin() (n int) {
	n = min(len(ss.lane.items), turn)
	if n > 0 {
		ss.pos = ss.lane.items[n-1].offset
	}
	return n
}

// finishLane hands over all that is in a lane, at once.
func (s *shard) finishLane(ss *shardSource) {
	if len(ss.lane.items) == 0 {
		return
	}
	for len(ss.lane.items) > 0 {
		s.advanceLane(ss, ss.awake)
		s.uncork() // a long lane must not fill the clients' buffers
	}
	s.leaveSliced(ss)
}

// dropLane forgets what is in a lane.
func (s *shard) dropLane(ss *shardSource) {
	s.laned -= len(ss.lane.items)
	ss.lane = lane{}
	s.leaveSliced(ss)
}

func (s *shard) leaveSliced(ss *shardSource) {
	s.sliced = slices.DeleteFunc(s.sliced, func(o *shardSource) bool { return o == ss })
}
