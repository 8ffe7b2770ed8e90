package broker

import (
	"context"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

// Members of a group that is never far behind are told of no loss only because its channel
// is quick: where a channel keeps few messages, all that was stored at one check, or while
// one look follows another, is gone at the next, and was handed to somebody in time.

// storedRoom is above what a stored message takes beside its headers and data: its subject,
// which fits into a line of the protocol, and the record's own 34 bytes.
const storedRoom = 4<<10 + 64

// passed reports whether the front of the log has passed x, which is what the group had at
// the check before. Whether it was handed what lay between in time nobody knows, unless
// all of that can only have left for a channel's limit: whichever node is handed what comes
// behind such a hole sees as much waiting behind it (follow), and tells. With filled, so
// much waited when it was looked at.
func (g *group) passed(ctx context.Context, x fanout.Position, filled bool) (lost bool, reason string, err error) {
	info, err := g.b.info(ctx, g.stream, "")
	if err != nil || x.IsZero() || info.State.First <= x.Offset+1 {
		return false, "", err
	}
	if filled || !onlyLimits(info, x, g.limit, time.Now()) {
		return true, fanout.LostToRetention, nil
	}
	ok, reason, err := g.prove(ctx, x)
	if ok || err != nil || reason == fanout.LostToRetention {
		return false, "", err
	}
	return true, reason, nil // it was purged, say
}

// onlyLimits proves that neither its age nor the stream's bytes made any message after x
// leave, and that channels keep more than limit.
func onlyLimits(i *streamInfo, x fanout.Position, limit uint64, now time.Time) bool {
	if limit == 0 || i.Config.PerSubject >= 0 && uint64(i.Config.PerSubject) <= limit {
		return false
	}
	if i.State.LastTime.After(now) { // the log's clock is ahead
		now = i.State.LastTime
	}
	if age := i.Config.MaxAge; age > 0 && now.Sub(time.Unix(0, x.Time)) >= age-2*floorEvery {
		return false
	}
	if i.Config.MaxBytes <= 0 {
		return true
	}
	if i.Config.MaxMessage <= 0 {
		return false
	}
	// Bytes take the oldest: to reach one after x they must be full of later ones.
	largest := uint64(i.Config.MaxMessage) + storedRoom
	return i.State.Last-x.Offset < uint64(i.Config.MaxBytes)/largest
}

// overtaken reports whether the group, on whichever node, was handed messages behind had
// since that was looked at, so that what the log has dropped meanwhile does not show whether
// it dropped any unseen. The next check judges that, as of a backlog.
func (f *floor) overtaken(ctx context.Context, g *group, had uint64) (bool, error) {
	info, err := g.b.consumerInfo(ctx, g.stream.name, g.consumer)
	if err != nil {
		return false, err
	}
	f.behind, f.full = true, g.fills(info.NumPending)
	return !f.full && info.Delivered.Stream > had, nil
}
