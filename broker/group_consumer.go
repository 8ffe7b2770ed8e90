package broker

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rivulet-rt/rivulet/fanout"
)

// Metadata keys of a group's consumer.
const (
	metaGroup = "rivulet.group"
	metaFloor = "rivulet.floor"
)

const groupPrefix = "g_"

// consumerName is that of a group's consumer: the channel's part is a hash, so that
// the groups of a channel are found by their prefix.
func consumerName(c fanout.Channel, group string) string { return groupsOf(c) + group }

func groupsOf(c fanout.Channel) string {
	sum := sha256.Sum256([]byte(c.String()))
	return groupPrefix + base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:10]) + "_"
}

// ensure makes the group's consumer if there is none, and brings one that is there to
// what the configuration says.
func (g *group) ensure(ctx context.Context, start fanout.Start) (fanout.Joined, error) {
	joined := fanout.Joined{Known: true, Recovered: true}
	info, err := g.b.consumerInfo(ctx, g.stream.name, g.consumer)
	if errors.Is(err, fanout.ErrNoGroup) {
		return g.create(ctx, start)
	}
	if err != nil {
		return joined, err
	}
	if want := g.config(info.Config); !sameGroup(info.Config, want) {
		if _, err := g.b.js.UpdateConsumer(ctx, g.stream.name, want); err != nil {
			return joined, unavailable("change consumer", err)
		}
	}
	joined.Recovered, joined.Reason, err = g.judge(ctx, info)
	return joined, err
}

// create makes the consumer, which begins where start says.
func (g *group) create(ctx context.Context, start fanout.Start) (fanout.Joined, error) {
	joined := fanout.Joined{Recovered: true}
	names, err := g.b.consumerNames(ctx, g.stream.name, groupPrefix)
	if err != nil {
		return joined, err
	}
	if len(names) >= g.cfg.Max {
		return joined, fmt.Errorf("%w groups: the channel's partition has %d, max_groups is %d; delete some, or raise it", fanout.ErrTooMany, len(names), g.cfg.Max)
	}
	src, now := fanout.Source{Stream: g.stream.id(), Filter: g.key.channel}, time.Now()
	begin, err := g.b.begins(ctx, src, start, &joined)
	if err != nil {
		return joined, err
	}
	g.floor.at = begin
	if len(start.Positions) == 0 && start.Last == 0 && start.Since == 0 { // at the end
		g.floor.since = now
	}
	cfg := g.config(jetstream.ConsumerConfig{
		Durable: g.consumer, FilterSubject: g.stream.filter(g.key.channel),
		AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: -1,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: begin.Offset + 1,
		Metadata: map[string]string{metaGroup: g.key.name, metaChannel: g.key.channel.String(), metaFloor: begin.String()},
	})
	_, err = g.b.js.CreateConsumer(ctx, g.stream.name, cfg)
	if errors.Is(err, jetstream.ErrConsumerExists) || errors.Is(err, jetstream.ErrConsumerCreate) {
		if _, look := g.b.consumerInfo(ctx, g.stream.name, g.consumer); look == nil {
			return fanout.Joined{Known: true, Recovered: true}, nil // another member made it at this moment
		}
	}
	if err != nil {
		return joined, unavailable("create consumer", err)
	}
	return joined, nil
}

// config is what the consumer shall be, on the ground of what it is.
func (g *group) config(c jetstream.ConsumerConfig) jetstream.ConsumerConfig {
	c.AckWait = g.cfg.AckWait
	c.MaxAckPending = g.cfg.MaxInFlight
	c.InactiveThreshold = g.cfg.Expire
	return c
}

func sameGroup(a, b jetstream.ConsumerConfig) bool {
	return a.AckWait == b.AckWait && a.MaxAckPending == b.MaxAckPending && a.InactiveThreshold == b.InactiveThreshold
}

// begins is the position at which something new starts, and whether what it asked for
// is all there.
func (b *Broker) begins(ctx context.Context, src fanout.Source, start fanout.Start, joined *fanout.Joined) (fanout.Position, error) {
	switch {
	case len(start.Positions) > 0:
		x := start.Positions[0]
		batch, err := b.Read(ctx, fanout.Query{Source: src, After: x.Offset, Prove: x})
		if err != nil {
			return fanout.Position{}, err
		}
		ok, reason := fanout.Complete(x, batch.Evidence)
		if joined.Recovered, joined.Reason = ok, reason; !ok {
			return batch.Evidence.Begin, nil
		}
		return x, nil
	case start.Last > 0 || start.Since > 0:
		after, err := b.Seek(ctx, src, fanout.Seek{Last: start.Last, Since: start.Since})
		if err != nil {
			return fanout.Position{}, err
		}
		s, err := b.stream(src.Stream)
		if err != nil {
			return fanout.Position{}, err
		}
		p := s.position(after, 0)
		if m, found, err := b.at(ctx, s, after); err == nil && found {
			p.Time = m.time
		}
		return p, nil
	}
	tail, err := b.Tail(ctx, src)
	return tail.Fresh(), err
}

// consumerInfo describes a consumer; the error wraps fanout.ErrNoGroup where there is
// none.
func (b *Broker) consumerInfo(ctx context.Context, stream, name string) (*jetstream.ConsumerInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	c, err := b.js.Consumer(ctx, stream, name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, fanout.ErrNoGroup
	}
	if err != nil {
		return nil, unavailable("look at consumer", err)
	}
	return c.CachedInfo(), nil
}

// consumerNames lists a stream's consumers whose name begins with prefix.
func (b *Broker) consumerNames(ctx context.Context, stream, prefix string) ([]string, error) {
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		return nil, unavailable("list consumers", err)
	}
	var names []string
	lister := s.ConsumerNames(ctx)
	for name := range lister.Name() {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	if err := lister.Err(); err != nil {
		return nil, unavailable("list consumers", err)
	}
	return names, nil
}

// Groups lists the groups of a channel by name, at most MaxGroups of the partition.
func (b *Broker) Groups(ctx context.Context, c fanout.Channel) ([]fanout.GroupInfo, error) {
	ns, err := b.namespace(ctx, c.Namespace())
	if err != nil {
		return nil, err
	}
	st, prefix := ns.home(c), groupsOf(c)
	names, err := b.consumerNames(ctx, st.name, prefix)
	if err != nil {
		return nil, err
	}
	list := make([]fanout.GroupInfo, 0, len(names))
	for _, name := range names {
		info, err := b.consumerInfo(ctx, st.name, name)
		if errors.Is(err, fanout.ErrNoGroup) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		list = append(list, groupInfo(strings.TrimPrefix(name, prefix), info))
	}
	slices.SortFunc(list, func(a, b fanout.GroupInfo) int { return cmp.Compare(a.Group, b.Group) })
	return list, nil
}

func groupInfo(group string, info *jetstream.ConsumerInfo) fanout.GroupInfo {
	return fanout.GroupInfo{
		Group: group, Created: info.Created.UnixNano(), Pending: info.NumPending,
		InFlight: info.NumAckPending, Redelivered: info.NumRedelivered, Waiting: info.NumWaiting,
	}
}

// Group describes one group; the error wraps fanout.ErrNoGroup where there is none.
func (b *Broker) Group(ctx context.Context, c fanout.Channel, group string) (fanout.GroupInfo, error) {
	ns, err := b.namespace(ctx, c.Namespace())
	if err != nil {
		return fanout.GroupInfo{}, err
	}
	info, err := b.consumerInfo(ctx, ns.home(c).name, consumerName(c, group))
	if err != nil {
		return fanout.GroupInfo{}, err
	}
	return groupInfo(group, info), nil
}

// DeleteGroup removes a group with its place in the channel. Its members are told
// that it ended. The error wraps fanout.ErrNoGroup where there is none.
func (b *Broker) DeleteGroup(ctx context.Context, c fanout.Channel, group string) error {
	ns, err := b.namespace(ctx, c.Namespace())
	if err != nil {
		return err
	}
	err = b.js.DeleteConsumer(ctx, ns.home(c).name, consumerName(c, group))
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fanout.ErrNoGroup
	}
	if err != nil {
		return unavailable("delete group", err)
	}
	return nil
}

// withFloor is a consumer's configuration that remembers x.
func withFloor(c jetstream.ConsumerConfig, x fanout.Position) jetstream.ConsumerConfig {
	c.Metadata = maps.Clone(c.Metadata)
	c.Metadata[metaFloor] = x.String()
	return c
}

// groupTimeout bounds what a group does for its bookkeeping.
const groupTimeout = 5 * time.Second
