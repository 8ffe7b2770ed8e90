package fanout

import (
	"context"
	"log/slog"
	"time"
)

// sweepLoop looks for what the feed cannot show: a lost last message, a source
// that nobody uses any more.
func (h *Hub) sweepLoop() {
	every := h.cfg.SweepInterval
	if !h.exact {
		every = min(every, h.cfg.FirstLook)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	last, round := time.Now(), uint8(0)
	for {
		select {
		case <-h.ctx.Done():
			return
		case now := <-tick.C:
			full := now.Sub(last) >= h.cfg.SweepInterval-every/2
			if full {
				last = now
				h.dropIdle(now)
				h.reader.sweep(now)
				h.dropIdleViews(now)
				h.watchExactness()
			}
			h.checkTails(now, full, round)
			if full {
				round++
			}
		}
	}
}

// quietRounds is how many full looks it takes on an exact feed until every source was
// looked at. Such a feed tells when it has lost something, so that this is for the
// loss that nobody noticed; asking for each of many quiet channels every time would
// cost a node with nothing to do a good part of its memory.
const quietRounds = 12

// checkTails compares what was handed over with the end of the log: of every
// source if all, but on an exact feed only of those with messages since the last look
// and of some others; else of those opened a moment ago.
func (h *Hub) checkTails(now time.Time, all bool, round uint8) {
	var due []*liveSource
	for _, s := range h.sources() {
		if s.dueForCheck(now, all, round) {
			due = append(due, s)
		}
	}
	behind := h.behind(due)
	if len(behind) == 0 {
		return
	}
	// What the feed is about to bring is not lost.
	select {
	case <-time.After(h.cfg.FirstLook):
	case <-h.ctx.Done():
		return
	}
	for s, tail := range behind {
		s.mu.Lock()
		if s.state == feedLive && s.last.Offset < tail {
			s.again = true
			s.repairLocked()
		}
		s.mu.Unlock()
	}
}

// dueForCheck reports whether the source's tail is to be compared. A loose pattern is read from its floor instead: that moves the floor.
func (s *liveSource) dueForCheck(now time.Time, all bool, round uint8) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := !s.checked && now.Sub(s.openedAt) >= s.hub.cfg.FirstLook
	if s.state != feedLive || !all && !first {
		return false
	}
	if s.loose() {
		s.checked, s.again = true, true
		s.repairLocked()
		return false
	}
	if s.key.Filter.IsPattern() {
		return false
	}
	quiet := s.hub.exact && s.last.Offset == s.checkedTo
	s.checkedTo = s.last.Offset
	return !quiet || round%quietRounds == s.turn
}

// behind returns the sources whose log has more than was handed over. A stream that
// cannot be asked is asked again; the others do not wait for it.
func (h *Hub) behind(due []*liveSource) map[*liveSource]uint64 {
	byStream := make(map[StreamID][]*liveSource)
	for _, s := range due {
		byStream[s.key.Stream] = append(byStream[s.key.Stream], s)
	}
	out := make(map[*liveSource]uint64)
	for id, sources := range byStream {
		if err := h.compareTails(sources, out); err != nil {
			h.log.Debug("sweep could not read the tails", slog.String("stream", string(id)), slog.Any("err", err))
		}
	}
	return out
}

func (h *Hub) compareTails(sources []*liveSource, behind map[*liveSource]uint64) error {
	keys := make([]Source, len(sources))
	for i, s := range sources {
		keys[i] = s.key
	}
	ctx, cancel := context.WithTimeout(h.ctx, h.cfg.OpenTimeout)
	defer cancel()
	tails, err := h.feed.Tails(ctx, keys)
	if err != nil {
		return err
	}
	for i, s := range sources {
		s.mu.Lock()
		s.checked = true
		if tails[i].Offset > s.last.Offset {
			behind[s] = tails[i].Offset
		}
		s.mu.Unlock()
	}
	return nil
}

// watchExactness tells the operator if a server joined a cluster under the node.
func (h *Hub) watchExactness() {
	if h.exact && !h.feed.Exact() {
		h.log.Error("the log's server has become part of a cluster, restart this node: until then a lost live message may go unnoticed by patterns")
	}
}

// dropIdle stops following channels that nobody used for a while, and some of the
// others where too many linger.
func (h *Hub) dropIdle(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	idle := 0
	for _, s := range h.allLocked() {
		if s.refs > 0 || !s.isOpen() {
			continue
		}
		idle++
		if now.Sub(s.idleSince) < h.cfg.Linger && idle <= h.cfg.MaxIdle {
			continue
		}
		h.removeLocked(s)
		// Under the lock, so that a subscribe which finds the source gone declares its
		// interest after this one is withdrawn. Unwatch does not wait for the network.
		h.feed.Unwatch(s.key)
		s.close()
	}
}

func (s *liveSource) isOpen() bool {
	select {
	case <-s.opened:
		return true
	default:
		return false
	}
}

// close gives the ring's bytes back; a repair under way ends by itself.
func (s *liveSource) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.pending = feedFailed, nil
	s.ring.reset(s.last)
	for i, v := range s.views {
		if v != nil {
			v.reset(s.last)
			s.views[i] = nil
			s.hub.views.Add(-1)
		}
	}
}

// freshenLoop looks for positions that have grown old, as often as the shortest
// retention asks for.
func (h *Hub) freshenLoop() {
	timer := time.NewTimer(h.cfg.SweepInterval)
	defer timer.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-h.hurry: // a source was opened that cannot wait for the timer
		case <-timer.C:
		}
		timer.Reset(h.freshenQuiet(time.Now()))
	}
}

// leastFresh bounds how often freshenLoop looks.
const leastFresh = 20 * time.Millisecond

// freshenQuiet moves the positions of quiet sources to the end of their stream,
// and returns when it is to be called again.
func (h *Hub) freshenQuiet(now time.Time) time.Duration {
	next := h.cfg.SweepInterval
	for _, s := range h.sources() {
		left, ages := s.youngFor(now)
		if !ages {
			continue
		}
		if left > 0 {
			next = min(next, left)
			continue
		}
		ctx, cancel := context.WithTimeout(h.ctx, h.cfg.OpenTimeout)
		every, err := h.freshenOne(ctx, s)
		cancel()
		if err != nil {
			h.log.Debug("position not refreshed", slog.String("stream", string(s.key.Stream)), slog.Any("err", err))
			return min(next, h.cfg.RetryMost)
		}
		next = min(next, every)
	}
	return max(next, leastFresh)
}

// freshenOne moves one source's position, and returns for how long it is young then.
func (h *Hub) freshenOne(ctx context.Context, s *liveSource) (time.Duration, error) {
	s.mu.Lock()
	ahead := s.loose() && len(s.recent) > 0
	if ahead { // what was handed over after the floor is read again: that moves it
		s.looked, s.again = time.Now(), true
		s.repairLocked()
	}
	s.mu.Unlock()
	if !ahead {
		if err := h.refresh(ctx, s); err != nil {
			return 0, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.retention == 0 {
		return h.cfg.SweepInterval, nil
	}
	return s.retention / 4, nil
}
