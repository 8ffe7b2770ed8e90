package session

import (
	"net/netip"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/session/limit"
)

// Replays are the subscriptions of a connection that are sent what was stored before they
// began, and may be sent no more of it than their holder may read. Whatever is delivered
// while there is one counts as its. They belong to the sink's caller. Nil ones hold nothing
// back.
type Replays struct {
	pace *limit.Replay
	open map[fanout.Channel]struct{}
}

// NewReplays returns those of a connection; nil where reads are not limited. wake is
// called when there is room after a Take that had none; client tells those apart that
// have neither a name nor an address that counts, and may be "".
func (r *Registry) NewReplays(claims auth.Claims, addr netip.Addr, client string, wake func()) *Replays {
	pace := r.services.Limits.NewReplay(claims.Publisher(), addr, client, wake)
	if pace == nil {
		return nil
	}
	return &Replays{pace: pace, open: make(map[fanout.Channel]struct{})}
}

// Replaying reports whether a subscription is sent more than MayRead has counted.
func Replaying(start fanout.Start) bool { return len(start.Positions) > 0 || start.Since > 0 }

// Begin notes a subscription that begins to be sent what it missed.
func (r *Replays) Begin(c fanout.Channel) {
	if r != nil {
		r.open[c] = struct{}{}
		r.pace.Begin()
	}
}

// End notes that one has reached live, or has ended, and reports whether none is left: then
// whatever else waits with them is woken.
func (r *Replays) End(c fanout.Channel) (none bool) {
	if r == nil {
		return true
	}
	delete(r.open, c)
	if len(r.open) > 0 {
		return false
	}
	r.pace.Finish()
	return true
}

// Take counts a message that is delivered, or returns false where it is too early for it.
func (r *Replays) Take() bool { return r == nil || len(r.open) == 0 || r.pace.Take() }

// Give takes a Take back of what was not delivered after all.
func (r *Replays) Give() {
	if r != nil && len(r.open) > 0 {
		r.pace.Give()
	}
}

// Stop ends them with their connection, once the sink is not called any more.
func (r *Replays) Stop() {
	if r != nil {
		r.pace.Stop()
	}
}

// followReplays notes from a notice that was taken which subscriptions are being sent what
// they missed.
func (s *Session) followReplays(n fanout.Notice) {
	switch n.Kind {
	case fanout.NoticeSubscribed:
		if n.Token&replayed == 0 {
			return
		}
		if s.replays == nil {
			s.replays = s.registry.NewReplays(s.claimed(), s.slot.Addr(), s.ID(), s.Drained)
		}
		s.replays.Begin(n.Channel)
	case fanout.NoticeCaughtUp, fanout.NoticeUnsubscribed, fanout.NoticeFailed:
		if s.replays != nil && s.replays.End(n.Channel) {
			s.replays = nil // an idle connection has none
		}
	default:
	}
}
