package broker

import (
	"context"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/migrations"
)

// evidence gathers what fanout.Complete needs about x, all of it from the
// stream's leader and after the read that it concerns. The message at x alone
// mostly settles the matter.
func (b *Broker) evidence(ctx context.Context, s *stream, source fanout.Channel, x fanout.Position) (fanout.Evidence, error) {
	ev := fanout.Evidence{Tag: s.tag()}
	at, found, err := b.at(ctx, s, x.Offset)
	if err != nil {
		return ev, err
	}
	if found {
		ev.StoredTime = at.time
		ev.Matches = !source.IsPattern() && at.subject == s.filter(source)
		if ev.Matches && at.time == x.Time && x.Stream.SameStream(ev.Tag) {
			return ev, nil
		}
	}
	defer b.observe(readEvidence, time.Now())
	return ev, b.fullEvidence(ctx, s, source, x, &ev)
}

// at reads the message stored at one sequence.
func (b *Broker) at(ctx context.Context, s *stream, seq uint64) (stored, bool, error) {
	if seq == 0 {
		return stored{}, false, nil
	}
	return b.get(ctx, s, getRequest{Seq: seq})
}

// fullEvidence gathers the rest. The order matters, as the log may drop messages
// meanwhile: first the counts, then the oldest message of the channel, last the
// front of the stream, so that what is dropped between two steps shows in the
// later one.
func (b *Broker) fullEvidence(ctx context.Context, s *stream, source fanout.Channel, x fanout.Position, ev *fanout.Evidence) error {
	info, err := b.countsAndFacts(ctx, s, source)
	if err != nil {
		return err
	}
	ev.Tag = s.tag()
	ev.LastSeq = info.State.Last
	ev.Limit = migrations.PromisedLimit(info.Config.PerSubject, info.Config.Metadata, x.Offset)
	if ev.Singly = ev.Limit != 0 && migrations.LeftSingly(info.Config.Metadata); ev.Singly {
		if info, err = b.gone(ctx, s, source, x, info, ev); err != nil {
			return err
		}
	}
	oldest, found, err := b.get(ctx, s, getRequest{Seq: 1, Next: s.filter(source)})
	if err != nil {
		return err
	}
	if ev.Channels, err = b.channelFacts(ctx, s, source, info, ev, oldest); err != nil {
		return err
	}
	since, _, err := b.get(ctx, s, getRequest{Start: timeOf(x.Time), Next: ">"})
	if err != nil {
		return err
	}
	ev.FirstSince = since.seq
	if ev.Begin, err = b.begin(ctx, s, info, oldest, found); err != nil {
		return err
	}
	ev.FirstSeq, err = b.front(ctx, s, info)
	return err
}

// gone fills in ev.Gone, and returns the information with which the counts of channels
// were taken before. What is stored while it counts makes the number too high: then
// history may be told gone that is not, never the other way round.
func (b *Broker) gone(ctx context.Context, s *stream, source fanout.Channel, x fanout.Position, info *streamInfo, ev *fanout.Evidence) (*streamInfo, error) {
	count := func() (err error) { ev.Gone, err = b.goneSince(ctx, s, x.Offset, info); return err }
	if err := count(); err != nil || !source.IsPattern() || len(info.State.Subjects) > 0 {
		return info, err
	}
	// One channel cannot have more than there is beyond one message of each other.
	most := info.State.Messages - min(info.State.Messages, info.State.Distinct) + 1
	if ev.Gone > ev.Limit+1 || ev.Gone+most <= ev.Limit+1 {
		return info, nil
	}
	listed, err := b.infoAndTag(ctx, s, s.filter(source))
	if err != nil {
		return nil, err
	}
	info = listed
	return info, count()
}

// goneSince counts the sequences after x that hold no message, as of the given
// information or later. On replicas only the leader's word counts, which is about the
// whole stream.
func (b *Broker) goneSince(ctx context.Context, s *stream, x uint64, info *streamInfo) (uint64, error) {
	replicated := s.facts.Load().replicated
	var left probe
	var err error
	if !replicated {
		if left, err = b.probe(ctx, s, ">", x+1); err != nil {
			return 0, err
		}
	}
	later, err := b.info(ctx, s, "")
	if err != nil {
		return 0, err
	}
	last := later.State.Last
	since := last - min(last, x)
	if replicated {
		all := last + 1 - min(later.State.First, last+1)
		return min(all-min(all, later.State.Messages), since), nil
	}
	since += last - min(last, info.State.Last)
	return since - min(since, left.count), nil
}

// front is the first stored sequence, LastSeq+1 if nothing is stored.
func (b *Broker) front(ctx context.Context, s *stream, info *streamInfo) (uint64, error) {
	m, found, err := b.get(ctx, s, getRequest{Seq: 1, Next: ">"})
	if err != nil {
		return 0, err
	}
	if !found {
		return info.State.Last + 1, nil
	}
	return m.seq, nil
}

// countsAndFacts asks for the stream's state, for the messages of each channel
// where they can matter, and for the epoch as it is now.
func (b *Broker) countsAndFacts(ctx context.Context, s *stream, source fanout.Channel) (*streamInfo, error) {
	if !source.IsPattern() {
		return b.infoAndTag(ctx, s, s.filter(source))
	}
	info, err := b.infoAndTag(ctx, s, "")
	if err != nil {
		return nil, err
	}
	// A listing of very many channels is slow, and mostly not needed: each other
	// channel has at least one message.
	limit := migrations.PromisedLimit(info.Config.PerSubject, info.Config.Metadata, 0)
	if limit == 0 || info.State.Messages-min(info.State.Messages, info.State.Distinct)+1 <= limit {
		return info, nil
	}
	return b.infoAndTag(ctx, s, s.filter(source))
}

func (b *Broker) infoAndTag(ctx context.Context, s *stream, filter string) (*streamInfo, error) {
	epoch, err := b.epochs.Now(ctx, s.name)
	if err != nil {
		return nil, unavailable("read epoch", err)
	}
	info, err := b.info(ctx, s, filter)
	if err != nil {
		return nil, err
	}
	if s.learn(info, epoch) {
		b.feed.suspect(s.id(), causeStream)
	}
	return info, nil
}

// channelFacts lists the source's channel, or those of a pattern that may have dropped
// messages for the limit.
func (b *Broker) channelFacts(ctx context.Context, s *stream, source fanout.Channel, info *streamInfo, ev *fanout.Evidence, oldest stored) ([]fanout.ChannelFacts, error) {
	if !source.IsPattern() {
		count := info.State.Subjects[s.filter(source)]
		return []fanout.ChannelFacts{factsOf(count, oldest)}, nil
	}
	var list []fanout.ChannelFacts
	if ev.Singly && ev.Gone > ev.Limit+1 {
		list = append(list, fanout.ChannelFacts{}) // for those of which nothing is stored
	}
	for subject, count := range info.State.Subjects {
		if ev.Limit == 0 || count <= ev.Limit && (!ev.Singly || ev.Gone+count <= ev.Limit+1) {
			continue
		}
		if len(list) > 0 && ev.Gone > ev.Limit+1 {
			break // which settles it, however many channels there are
		}
		first, _, err := b.get(ctx, s, getRequest{Seq: 1, Next: subject})
		if err != nil {
			return nil, err
		}
		list = append(list, factsOf(count, first))
	}
	return list, nil
}

func factsOf(count uint64, oldest stored) fanout.ChannelFacts {
	f := fanout.ChannelFacts{Count: count, First: oldest.seq}
	if first(oldest.header, hdrKind) == kindPurge {
		f.Purge = oldest.seq
	}
	return f
}

// begin is the position before the oldest stored message of a source, or the
// stream's end if there is none.
func (b *Broker) begin(ctx context.Context, s *stream, info *streamInfo, oldest stored, found bool) (fanout.Position, error) {
	if !found {
		return s.position(info.end()), nil
	}
	before, stands, err := b.at(ctx, s, oldest.seq-1)
	if err != nil {
		return fanout.Position{}, err
	}
	if stands {
		return s.position(before.seq, before.time), nil
	}
	return s.position(oldest.seq-1, oldest.time), nil
}

func timeOf(nanos int64) *time.Time {
	t := time.Unix(0, nanos).UTC()
	return &t
}
