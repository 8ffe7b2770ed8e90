package fanout

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of channel names.
const (
	MaxNameBytes     = 200 // of the part after the namespace
	MaxSegments      = 16
	maxNamespace     = 32
	DefaultNamespace = "default"
)

// Channel is a parsed, valid channel name or pattern. The zero value is not valid.
// Channels are comparable; two spellings of one channel ("x", "default:x") are equal.
type Channel struct {
	full    string // namespace:name
	colon   uint8  // len(namespace)
	pattern bool
}

// ParseChannel reads "namespace:name" or "name" (namespace "default"). The name
// is UTF-8 up to MaxNameBytes in 1 to MaxSegments segments separated by ".".
// Errors are *InputError with field "channel".
func ParseChannel(s string) (Channel, error) { return parse(s, false) }

// ParsePattern reads a channel or a pattern: "*" stands for one segment, ">" as
// the last segment for one or more.
func ParsePattern(s string) (Channel, error) { return parse(s, true) }

func parse(s string, patternAllowed bool) (Channel, error) {
	ns, name, found := strings.Cut(s, ":")
	if !found {
		ns, name = DefaultNamespace, s
	}
	if err := CheckNamespace(ns); err != nil {
		return Channel{}, badInput("channel", "%q: %s", clip(s), err.Problem)
	}
	if err := checkName(name); err != "" {
		return Channel{}, badInput("channel", "%q: %s", clip(s), err)
	}
	c := Channel{full: s, colon: uint8(len(ns))}
	if !found {
		c.full = ns + ":" + name
	}
	segments := strings.Split(name, ".")
	if len(segments) > MaxSegments {
		return Channel{}, badInput("channel", "%q has %d segments, at most %d are allowed", clip(s), len(segments), MaxSegments)
	}
	for i, seg := range segments {
		switch {
		case seg == "":
			return Channel{}, badInput("channel", "%q has an empty segment; segments are separated by single dots", clip(s))
		case !patternAllowed && strings.ContainsAny(seg, "*>"):
			return Channel{}, badInput("channel", "%q: * and > are for patterns; a channel name cannot have them", clip(s))
		case seg == "*", seg == ">" && i == len(segments)-1:
			c.pattern = true
		case seg == ">":
			return Channel{}, badInput("channel", "%q: > must be the last segment", clip(s))
		case strings.ContainsAny(seg, "*>"):
			return Channel{}, badInput("channel", "%q: * and > must stand alone in their segment", clip(s))
		}
	}
	return c, nil
}

// CheckNamespace reports whether ns is a valid namespace name, [a-z0-9-]{1,32}.
func CheckNamespace(ns string) *InputError {
	if ns == "" || len(ns) > maxNamespace {
		return badInput("namespace", "%q must have 1 to %d characters", clip(ns), maxNamespace)
	}
	for i := range len(ns) {
		b := ns[i]
		if (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '-' {
			return badInput("namespace", "%q may only have a-z, 0-9 and -", clip(ns))
		}
	}
	return nil
}

func checkName(name string) string {
	switch {
	case name == "":
		return "the name is empty; write namespace:name or name"
	case len(name) > MaxNameBytes:
		return "the name is over 200 bytes"
	case !utf8.ValidString(name):
		return "the name is not valid UTF-8"
	}
	for _, r := range name {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return "control characters are not allowed"
		}
	}
	return ""
}

// clip bounds what an error message repeats of its input.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// Namespace is the part before the colon.
func (c Channel) Namespace() string { return c.full[:c.colon] }

// Name is the part after the colon.
func (c Channel) Name() string {
	if c.full == "" {
		return ""
	}
	return c.full[c.colon+1:]
}

// Segments are the parts of the name between dots.
func (c Channel) Segments() []string { return strings.Split(c.Name(), ".") }

// IsPattern reports whether the name has wildcards.
func (c Channel) IsPattern() bool { return c.pattern }

// IsZero reports whether c is the zero value.
func (c Channel) IsZero() bool { return c.full == "" }

// String is the canonical form, "namespace:name".
func (c Channel) String() string { return c.full }

// Matches reports whether a message of the channel other belongs to c: equal, or
// covered by c's wildcards. Wildcards in other only match wildcards of c that
// cover them, so it also tells whether pattern c covers pattern other.
func (c Channel) Matches(other Channel) bool {
	if !c.pattern {
		return c == other
	}
	return c.Namespace() == other.Namespace() && matchName(c.Name(), other.Name())
}

func matchName(pattern, name string) bool {
	for {
		p, prest, pmore := strings.Cut(pattern, ".")
		n, nrest, nmore := strings.Cut(name, ".")
		switch {
		case p == ">":
			return true
		case n == ">", p != "*" && p != n:
			return false
		case !pmore || !nmore:
			return pmore == nmore
		}
		pattern, name = prest, nrest
	}
}
