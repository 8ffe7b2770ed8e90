package fanout_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

// fate is what became of a stored message.
type fate uint8

const (
	stored  fate = iota
	evicted      // by the channel's limit, by age or by bytes
	purged
	alone // deleted, or at the end of its own TTL
	lost  // rolled back, or gone with its stream
)

// record is one message that was ever stored.
type record struct {
	msg  fanout.Message
	fate fate
	seq  uint64
	life int   // of the log: raised by rollback and recreation
	end  int64 // when it was evicted or purged
	back bool  // it was evicted or purged, and came back with an older copy
}

// memStream is one stream of the log in memory, with everything that ever was in it.
type memStream struct {
	name    fanout.StreamID
	tag     fanout.StreamTag
	created int64
	records []*record // in the order of storing
	lastSeq uint64
	life    int
	singly  bool    // messages left one by one
	changes []int64 // times of rollbacks, recreations and raised epochs
}

// memLog is the log, with the faults that a real one has. One lock, one clock.
type memLog struct {
	limit  uint64 // messages per channel that are promised
	parts  int
	faulty func(n int) bool         // one in n; from a seeded source
	key    func(data string) string // the conflation key of a message; nil: none has one

	mu      sync.Mutex // guards the following
	clock   int64
	streams map[fanout.StreamID]*memStream
	feeds   []*memFeed
	down    bool
	epochs  int
	expires int64 // of what is being stored
}

func newMemLog(limit uint64, parts int, rng *lockedRand) *memLog {
	return &memLog{
		limit: limit, parts: parts, clock: 1_700_000_000_000_000_000, streams: make(map[fanout.StreamID]*memStream),
		faulty: func(n int) bool { return rng.IntN(n) == 0 },
	}
}

// lockedRand is a seeded source that several goroutines share.
type lockedRand struct {
	mu sync.Mutex
	r  *rand.Rand
}

func (l *lockedRand) IntN(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.IntN(n)
}

func (l *memLog) partition(c fanout.Channel) fanout.StreamID {
	h := fnv.New32a()
	_, _ = h.Write([]byte(c.String()))
	return fanout.StreamID(fmt.Sprintf("%s/%d", c.Namespace(), h.Sum32()%uint32(l.parts)))
}

func (l *memLog) streamLocked(id fanout.StreamID) *memStream {
	s := l.streams[id]
	if s == nil {
		s = &memStream{name: id}
		l.streams[id] = s
		l.createLocked(s)
	}
	return s
}

func (l *memLog) tickLocked() int64 {
	l.clock += 1000
	return l.clock
}

func (l *memLog) createLocked(s *memStream) {
	s.created = l.tickLocked()
	l.newEpochLocked(s)
}

func (l *memLog) newEpochLocked(s *memStream) {
	l.epochs++
	h := fnv.New32a()
	_, _ = h.Write([]byte(s.name))
	copy(s.tag[:], fmt.Sprintf("%05d%03d", h.Sum32()%99999, l.epochs%1000))
	s.changes = append(s.changes, l.tickLocked())
}

// Locate implements fanout.Log.
func (l *memLog) Locate(_ context.Context, c fanout.Channel) ([]fanout.StreamID, error) {
	if !c.IsPattern() {
		return []fanout.StreamID{l.partition(c)}, nil
	}
	var ids []fanout.StreamID
	for p := range l.parts {
		ids = append(ids, fanout.StreamID(fmt.Sprintf("%s/%d", c.Namespace(), p)))
	}
	return ids, nil
}

// hiccup sometimes lets others run, fails, or is down.
func (l *memLog) hiccup() error {
	if l.faulty(4) {
		runtime.Gosched()
	}
	l.mu.Lock()
	down := l.down
	l.mu.Unlock()
	if down || l.faulty(40) {
		return fanout.ErrUnavailable
	}
	return nil
}

func (s *memStream) of(f fanout.Channel) []*record {
	var out []*record
	for _, r := range s.records {
		if r.fate == stored && f.Matches(r.msg.Channel) {
			out = append(out, r)
		}
	}
	return out
}

// Read implements fanout.Log. The evidence is gathered later than the messages.
func (l *memLog) Read(_ context.Context, q fanout.Query) (fanout.Batch, error) {
	if err := l.hiccup(); err != nil {
		return fanout.Batch{}, err
	}
	var b fanout.Batch
	l.mu.Lock()
	life := l.streamLocked(q.Source.Stream).life
	for _, r := range l.streamLocked(q.Source.Stream).of(q.Source.Filter) {
		if r.seq <= q.After {
			continue
		}
		if len(b.Messages) == q.Limit {
			b.More = true
			break
		}
		b.Messages = append(b.Messages, l.copyLocked(r))
	}
	l.mu.Unlock()
	if err := l.hiccup(); err != nil {
		return fanout.Batch{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.streamLocked(q.Source.Stream).life != life {
		return fanout.Batch{}, fanout.ErrUnavailable // the connection was lost meanwhile
	}
	b.Evidence = l.evidenceLocked(q.Source, q.Prove)
	return b, nil
}

func (l *memLog) copyLocked(r *record) *fanout.Message {
	m := fanout.Message{
		Channel: r.msg.Channel, Stream: r.msg.Stream, Position: r.msg.Position, Prev: r.msg.Prev,
		Kind: r.msg.Kind, Target: r.msg.Target, Updates: r.msg.Updates, Expires: r.msg.Expires, Data: r.msg.Data, ConflationKey: r.msg.ConflationKey,
	}
	m.Position.Stream = l.streams[r.msg.Stream].tag
	return &m
}

func (s *memStream) at(seq uint64) *record {
	for _, r := range s.records {
		if r.fate == stored && r.seq == seq {
			return r
		}
	}
	return nil
}

func (l *memLog) evidenceLocked(src fanout.Source, x fanout.Position) fanout.Evidence {
	s := l.streamLocked(src.Stream)
	ev := fanout.Evidence{Tag: s.tag, FirstSeq: s.lastSeq + 1, LastSeq: s.lastSeq, Limit: l.limit, Singly: s.singly}
	if s.singly {
		ev.Gone = s.goneSince(x.Offset)
	}
	if r := s.at(x.Offset); r != nil {
		ev.StoredTime = r.msg.Position.Time
		ev.Matches = src.Filter == r.msg.Channel
		if ev.Matches && ev.StoredTime == x.Time && x.Stream.SameStream(s.tag) {
			return fanout.Evidence{Tag: s.tag, StoredTime: ev.StoredTime, Matches: true} // as the broker's, which looks no further
		}
	}
	byChannel := make(map[fanout.Channel]*fanout.ChannelFacts)
	for _, r := range s.records {
		if r.fate != stored {
			continue
		}
		ev.FirstSeq = min(ev.FirstSeq, r.seq)
		if ev.FirstSince == 0 && r.msg.Position.Time >= x.Time {
			ev.FirstSince = r.seq
		}
		if !src.Filter.Matches(r.msg.Channel) {
			continue
		}
		f := byChannel[r.msg.Channel]
		if f == nil {
			f = &fanout.ChannelFacts{First: r.seq}
			byChannel[r.msg.Channel] = f
			if r.msg.Kind == fanout.KindPurge {
				f.Purge = r.seq
			}
		}
		f.Count++
	}
	for _, f := range byChannel {
		if !src.Filter.IsPattern() || f.Count > l.limit || s.singly && f.Count+ev.Gone > l.limit+1 {
			ev.Channels = append(ev.Channels, *f)
		}
	}
	if len(byChannel) == 0 || src.Filter.IsPattern() {
		ev.Channels = append(ev.Channels, fanout.ChannelFacts{})
	}
	ev.Begin = l.beginLocked(s, src.Filter)
	return ev
}

// goneSince counts the sequences after x that hold no message.
func (s *memStream) goneSince(x uint64) uint64 {
	gone := s.lastSeq - min(s.lastSeq, x)
	for _, r := range s.records {
		if r.fate == stored && r.seq > x {
			gone--
		}
	}
	return gone
}

func (l *memLog) beginLocked(s *memStream, f fanout.Channel) fanout.Position {
	all := s.of(f)
	if len(all) == 0 {
		return l.endLocked(s)
	}
	p := fanout.Position{Stream: s.tag, Offset: all[0].seq - 1, Time: all[0].msg.Position.Time}
	if r := s.at(p.Offset); r != nil {
		p.Time = r.msg.Position.Time
	}
	return p
}

func (l *memLog) endLocked(s *memStream) fanout.Position {
	p := fanout.Position{Stream: s.tag, Offset: s.lastSeq, Time: s.created}
	for _, r := range s.records {
		if r.seq == s.lastSeq && r.fate != lost {
			p.Time = r.msg.Position.Time
		}
	}
	return p
}

// Tail implements fanout.Log.
func (l *memLog) Tail(_ context.Context, src fanout.Source) (fanout.Tail, error) {
	if err := l.hiccup(); err != nil {
		return fanout.Tail{}, err
	}
	var t fanout.Tail
	l.mu.Lock()
	t.End = l.endLocked(l.streamLocked(src.Stream))
	t.Retention = time.Hour
	l.mu.Unlock()
	runtime.Gosched()
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Last = l.lastLocked(src)
	return t, nil
}

func (l *memLog) lastLocked(src fanout.Source) fanout.Position {
	s := l.streamLocked(src.Stream)
	all := s.of(src.Filter)
	if len(all) == 0 {
		return fanout.Position{}
	}
	p := all[len(all)-1].msg.Position
	p.Stream = s.tag
	return p
}

// Seek implements fanout.Log.
func (l *memLog) Seek(_ context.Context, src fanout.Source, k fanout.Seek) (uint64, error) {
	if err := l.hiccup(); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.streamLocked(src.Stream)
	all := s.of(src.Filter)
	if k.Before != 0 {
		all = slices.DeleteFunc(all, func(r *record) bool { return r.seq >= k.Before })
	}
	i := max(0, len(all)-k.Last)
	if k.Since != 0 {
		i = slices.IndexFunc(all, func(r *record) bool { return r.msg.Position.Time >= k.Since })
	}
	if i < 0 || i >= len(all) {
		return s.lastSeq, nil
	}
	return all[i].seq - 1, nil
}

// Raise implements fanout.Epochs.
func (l *memLog) Raise(_ context.Context, id fanout.StreamID, seen fanout.StreamTag) error {
	if err := l.hiccup(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.streamLocked(id); s.tag == seen {
		l.newEpochLocked(s)
	}
	return nil
}

// store appends to the log, enforces the limit, and hands the message to the feeds.
func (l *memLog) store(c fanout.Channel, kind fanout.Kind, data string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.storeLocked(c, kind, data, 0)
}

// update stores a new version of the message at an offset.
func (l *memLog) update(c fanout.Channel, original uint64, data string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.storeLocked(c, fanout.KindData, data, original)
}

// deleteOne stores the marker of the n-th message of a channel and takes that out;
// without a marker, its TTL has ended.
func (l *memLog) deleteOne(c fanout.Channel, n int, marker bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.streamLocked(l.partition(c))
	all := s.of(c)
	if l.down || len(all) == 0 || all[n%len(all)].msg.Kind != fanout.KindData {
		return
	}
	s.singly = true
	r := all[n%len(all)]
	if marker {
		l.storeLocked(c, fanout.KindDeleted, "deleted", r.seq)
	}
	if r.fate == stored || marker { // whose own place may have cost it: it is told of as deleted
		r.fate, r.end = alone, l.tickLocked()
	}
}

func (l *memLog) storeLocked(c fanout.Channel, kind fanout.Kind, data string, target uint64) bool {
	if l.down {
		return false
	}
	s := l.streamLocked(l.partition(c))
	all := s.of(c)
	var prev uint64
	if len(all) > 0 {
		prev = all[len(all)-1].seq
	}
	s.lastSeq++
	key := ""
	if l.key != nil && kind == fanout.KindData {
		key = l.key(data)
	}
	r := &record{seq: s.lastSeq, life: s.life, msg: fanout.Message{
		Channel: c, Stream: s.name, Prev: prev, Kind: kind, Target: target, Data: []byte(data), ConflationKey: key,
		Position: fanout.Position{Stream: s.tag, Offset: s.lastSeq, Time: l.tickLocked()},
	}}
	if kind == fanout.KindData {
		r.msg.Target, r.msg.Updates, r.msg.Expires = 0, target, l.expires
	}
	s.records = append(s.records, r)
	if kind == fanout.KindPurge {
		for _, old := range all {
			old.fate, old.end = purged, r.msg.Position.Time
		}
	} else if l.limit > 0 && uint64(len(all)) > l.limit {
		all[0].fate, all[0].end = evicted, r.msg.Position.Time
	}
	for _, f := range l.feeds {
		f.push(l.copyLocked(r))
	}
	return true
}

// ageOut evicts the stream's oldest messages up to and including n.
func (l *memLog) ageOut(id fanout.StreamID, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.streamLocked(id).records {
		if n == 0 {
			return
		}
		if r.fate == stored {
			r.fate, r.end = evicted, l.tickLocked()
			n--
		}
	}
}

// rollBack restores a copy of the stream that is n messages old; every node's
// connection was cut meanwhile.
func (l *memLog) rollBack(id fanout.StreamID, n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.streamLocked(id)
	s.lastSeq -= min(n, s.lastSeq)
	s.life++
	s.changes = append(s.changes, l.tickLocked())
	var then int64 // the time of the copy
	for _, r := range s.records {
		if r.seq <= s.lastSeq && r.fate != lost {
			then = max(then, r.msg.Position.Time)
		}
	}
	for _, r := range s.records {
		switch {
		case r.seq > s.lastSeq:
			r.fate = lost
		case r.fate != lost && r.fate != stored && r.end > then:
			r.fate, r.back = stored, true
		}
	}
	if l.limit < 100 {
		// A small limit may drop what was stored under an old offset before anyone
		// looks: then only the epoch tells, which the connected nodes raise because
		// they know how far the stream went.
		l.newEpochLocked(s)
	}
	l.suspectLocked("")
}

// recreate deletes the stream and makes it anew.
func (l *memLog) recreate(id fanout.StreamID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.streamLocked(id)
	for _, r := range s.records {
		r.fate = lost
	}
	s.lastSeq = 0
	s.life++
	l.createLocked(s)
	l.suspectLocked("")
}

func (l *memLog) suspectLocked(id fanout.StreamID) {
	for _, f := range l.feeds {
		f.suspect(id)
	}
}

func (l *memLog) setDown(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = down
	if !down {
		l.suspectLocked("")
	}
}

// pass moves the log's clock.
func (l *memLog) pass(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clock += int64(d)
}
