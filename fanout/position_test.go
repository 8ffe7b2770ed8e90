package fanout_test

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/rivulet-rt/rivulet/fanout"
)

func TestParsePosition(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in      string
		problem string // part of the error; "" if it is a position
	}{
		"one as sent":                {"aB3x0001-rs-cwyvpelgs59s", ""},
		"the start of a stream":      {"aB3x0001-0-0", ""},
		"32 bytes":                   {"zzzzzzzz-zzzzzzzzzz-zzzzzzzzzzzz", ""},
		"empty":                      {"", "not a position"},
		"no time":                    {"aB3x0001-rs", "not a position"},
		"a fourth part":              {"aB3x0001-rs-1-1", "not a position"},
		"a short tag":                {"aB3x000-rs-1", "not a position"},
		"a long tag":                 {"aB3x00011-rs-1", "not a position"},
		"a tag with a dot":           {"aB3.0001-rs-1", "not a position"},
		"a tag that proves nothing":  {"---------rs-1", "not a position"},
		"upper case number":          {"aB3x0001-RS-1", "not a position"},
		"leading zero":               {"aB3x0001-0rs-1", "not a position"},
		"leading zero of the time":   {"aB3x0001-rs-01", "not a position"},
		"plus":                       {"aB3x0001-+1-1", "not a position"},
		"negative time":              {"aB3x0001-1--1", "not a position"},
		"offset over 2^53":           {"aB3x0001-2gosa7pa2gw-1", "offset out of range"},
		"offset over 2^64":           {"aB3x0001-zzzzzzzzzzzzzz-1", "offset out of range"},
		"time over 2^63":             {"aB3x0001-1-1y2p0ij32e8e8", "time out of range"},
		"33 bytes":                   {"aB3x0001-" + strings.Repeat("1", 22) + "-1", "over 32 bytes"},
		"a space":                    {"aB3x0001-1-1 ", "not a position"},
		"a newline in a large input": {strings.Repeat("\n", 1000), "over 32 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := fanout.ParsePosition(c.in)
			if c.problem == "" {
				if err != nil || p.String() != c.in {
					t.Errorf("%q (%v), want %q", p, err, c.in)
				}
				return
			}
			var in *fanout.InputError
			if !errors.As(err, &in) || in.Field != "position" || !strings.Contains(in.Problem, c.problem) {
				t.Errorf("error %v, want one of field position that says %q", err, c.problem)
			}
			if !p.IsZero() {
				t.Errorf("an error and %v", p)
			}
		})
	}
}

func TestPositionNone(t *testing.T) {
	t.Parallel()
	var none fanout.Position
	if !none.IsZero() || none.String() != "" {
		t.Errorf("none is %q", none)
	}
}

func TestStreamTag(t *testing.T) {
	t.Parallel()
	a, raised, other := fanout.StreamTag([]byte("abcde000")), fanout.StreamTag([]byte("abcde001")), fanout.StreamTag([]byte("abcdf000"))
	if !a.SameStream(raised) || a.SameStream(other) || a == raised || a.String() != "abcde000" {
		t.Errorf("%v %v %v", a, raised, other)
	}
}

func TestParsePositions(t *testing.T) {
	t.Parallel()
	const a, raised, b = "abcde000-1-1", "abcde001-9-9", "vwxyz000-2-2"
	for name, c := range map[string]struct {
		in    []string
		field string // of the error; "" if the list is good
	}{
		"none":                       {nil, ""},
		"one":                        {[]string{a}, ""},
		"two streams":                {[]string{a, b}, ""},
		"one stream twice":           {[]string{a, b, a}, "positions"},
		"one stream in two epochs":   {[]string{a, raised}, "positions"},
		"one of them is no position": {[]string{a, "x"}, "position"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := fanout.ParsePositions(c.in)
			var in *fanout.InputError
			if c.field != "" {
				if !errors.As(err, &in) || in.Field != c.field {
					t.Errorf("error %v, want one of field %s", err, c.field)
				}
				return
			}
			if err != nil || len(got) != len(c.in) {
				t.Fatalf("%v, %v", got, err)
			}
			for i, p := range got {
				if p.String() != c.in[i] {
					t.Errorf("%v became %v", c.in[i], p)
				}
			}
		})
	}
}

// What fits into a position of 32 bytes: ten characters of offset, a million messages
// a second for a hundred years, and twelve of time, until the year 2120.
const (
	mostOffset = 36*36*36*36*36*36*36*36*36*36 - 1
	mostTime   = (mostOffset+1)*36*36 - 1
)

const tagLetters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// TestPositionRoundTrip: every position that a log can give fits and comes back.
func TestPositionRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := fanout.Position{
			Offset: rapid.Uint64Range(0, mostOffset).Draw(t, "offset"),
			Time:   rapid.Int64Range(0, mostTime).Draw(t, "time"),
		}
		for i := range p.Stream {
			p.Stream[i] = rapid.SampledFrom([]byte(tagLetters)).Draw(t, "tag")
		}
		s := p.String()
		if len(s) > fanout.MaxPositionBytes {
			t.Fatalf("%q is %d bytes", s, len(s))
		}
		got, err := fanout.ParsePosition(s)
		if err != nil || got != p {
			t.Fatalf("%q came back as %v (%v)", s, got, err)
		}
		if string(p.Append([]byte("x"))) != "x"+s {
			t.Fatal("Append and String differ")
		}
	})
}

func FuzzParsePosition(f *testing.F) {
	for _, s := range []string{
		"", "aB3x0001-rs-cwyvpelgs59s", "aB3x0001-0-0", "aB3x0001-00-0", "--------rs-1", "aB3x0001-1--1", "aB3x0001-1-1-1",
		"zzzzzzzz-2gosa7pa2gv-zzzzzzzzzzz", "zzzzzzzz-2gosa7pa2gw-0", "aB3x0001--", "aB3x0001-1-1\n", "äB3x000-1-1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := fanout.ParsePosition(s)
		if err != nil {
			var in *fanout.InputError
			if !errors.As(err, &in) || in.Field != "position" || len(in.Problem) > 500 || p != (fanout.Position{}) {
				t.Fatalf("%q: %v, %v", s, p, err)
			}
			return
		}
		if p.String() != s || len(s) > fanout.MaxPositionBytes || p.IsZero() || p.Time < 0 || p.Offset >= 1<<53 {
			t.Fatalf("%q became %+v", s, p)
		}
	})
}
