package rivulet

import (
	"maps"
	"slices"

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

// lastSeen is the last message of a channel. Offsets of two streams cannot be
// compared.
type lastSeen struct {
	stream string
	offset uint64
}

// suppressor tells messages that came before (clause P-5.5).
type suppressor struct {
	young, old map[string]lastSeen // by channel; old is dropped when young is full
}

// has reports whether m was seen.
func (s *suppressor) has(m *Message) bool {
	last, ok := s.young[m.Channel]
	if !ok {
		last, ok = s.old[m.Channel]
	}
	return ok && last.stream == protocol.StreamKey(m.Position) && m.Offset <= last.offset
}

func (s *suppressor) note(m *Message) {
	if len(s.young) >= mostSeen {
		s.old, s.young = s.young, nil
	}
	if s.young == nil {
		s.young = map[string]lastSeen{}
	}
	s.young[m.Channel] = lastSeen{protocol.StreamKey(m.Position), m.Offset}
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

// starts are where a subscription began: by stream, the offset after which its
// messages lie (clause P-5.7).
type starts map[string]uint64

func startsAt(positions []string) starts {
	s := starts{}
	s.move(positions)
	return s
}

func (s starts) move(positions []string) {
	for _, p := range positions {
		if offset, ok := protocol.PositionOffset(p); ok {
			s[protocol.StreamKey(p)] = offset
		}
	}
}

// before reports whether a message at the offset of the stream lies after them.
func (s starts) before(stream string, offset uint64) bool {
	start, ok := s[stream]
	return !ok || offset > start
}
