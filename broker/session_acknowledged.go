package broker

import (
	"context"
	"slices"
	"time"

	"github.com/rivulet-rt/rivulet/broker/webhook"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/migrations"
)

var _ webhook.Acknowledged = (*Sessions)(nil)

// Acknowledged returns the latest position that any durable session of the user has
// acknowledged in the channel, as far as it was written, and whether there is a session
// that is subscribed to it. Errors wrap fanout.ErrUnavailable.
func (s *Sessions) Acknowledged(ctx context.Context, user string, c fanout.Channel) (through fanout.Position, exists bool, err error) {
	ns, err := s.b.namespace(ctx, c.Namespace())
	if err != nil {
		return fanout.Position{}, false, err
	}
	tag, now := ns.home(c).tag(), time.Now()
	for from := uint64(1); from != 0; {
		var list []sessionRecord
		if list, from, err = s.page(ctx, migrations.SessionSubject(user, ""), from, batchMost); err != nil {
			return fanout.Position{}, false, err
		}
		for i := range list {
			r := &list[i]
			at := slices.IndexFunc(r.Channels, func(k fanout.SessionChannel) bool { return k.Channel == c })
			if at < 0 || r.expired(now) {
				continue
			}
			exists = true
			k := r.Channels[at]
			if err := s.shelfOf(k).load(ctx, r.ID, &k); err != nil {
				return fanout.Position{}, false, err
			}
			if k.Position.Stream.SameStream(tag) && k.Position.Offset >= through.Offset {
				through = k.Position
			}
		}
	}
	return through, exists, nil
}
