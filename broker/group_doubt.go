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

// passed reports whether the front of the log has passed what the group had at the check
// before. Whether it was handed what lay between in time nobody knows, unless
// all of that can only have left for a channel's limit: whichever node is handed what comes
// behind such a hole sees as much waiting behind it (follow), and tells. With filled, so
// much waited when it was looked at.
func (g *group) passed(ctx context.Context, before floor, filled bool) (lost bool, reason string, err error) {
	x := before.at
	info, err := g.b.info(ctx, g.stream, "")
	if err != nil || x.IsZero() || info.State.First <= x.Offset+1 {
		return false, "", err
	}
	since := time.Unix(0, x.Time)
	if before.since.After(since) { // x may be old, where the log was quiet
		since = before.since
	}
	if filled || !onlyLimits(info, x.Offset, since, g.limit) {
		return true, fanout.LostToRetention, nil
	}
	ok, reason, err := g.prove(ctx, x)
	if ok || err != nil || reason == fanout.LostToRetention {
		return false, "", err
	}
	return true, reason, nil // it was purged, say
}

// onlyLimits proves that neither its age nor the stream's bytes made any message leave that
// is behind x, and so was not stored before since; and that channels keep more than limit.
func onlyLimits(i *streamInfo, x uint64, since time.Time, limit uint64) bool {
	if limit == 0 || i.Config.PerSubject >= 0 && uint64(i.Config.PerSubject) <= limit {
		return false
	}
	passed := max(time.Since(since), i.State.LastTime.Sub(since)) // the log's clock may be ahead
	if age := i.Config.MaxAge; age > 0 && passed >= age-2*floorEvery {
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
	return i.State.Last-x < uint64(i.Config.MaxBytes)/largest
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
