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

// Acknowledged returns what the durable sessions of the user have acknowledged in the
// channel, as far as it was written, and whether there is a session that is subscribed to
// it. Errors wrap fanout.ErrUnavailable.
func (s *Sessions) Acknowledged(ctx context.Context, user string, c fanout.Channel) (acked []webhook.Span, exists bool, err error) {
	ns, err := s.b.namespace(ctx, c.Namespace())
	if err != nil {
		return nil, false, err
	}
	tag, now := ns.home(c).tag(), time.Now()
	for from := uint64(1); from != 0; {
		var list []sessionRecord
		if list, from, err = s.page(ctx, migrations.SessionSubject(user, ""), from, batchMost); err != nil {
			return nil, false, err
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
				return nil, false, err
			}
			if k.Position.Stream.SameStream(tag) && k.Position.Offset > k.Began {
				acked = append(acked, webhook.Span{After: k.Began, Through: k.Position})
			}
		}
	}
	return acked, exists, nil
}
