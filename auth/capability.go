package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Action is something a caller may do on a channel.
type Action string

// The actions.
const (
	Subscribe Action = "subscribe" // receive messages, live and from a position on
	Publish   Action = "publish"   // store messages
	History   Action = "history"   // read stored messages
	Presence  Action = "presence"  // see who is subscribed
	Manage    Action = "manage"    // purge the channel, control its subscribers
)

// Actions lists every action.
func Actions() []Action { return []Action{Subscribe, Publish, History, Presence, Manage} }

// actionNames is every action, for a person.
func actionNames() string {
	return fmt.Sprintf("%s, %s, %s, %s and %s", Subscribe, Publish, History, Presence, Manage)
}

// Bounds of capabilities and subjects.
const (
	MaxPatterns     = 128 // per set of capabilities
	MaxSubjectBytes = 255
	MaxInfoBytes    = 1024 // of Claims.Info
	MaxTokenIDBytes = MaxSubjectBytes
	// MaxTokenChannels bounds Claims.Channels.
	MaxTokenChannels = 32
	maxNameBytes     = 256 // of a pattern's name; a channel's has 200 and no variables
	maxSegments      = 16
	maxSegmentBytes  = 200
	subVariable      = "${sub}"
)

// Capabilities say which actions are allowed on which channels. The zero value
// allows nothing. They are immutable; copies share their memory.
type Capabilities struct{ set *capabilitySet }

type capabilitySet struct {
	everything bool
	rules      []rule // one per pattern
}

type rule struct {
	namespace string // "*" is any
	name      string // segments with wildcards and ${sub}
	actions   actionSet
	sub       bool // name has ${sub}
}

// actionSet has the bit 1<<i for the i-th of Actions.
type actionSet uint8

func actionBit(a Action) actionSet {
	switch a {
	case Subscribe:
		return 1 << 0
	case Publish:
		return 1 << 1
	case History:
		return 1 << 2
	case Presence:
		return 1 << 3
	case Manage:
		return 1 << 4
	}
	return 0
}

// Everything allows every action on every channel.
func Everything() Capabilities {
	return Capabilities{&capabilitySet{everything: true}}
}

// NewCapabilities reads capabilities by channel pattern. Unknown actions and
// patterns outside the grammar are errors that name them, all of them.
func NewCapabilities(byPattern map[string][]Action) (Capabilities, error) {
	return newCapabilities(byPattern, true)
}

// newCapabilities skips unknown actions unless strict: they grant nothing, and a
// token that already names an action of a newer version must work on this one.
func newCapabilities(byPattern map[string][]Action, strict bool) (Capabilities, error) {
	if len(byPattern) > MaxPatterns {
		return Capabilities{}, fmt.Errorf("%d patterns, at most %d are allowed", len(byPattern), MaxPatterns)
	}
	set := &capabilitySet{rules: make([]rule, 0, len(byPattern))}
	var errs []error
	for _, pattern := range slices.Sorted(maps.Keys(byPattern)) {
		r, err := parseRule(pattern)
		switch {
		case err != nil && !strict:
			return Capabilities{}, err
		case err != nil:
			errs = append(errs, err)
			continue
		}
		unknown := false
		for _, a := range byPattern[pattern] {
			bit := actionBit(a)
			if bit == 0 && strict {
				unknown = true
				errs = append(errs, fmt.Errorf("%q: unknown action %q; the actions are %s", pattern, clip(string(a)), actionNames()))
			}
			r.actions |= bit
		}
		if r.actions == 0 && strict && !unknown {
			errs = append(errs, fmt.Errorf("%q: no actions; the actions are %s", pattern, actionNames()))
		}
		set.add(r)
	}
	if len(errs) > 0 {
		return Capabilities{}, errors.Join(errs...)
	}
	return Capabilities{set}, nil
}

// add merges two spellings of one pattern, "x" and "default:x".
func (s *capabilitySet) add(r rule) {
	for i := range s.rules {
		if s.rules[i].namespace == r.namespace && s.rules[i].name == r.name {
			s.rules[i].actions |= r.actions
			return
		}
	}
	s.rules = append(s.rules, r)
}

// IsZero reports whether nothing is allowed.
func (c Capabilities) IsZero() bool {
	return c.set == nil || !c.set.everything && len(c.set.rules) == 0
}

// Allows reports whether one capability covers action on channel for subject;
// see Claims.Allows.
func (c Capabilities) Allows(action Action, channel, subject string) bool {
	bit := actionBit(action)
	namespace, name, ok := strings.Cut(channel, ":")
	if c.set == nil || bit == 0 || !ok || name == "" {
		return false
	}
	if c.set.everything {
		return true
	}
	for i := range c.set.rules {
		r := &c.set.rules[i]
		if r.actions&bit != 0 && (r.namespace == "*" || r.namespace == namespace) && r.covers(name, subject) {
			return true
		}
	}
	return false
}

// AllowsSome reports whether the action is allowed on any channel at all.
func (c Capabilities) AllowsSome(action Action) bool {
	bit := actionBit(action)
	if c.set == nil || bit == 0 {
		return false
	}
	return c.set.everything || slices.ContainsFunc(c.set.rules, func(r rule) bool { return r.actions&bit != 0 })
}

func (r *rule) covers(name, subject string) bool {
	if r.sub && !literalSegment(subject) {
		return false
	}
	return coverName(r.name, name, subject)
}

// coverName reports whether every channel that name, a name or a pattern, could
// mean is matched by pattern.
func coverName(pattern, name, subject string) bool {
	for {
		p, prest, pmore := strings.Cut(pattern, ".")
		n, nrest, nmore := strings.Cut(name, ".")
		switch {
		case n == "":
			return false
		case p == ">":
			return true
		case n == ">":
			return false
		case p != "*" && expand(p, subject) != n:
			return false
		case !pmore || !nmore:
			return pmore == nmore
		}
		pattern, name = prest, nrest
	}
}

func expand(segment, subject string) string {
	if segment == subVariable { // the usual case, without allocation
		return subject
	}
	if !strings.Contains(segment, subVariable) {
		return segment
	}
	return strings.ReplaceAll(segment, subVariable, subject)
}

// literalSegment reports whether s is one segment of a channel name and no wildcard.
func literalSegment(s string) bool {
	return s != "" && len(s) <= maxSegmentBytes && !strings.ContainsAny(s, ".*>") && plainText(s)
}

func plainText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || r == '\u2028' || r == '\u2029'
	})
}

func parseRule(pattern string) (rule, error) {
	namespace, name, found := strings.Cut(pattern, ":")
	if !found {
		namespace, name = "default", pattern
	}
	switch {
	case len(name) > maxNameBytes:
		return rule{}, fmt.Errorf("%q: the name is over %d bytes", clip(pattern), maxNameBytes)
	case !plainText(pattern):
		return rule{}, fmt.Errorf("%q: must be UTF-8 without control characters", clip(pattern))
	case !validNamespace(namespace):
		return rule{}, fmt.Errorf("%q: the namespace must be * or 1 to 32 of a-z, 0-9 and -", clip(pattern))
	}
	segments := strings.Split(name, ".")
	if len(segments) > maxSegments {
		return rule{}, fmt.Errorf("%q: %d segments, at most %d are allowed", clip(pattern), len(segments), maxSegments)
	}
	for i, seg := range segments {
		if problem := segmentProblem(seg, i == len(segments)-1); problem != "" {
			return rule{}, fmt.Errorf("%q: %s", clip(pattern), problem)
		}
	}
	return rule{namespace: namespace, name: name, sub: strings.Contains(name, subVariable)}, nil
}

func segmentProblem(seg string, last bool) string {
	switch {
	case seg == "":
		return "has an empty segment; write namespace:name, segments separated by single dots"
	case seg == "*", seg == ">" && last:
		return ""
	case seg == ">":
		return "> must be the last segment"
	case strings.ContainsAny(seg, "*>"):
		return "* and > must stand alone in their segment"
	case strings.Contains(strings.ReplaceAll(seg, subVariable, ""), "${"):
		return "${sub} is the only variable"
	}
	return ""
}

func validNamespace(ns string) bool {
	if ns == "*" {
		return true
	}
	ok := ns != "" && len(ns) <= 32
	for i := range len(ns) {
		b := ns[i]
		ok = ok && (b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '-')
	}
	return ok
}

// clip bounds what an error repeats of its input.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// MarshalJSON writes the capabilities by pattern, as NewCapabilities reads them.
func (c Capabilities) MarshalJSON() ([]byte, error) {
	out := map[string][]Action{}
	if c.set != nil && c.set.everything {
		out["*:>"] = Actions()
	}
	if c.set != nil {
		for _, r := range c.set.rules {
			key := r.namespace + ":" + r.name
			for _, a := range Actions() {
				if r.actions&actionBit(a) != 0 {
					out[key] = append(out[key], a)
				}
			}
		}
	}
	return json.Marshal(out)
}
