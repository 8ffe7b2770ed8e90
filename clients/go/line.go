package rivulet

import "slices"

// This file tells whose the messages of a channel were on earlier links, where patterns
// overlap. All of it runs in the read loop.

// mostNamed bounds what a line remembers. One that had more says of any channel that it
// may have been another's.
const mostNamed = 4096

// line is what has begun on a link, also what has ended there since.
type line struct {
	exact    map[string]struct{}
	patterns []string // in the order in which they began first
	full     bool
}

func (l *line) add(channel string, pattern bool) {
	switch {
	case l.full:
	case len(l.exact)+len(l.patterns) >= mostNamed:
		l.full, l.exact, l.patterns = true, nil, nil
	case !pattern:
		l.exact[channel] = struct{}{}
	case !slices.Contains(l.patterns, channel):
		l.patterns = append(l.patterns, channel)
	}
}

// mostLives bounds how many beginnings of a pattern are remembered.
const mostLives = 8

// lives are the beginnings of a pattern, and what stood before it in the line then.
type lives struct {
	n    int    // how many there were
	last []life // of them, the last
}

type life struct {
	line   *line
	before int // in line.patterns
}

func (l *lives) begin(in *line) {
	if len(l.last) == mostLives {
		l.last = slices.Delete(l.last, 0, 1)
	}
	l.last = append(l.last, life{in, len(in.patterns)})
	l.n++
}

// owned reports whether the messages of a channel were the pattern's alone, from the life
// with this number to the one now: then what it has had in both, it has had in between.
func (l *lives) owned(pattern, channel string, from int) bool {
	oldest := l.n - len(l.last) + 1
	if from < oldest {
		return false
	}
	for _, in := range l.last[from-oldest : len(l.last)-1] {
		if _, taken := in.line.exact[channel]; taken || in.line.full {
			return false
		}
		for _, other := range in.line.patterns[:in.before] {
			if other != pattern && matches(other, channel) {
				return false
			}
		}
	}
	return true
}
