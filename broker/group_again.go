package broker

import (
	"context"
	"log/slog"
	"time"
)

// again is what a node remembers of messages that the consumer will hand to somebody
// once more, by offset: guarded by the group's lock. It has at most as many as a group
// may have in flight.
type again map[uint64]retry

type retry struct {
	// due is when it comes again, at the earliest; zero while somebody has it.
	due time.Time
	// unoffered is how often this node gave it back without a member having been offered
	// it: the consumer counts an attempt for that, and nobody else shall.
	unoffered int
	// reason is a dead letter's that could not be stored.
	reason string
}

// spareFor is how long a message waits on a node whose members have no room, before
// another node may have it.
const spareFor = time.Second

// waits notes that d comes again after a delay.
func (g *group) waits(d *delivery, delay time.Duration, unoffered int) {
	r, known := g.again[d.msg.Offset()]
	if !known && len(g.again) >= g.cfg.MaxInFlight {
		return
	}
	r.due, r.unoffered, r.reason = time.Now().Add(delay), r.unoffered+unoffered, d.reason
	g.again[d.msg.Offset()] = r
}

// came corrects the attempt of a message that has come, maybe again.
func (g *group) came(d *delivery) {
	r, known := g.again[d.msg.Offset()]
	d.reason = r.reason
	switch {
	case !known:
	case r.unoffered == 0:
		delete(g.again, d.msg.Offset())
	default:
		d.attempt = max(1, d.attempt-r.unoffered)
		r.due = time.Time{}
		g.again[d.msg.Offset()] = r
	}
}

// handOut offers what waits for room, and gives back what has waited long enough, or
// longer than it may be kept. It reports whether nothing waits any more.
func (g *group) handOut(now time.Time, room int) bool {
	left := g.spare[:0]
	for _, d := range g.spare {
		switch waited := now.Sub(d.at); {
		case waited >= g.cfg.AckWait: // another attempt has begun
			g.waits(d, 0, 1)
		case room > 0 && g.offer(d):
			room--
		case waited >= min(spareFor, g.cfg.AckWait/2):
			room = 0
			g.withdraw()
			g.waits(d, 0, 1)
			g.giveBack(d, 0)
		default:
			room = 0
			left = append(left, d)
		}
	}
	clear(g.spare[len(left):])
	g.spare = left
	return len(left) == 0
}

// withdraw takes the request under way back: the consumer would hand what is given back
// to it. A request ends when nobody listens for its answers, so others are listened to.
func (g *group) withdraw() {
	if g.asked == 0 {
		return
	}
	old := g.sub
	if err := g.listen(); err != nil {
		g.b.log.Debug("group inbox", slog.Any("err", err)) // the connection is closed, and the request gone
		return
	}
	g.asked = 0
	_ = old.Drain() // what is under way still comes; it fails where the connection is closed
}

// unfit has the group ask for one message at a time until its members take what comes:
// each that is handed back has cost an attempt.
func (g *group) unfit() { g.eager = 1 }

// fit lets it ask for more, when all that was asked for was taken.
func (g *group) fit() { g.eager = min(2*g.eager, askMost) }

// mostLooks bounds how many messages that come again are looked for at a time.
const mostLooks = 16

// gone looks whether the log still has the messages that come again: one that it dropped
// never does. The oldest leave first, so mostly one look suffices.
func (g *group) gone(ctx context.Context, now time.Time) bool {
	for range mostLooks {
		g.mu.Lock()
		oldest, found := g.oldestWaiting(now)
		g.mu.Unlock()
		if !found {
			return false
		}
		if _, stored, err := g.b.at(ctx, g.stream, oldest); err != nil || stored {
			return false
		}
		g.mu.Lock()
		r, still := g.again[oldest]
		lost := still && !r.due.IsZero()
		delete(g.again, oldest)
		g.mu.Unlock()
		if lost {
			return true
		}
	}
	return false
}

// oldestWaiting is the lowest offset that waits. What should have come long ago has gone
// to another node, or never will: it is forgotten after it was looked for.
func (g *group) oldestWaiting(now time.Time) (oldest uint64, found bool) {
	for offset, r := range g.again {
		switch {
		case !r.due.IsZero() && now.Sub(r.due) > g.cfg.AckWait+2*floorEvery:
			delete(g.again, offset)
		case !r.due.IsZero() && (!found || offset < oldest):
			oldest, found = offset, true
		}
	}
	return oldest, found
}
