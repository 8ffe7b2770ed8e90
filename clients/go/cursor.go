package rivulet

import (
	"maps"
	"slices"
	"strings"

	"github.com/rivulet-rt/rivulet/protocol"
)

// places are the positions a subscription can resume from: one for a channel, the
// latest of each stream for a pattern.
type places struct {
	pattern bool
	one     string
	many    map[string]string // by protocol.StreamKey
}

func (p *places) set(position string) {
	switch {
	case position == "":
	case !p.pattern:
		p.one = position
	default:
		if p.many == nil {
			p.many = map[string]string{}
		}
		p.many[protocol.StreamKey(position)] = position
	}
}

// apply moves to what u says.
func (p *places) apply(u *Update) {
	if u.aside {
		return
	}
	if u.Kind == KindMessage {
		p.set(u.Message.Position)
		return
	}
	if u.Kind == KindSubscribed && len(u.Positions) > 0 {
		p.one, p.many = "", nil
	}
	for _, position := range u.Positions {
		p.set(position)
	}
}

func (p *places) list() []string {
	if !p.pattern {
		if p.one == "" {
			return nil
		}
		return []string{p.one}
	}
	return slices.Sorted(maps.Values(p.many))
}

// mostSeen bounds of how many channels of a pattern the last offset is kept, twice.
const mostSeen = 8192

// mostSpans bounds the spans of one channel; without one that is older, a message of it may
// come twice.
const mostSpans = 8

// lastSeen is what came of a channel. Offsets of two streams cannot be compared.
type lastSeen struct {
	stream string
	offset uint64 // of the last message
	spans  []span // oldest first
	// skip is the last message that was left out, for another subscription has it: no span
	// goes over it, since that one may end, and drop it.
	skip   start
	theirs span // of a channel's own subscription: see link.theirs
	parts  int  // see suppressor
}

// span is a stretch of a log of which a subscription has had all messages of a channel that
// are its.
type span struct {
	log      string // and its epoch: see logOf
	from, to uint64 // after from, up to to
	life     int    // of the subscription, in which it grew last
}

// suppressor tells messages that came before (clause P-5.5).
type suppressor struct {
	young, old map[string]lastSeen // by channel; old is dropped when young is full
	parts      int                 // how often what comes next was not next to what came before
}

// part notes that others may have had what lies between what came and what comes next, and
// may drop it: no span goes over that.
func (s *suppressor) part() { s.parts++ }

func (s *suppressor) last(channel string) lastSeen {
	last, ok := s.young[channel]
	if !ok {
		last = s.old[channel]
	}
	return last
}

// has reports whether m, or one after it, was seen.
func (s *suppressor) has(m *Message) bool {
	last := s.last(m.Channel)
	return last.stream == protocol.StreamKey(m.Position) && m.Offset <= last.offset
}

// had reports whether m itself was seen. One after it is no proof: who gets the messages of
// overlapping subscriptions may differ from link to link, and what came by another link
// says nothing of those before it that were another subscription's.
func (s *suppressor) had(m *Message) bool {
	log := logOf(m.Position)
	for _, had := range s.last(m.Channel).spans {
		if had.log == log && had.from < m.Offset && m.Offset <= had.to {
			return true
		}
	}
	return false
}

// note notes m, which came in a life that began at the offset from: what lies between is
// the subscription's too. goesOn reports whether what came since an earlier life was.
func (s *suppressor) note(m *Message, from uint64, life int, goesOn func(life int) bool) {
	last := s.last(m.Channel)
	if last.parts != s.parts {
		last.parts, last.skip = s.parts, start{log: logOf(m.Position), offset: m.Offset - 1}
	}
	last.stream, last.offset = protocol.StreamKey(m.Position), m.Offset
	last.extend(span{logOf(m.Position), min(from, m.Offset-1), m.Offset, life}, goesOn)
	s.set(m.Channel, last)
}

// skipped notes that m was left out.
func (s *suppressor) skipped(m *Message) {
	last := s.last(m.Channel)
	last.skip = start{log: logOf(m.Position), offset: m.Offset}
	s.set(m.Channel, last)
}

// began notes in which stretch of a log others have had some of a channel.
func (s *suppressor) began(channel string, theirs span) {
	last := s.last(channel)
	if had := last.theirs; had.log == theirs.log && last.offset <= had.to {
		theirs.from, theirs.to = min(theirs.from, had.from), max(theirs.to, had.to)
	}
	last.theirs = theirs
	s.set(channel, last)
}

func (s *suppressor) set(channel string, last lastSeen) {
	if _, known := s.young[channel]; !known && len(s.young) >= mostSeen {
		s.old, s.young = s.young, nil
	}
	if s.young == nil {
		s.young = map[string]lastSeen{}
	}
	s.young[channel] = last
}

// extend adds a span, to an earlier one where there is nothing in between.
func (l *lastSeen) extend(more span, goesOn func(life int) bool) {
	skip := l.skipped(more.log, more.to)
	more.from = max(more.from, skip)
	for i := range slices.Backward(l.spans) {
		had := &l.spans[i]
		if had.log == more.log && had.from <= more.from && (more.from <= had.to || skip <= had.to && goesOn(had.life)) {
			had.to, had.life = max(had.to, more.to), more.life
			return
		}
	}
	if len(l.spans) >= mostSpans {
		l.spans = slices.Delete(l.spans, 0, 1)
	}
	l.spans = append(l.spans, more)
}

// skipped is the last offset before another that is not, or perhaps not, the subscription's.
func (l *lastSeen) skipped(log string, before uint64) (offset uint64) {
	if l.skip.log == log && l.skip.offset < before {
		offset = l.skip.offset
	}
	if t := l.theirs; t.log == log && t.from < before {
		offset = max(offset, min(t.to, before-1))
	}
	return offset
}

// upTo is how far in a log what is known of a channel goes.
func (l *lastSeen) upTo(log string) (offset uint64) {
	if l.stream != "" && strings.HasPrefix(log, l.stream) {
		offset = l.offset
	}
	if l.skip.log == log {
		offset = max(offset, l.skip.offset)
	}
	for _, had := range l.spans {
		if had.log == log {
			offset = max(offset, had.to)
		}
	}
	return offset
}

// forget drops what is known of a channel, or of all if channel is "".
func (s *suppressor) forget(channel string) {
	if channel == "" {
		s.young, s.old = nil, nil
		return
	}
	delete(s.young, channel)
	delete(s.old, channel)
}

// logOf is what stands before the offset in a position: the stream and its epoch. Offsets
// of two of them cannot be compared.
func logOf(position string) string {
	log, _, _ := strings.Cut(position, "-")
	return log
}

// start is a place in a log.
type start struct {
	log      string
	offset   uint64
	position string // "" where that is of no use
}

// starts are where a subscription began: by stream, the place after which its messages lie
// (clause P-5.7).
type starts map[string]start

func startsAt(positions []string) starts {
	s := starts{}
	s.move(positions)
	return s
}

func (s starts) move(positions []string) {
	for _, p := range positions {
		if offset, ok := protocol.PositionOffset(p); ok {
			s[protocol.StreamKey(p)] = start{logOf(p), offset, p}
		}
	}
}

// in is the offset of the start in the log of a position; 0 where that is another one, all
// of which lies after it.
func (s starts) in(position string) uint64 {
	if start := s[protocol.StreamKey(position)]; start.log == logOf(position) {
		return start.offset
	}
	return 0
}

// before reports whether a message lies after them.
func (s starts) before(position string, offset uint64) bool {
	start, ok := s[protocol.StreamKey(position)]
	return !ok || start.log != logOf(position) || offset > start.offset
}
