package fanout

// A loose pattern's feed loses messages without a trace, and they come late. A cursor
// that was live may thus stand behind a message that it was not handed, and what the
// log holds after its place may follow that one in its channel. So before it reads on
// in the log it has its source prove itself: the source reads from its floor while the
// feed goes on, and hands over, late, what is missing; or finds out that it is gone.
// One such read serves all cursors of the node that ask before it begins.

// proofs are the reads of a loose pattern's source from where it stands, repairs among
// them, and who waits for one. Guarded by the source's lock.
type proofs struct {
	began   uint64 // reads so far
	asked   uint64 // the number of the last read for which a cursor waits
	proven  uint64 // up to this number the shards were told
	proving bool   // a read for that alone is under way
	// asides counts the news that was no message in order: late messages and gaps. A shard
	// that has handled as many has nothing of that in its queue.
	asides uint32
}

// prove asks for the proof that all up to an offset was handed over to a shard, which has
// handled so many asides. Where there is none yet, it returns the number of the proof to
// come, of which the shards are told.
func (s *liveSource) prove(upTo uint64, asides uint32) (number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.proofs
	if s.floor.Offset >= upTo && p.asides == asides {
		return 0
	}
	p.asked = p.began + 1
	s.proveLocked()
	return p.asked
}

// proveLocked starts the read that cursors wait for, unless a repair is one.
func (s *liveSource) proveLocked() {
	p := s.proofs
	if p == nil || s.state != feedLive || p.proving || p.asked <= p.proven {
		return
	}
	p.proving = true
	s.hub.start(s.proveAll)
}

// beginLocked numbers a read that begins now.
func (s *liveSource) beginLocked() (number uint64) {
	if s.proofs == nil {
		return 0
	}
	s.proofs.began++
	return s.proofs.began
}

// proveAll reads until no cursor waits or a repair has taken over.
func (s *liveSource) proveAll() {
	wait := s.hub.backoff()
	for s.hub.ctx.Err() == nil {
		done, err := s.proveOnce()
		if done {
			return
		}
		if err != nil {
			wait.sleep(s.hub.ctx)
			continue
		}
		wait.reset()
	}
}

// proveOnce reads one batch and reports whether it was the last. What is found gone is
// for a repair to tell.
func (s *liveSource) proveOnce() (done bool, err error) {
	s.mu.Lock()
	from, last := s.floor, s.last
	if p := s.proofs; s.state != feedLive || p.asked <= p.proven {
		p.proving = false
		s.mu.Unlock()
		return true, nil
	}
	number := s.beginLocked()
	s.mu.Unlock()
	l, err := s.look(from, last)
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state != feedLive || s.floor != from: // a repair came between
		return false, nil
	case !l.ok:
		s.again = true
		s.repairLocked()
		return false, nil
	}
	s.applyLocked(l.Batch, last, number)
	return false, nil
}

// provenLocked notes that a read, numbered, was complete from the floor on: with it all
// was handed over up to the end of its batch, and to what had been handed over last when
// it began. It tells the shards where cursors wait for that.
func (s *liveSource) provenLocked(last Position, number uint64) {
	p := s.proofs
	if p == nil {
		return
	}
	if last.Offset > s.floor.Offset {
		s.floor = last
	}
	if p.asked > p.proven {
		s.offerShardsLocked(item{kind: itemProven, src: s, offset: Position{Offset: number}})
	}
	p.proven = max(p.proven, number)
}

// handed is the offset up to which all of a loose pattern was handled by a shard that has
// handled so many asides; 0 if that cannot be told.
func (s *liveSource) handed(asides uint32) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.proofs; p == nil || p.asides != asides {
		return 0
	}
	return s.floor.Offset
}

func (s *liveSource) floorNow() Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.floor
}

// logged is what a loose pattern's cursor has read in the log without having been live
// between: all that there was after from, up to to. What comes late of that was delivered.
type logged struct {
	from uint64
	to   Position
}

func (l *logged) holds(offset uint64) bool {
	return l != nil && l.from < offset && offset <= l.to.Offset
}

// beginLogged notes that the cursor, up to whose place all was delivered, reads the log.
func (c *cursor) beginLogged() {
	if c.logged == nil || c.logged.to != c.pos {
		c.logged = &logged{from: c.pos.Offset, to: c.pos}
	}
}

// prove reports whether all up to the cursor's place was handed over, what is late too.
// If not, it asks for that. What is found late comes before the answer in the shard's
// queue, and before whatever the log answers.
func (c *cursor) prove() bool {
	if c.logged == nil || c.logged.to != c.pos { // else it has had nothing live
		if number := c.src.prove(c.pos.Offset, c.at.asides); number > 0 {
			c.backlog().proof = number
			return false
		}
	}
	c.unproven = false
	return true
}

func (c *cursor) awaitsProof() bool { return c.behind != nil && c.behind.proof > 0 }

// proven moves on the cursors that waited for a proof up to a number.
func (ss *shardSource) proven(number uint64) {
	for _, c := range ss.cursors {
		if c.awaitsProof() && c.behind.proof <= number {
			c.behind.proof, c.unproven = 0, false
			c.step()
		}
	}
}

// goBack returns a loose pattern's cursor to a place up to which all was handed over, or
// to where it has read the log, if it was handed more since then. It gets that again.
func (c *cursor) goBack(to Position) {
	if c.unproven = false; c.behind != nil {
		c.behind.proof = 0
	}
	if c.logged != nil && c.logged.to.Offset > to.Offset {
		to = c.logged.to
	}
	if to.Offset < c.pos.Offset {
		c.pos = to
	}
}
