package fanout_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/rivulet-rt/rivulet/fanout"
)

func TestParseChannel(t *testing.T) {
	t.Parallel()
	segments := func(n int) string { return strings.TrimSuffix(strings.Repeat("a.", n), ".") }
	for name, c := range map[string]struct {
		in      string
		channel string // "" if it is no channel
		pattern string // "" if it is no pattern either
		problem string // part of the error of ParsePattern, or of ParseChannel where that is a pattern
	}{
		"plain":                  {"chat:lobby", "chat:lobby", "chat:lobby", ""},
		"default namespace":      {"lobby", "default:lobby", "default:lobby", ""},
		"named default":          {"default:lobby", "default:lobby", "default:lobby", ""},
		"several segments":       {"o:eu.de.7", "o:eu.de.7", "o:eu.de.7", ""},
		"second colon":           {"a:b:c", "a:b:c", "a:b:c", ""},
		"spaces and slashes":     {"a:b c/d", "a:b c/d", "a:b c/d", ""},
		"beyond ASCII":           {"chat:räume.日本", "chat:räume.日本", "chat:räume.日本", ""},
		"16 segments":            {"n:" + segments(16), "n:" + segments(16), "n:" + segments(16), ""},
		"17 segments":            {"n:" + segments(17), "", "", "at most 16"},
		"200 bytes":              {strings.Repeat("x", 200), "default:" + strings.Repeat("x", 200), "default:" + strings.Repeat("x", 200), ""},
		"201 bytes":              {strings.Repeat("x", 201), "", "", "over 200 bytes"},
		"200 bytes of 2":         {"a:" + strings.Repeat("ä", 100), "a:" + strings.Repeat("ä", 100), "a:" + strings.Repeat("ä", 100), ""},
		"namespace of 32":        {strings.Repeat("n", 32) + ":x", strings.Repeat("n", 32) + ":x", strings.Repeat("n", 32) + ":x", ""},
		"namespace of 33":        {strings.Repeat("n", 33) + ":x", "", "", "1 to 32"},
		"namespace upper case":   {"Chat:x", "", "", "a-z, 0-9 and -"},
		"namespace empty":        {":x", "", "", "1 to 32"},
		"empty":                  {"", "", "", "empty"},
		"only a namespace":       {"chat:", "", "", "empty"},
		"leading dot":            {"a:.b", "", "", "empty segment"},
		"trailing dot":           {"a:b.", "", "", "empty segment"},
		"two dots":               {"a:b..c", "", "", "empty segment"},
		"newline":                {"a:b\nc", "", "", "control"},
		"C1 control":             {"a:b\u0085", "", "", "control"},
		"line separator":         {"a:b\u2028", "", "", "control"},
		"bad UTF-8":              {"a:b\xff", "", "", "UTF-8"},
		"star":                   {"a:*", "", "a:*", "for patterns"},
		"star inside":            {"a:x.*.y", "", "a:x.*.y", "for patterns"},
		"rest":                   {">", "", "default:>", "for patterns"},
		"rest last":              {"a:x.>", "", "a:x.>", "for patterns"},
		"rest not last":          {"a:>.x", "", "", "must be the last"},
		"star within a segment":  {"a:x*", "", "", "stand alone"},
		"rest within a segment":  {"a:x>", "", "", "stand alone"},
		"star in the namespace":  {"*:x", "", "", "a-z, 0-9 and -"},
		"wildcard namespace too": {"ch>:x", "", "", "a-z, 0-9 and -"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			channel, err := fanout.ParseChannel(c.in)
			problem := c.problem
			if c.pattern == "" && strings.ContainsAny(c.in[strings.Index(c.in, ":")+1:], "*>") {
				problem = "for patterns"
			}
			checkParsed(t, "channel", channel, err, c.channel, problem)
			pattern, perr := fanout.ParsePattern(c.in)
			checkParsed(t, "pattern", pattern, perr, c.pattern, c.problem)
			if err == nil && channel != pattern {
				t.Errorf("a channel %v and its pattern %v differ", channel, pattern)
			}
			if perr == nil && pattern.IsPattern() != (c.channel == "") {
				t.Errorf("IsPattern is %v", pattern.IsPattern())
			}
		})
	}
}

func checkParsed(t *testing.T, what string, got fanout.Channel, err error, want, problem string) {
	t.Helper()
	if want != "" {
		if err != nil || got.String() != want {
			t.Errorf("%s is %q (%v), want %q", what, got, err, want)
		}
		return
	}
	var in *fanout.InputError
	if !errors.As(err, &in) || in.Field != "channel" || !strings.Contains(in.Problem, problem) {
		t.Errorf("%s: error %v, want one of field channel that says %q", what, err, problem)
	}
	if !got.IsZero() {
		t.Errorf("%s: an error and %q", what, got)
	}
}

func TestChannelParts(t *testing.T) {
	t.Parallel()
	c := mustChannel(t, "orders:eu.*.>")
	if c.Namespace() != "orders" || c.Name() != "eu.*.>" || !slices.Equal(c.Segments(), []string{"eu", "*", ">"}) {
		t.Errorf("%q %q %q", c.Namespace(), c.Name(), c.Segments())
	}
	var zero fanout.Channel
	if !zero.IsZero() || zero.Name() != "" || zero.Namespace() != "" || zero.String() != "" || zero.IsPattern() {
		t.Errorf("the zero channel is %+v", zero)
	}
}

// TestErrorsAreBounded holds that an error repeats a little of its input, as valid text.
func TestErrorsAreBounded(t *testing.T) {
	t.Parallel()
	for _, in := range []string{strings.Repeat("ä", 5000), "a:" + strings.Repeat("日", 3000), strings.Repeat("\xff", 9000)} {
		_, err := fanout.ParseChannel(in)
		if err == nil || len(err.Error()) > 500 || !utf8.ValidString(err.Error()) {
			t.Errorf("error of %d bytes: %.100q", len(fmt.Sprint(err)), fmt.Sprint(err))
		}
	}
}

// names lists the dotted names of up to depth segments over words.
func names(words []string, depth int) []string {
	all, last := []string{}, []string{""}
	for range depth {
		var next []string
		for _, prefix := range last {
			for _, w := range words {
				next = append(next, strings.TrimPrefix(prefix+"."+w, "."))
			}
		}
		all, last = append(all, next...), next
	}
	return all
}

// naiveMatch is what PROTOCOL.md says of wildcards, on lists of segments.
func naiveMatch(pattern, name []string) bool {
	for i, p := range pattern {
		switch {
		case p == ">":
			return len(name) > i
		case i >= len(name), p != "*" && p != name[i]:
			return false
		}
	}
	return len(pattern) == len(name)
}

// TestMatchesEveryName compares Matches with the naive oracle, and "covers" with its
// meaning: a pattern covers another if it matches every name that the other does.
// The names have a word and a depth that no pattern has, so they tell all apart.
func TestMatchesEveryName(t *testing.T) {
	t.Parallel()
	var patterns, channels []fanout.Channel
	for _, n := range names([]string{"a", "b", "*", ">"}, 3) {
		if p, err := fanout.ParsePattern("n:" + n); err == nil {
			patterns = append(patterns, p)
		}
	}
	for _, n := range names([]string{"a", "b", "c"}, 4) {
		channels = append(channels, mustChannel(t, "n:"+n))
	}
	matched := make([][]bool, len(patterns))
	for i, p := range patterns {
		matched[i] = make([]bool, len(channels))
		for j, c := range channels {
			matched[i][j] = naiveMatch(p.Segments(), c.Segments())
			if p.Matches(c) != matched[i][j] {
				t.Fatalf("%s matches %s: %v", p, c, !matched[i][j])
			}
			if p.Matches(mustChannel(t, "other:"+c.Name())) {
				t.Fatalf("%s matches across namespaces", p)
			}
		}
	}
	for i, p := range patterns {
		for j, q := range patterns {
			covers := true
			for k := range channels {
				covers = covers && (matched[i][k] || !matched[j][k])
			}
			if p.Matches(q) != covers {
				t.Fatalf("%s covers %s: Matches says %v", p, q, !covers)
			}
		}
	}
}

// TestPatternSet compares the tree with trying each pattern, as patterns come and go.
func TestPatternSet(t *testing.T) {
	t.Parallel()
	words := []string{"a", "b", "*", ">"}
	rapid.Check(t, func(t *rapid.T) {
		var set fanout.PatternSet
		held := make(map[fanout.Channel]bool)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			name := strings.Join(rapid.SliceOfN(rapid.SampledFrom(words), 1, 4).Draw(t, "name"), ".")
			p, err := fanout.ParsePattern(rapid.SampledFrom([]string{"n:", "m:"}).Draw(t, "namespace") + name)
			if err != nil || !p.IsPattern() {
				continue
			}
			if held[p] {
				set.Remove(p)
				delete(held, p)
			} else {
				set.Add(p)
				held[p] = true
			}
			ns, depth := p.Namespace(), rapid.IntRange(1, 5).Draw(t, "depth")
			c, err := fanout.ParseChannel(ns + ":" + strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), depth, depth).Draw(t, "channel"), "."))
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for q := range held {
				if q.Matches(c) {
					want = append(want, q.String())
				}
			}
			got := set.Matching(c)
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Fatalf("%s is matched by %q, want %q", c, got, want)
			}
		}
		for p := range held {
			set.Remove(p)
		}
		if !set.Empty() {
			t.Fatal("nodes are left after the last pattern")
		}
	})
}

func FuzzParseChannel(f *testing.F) { fuzzParse(f, fanout.ParseChannel) }

func FuzzParsePattern(f *testing.F) { fuzzParse(f, fanout.ParsePattern) }

func fuzzParse(f *testing.F, parse func(string) (fanout.Channel, error)) {
	f.Helper()
	for _, s := range []string{
		"", "x", "chat:lobby", "default:x", "a:b:c", "n:a.*.>", ">", "a:>", "a:*.b", "a:.", "a:x..y", "A:x", ":", "a:\x00",
		"a:\xff", "a:ä.日本", strings.Repeat("x", 201), strings.Repeat("a.", 17) + "a", "a:\u2028", "a:*x", "a:>.b",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := parse(s)
		if err != nil {
			var in *fanout.InputError
			if !errors.As(err, &in) || in.Field == "" || !utf8.ValidString(in.Problem) || len(in.Problem) > 500 || !c.IsZero() {
				t.Fatalf("%q: %v, %v", s, c, err)
			}
			return
		}
		again, err := parse(c.String())
		if err != nil || again != c {
			t.Fatalf("%q is %q, which is %q (%v)", s, c, again, err)
		}
		if c.String() != s && c.String() != fanout.DefaultNamespace+":"+s {
			t.Fatalf("%q became %q", s, c)
		}
		if c.Namespace()+":"+c.Name() != c.String() || strings.Join(c.Segments(), ".") != c.Name() {
			t.Fatalf("%q falls into %q %q %q", c, c.Namespace(), c.Name(), c.Segments())
		}
		if len(c.Name()) > fanout.MaxNameBytes || len(c.Segments()) > fanout.MaxSegments || !utf8.ValidString(c.String()) {
			t.Fatalf("%q is over the bounds", c)
		}
		if c.IsPattern() != (slices.Contains(c.Segments(), "*") || slices.Contains(c.Segments(), ">")) || !c.Matches(c) {
			t.Fatalf("%q: pattern %v, matches itself %v", c, c.IsPattern(), c.Matches(c))
		}
	})
}
