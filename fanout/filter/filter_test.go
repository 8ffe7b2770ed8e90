package filter_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/fanout/filter"
	"github.com/rivulet-rt/rivulet/protocol"
)

func newSet(tb testing.TB) *filter.Set {
	tb.Helper()
	s, err := filter.NewSet()
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestPasses(t *testing.T) {
	alert := &fanout.Message{User: "ann", Client: "c1", Headers: map[string]string{"kind": "alert", "region": "eu-west", "level": "7", "x-y": "z"}}
	bare := &fanout.Message{}
	s := newSet(t)
	for _, tc := range []struct {
		expression  string
		alert, bare bool
	}{
		{`true`, true, true},
		{`false`, false, false},
		{`headers.kind == 'alert'`, true, false},
		{`headers.kind == 'alert' && user != 'bob'`, true, false},
		{`headers.kind == 'alert' && user != 'ann'`, false, false},
		{`headers["x-y"] == "z"`, true, false},
		{`headers.nope == 'x'`, false, false},
		{`headers.nope != 'x'`, false, false},                 // fails, and so does not pass
		{`user == '' || headers.nope == 'x'`, false, true},    // what decides alone is enough
		{`headers.nope == 'x' || user == 'ann'`, true, false}, // on either side
		{`!has(headers.nope)`, true, true},                    //
		{`!('kind' in headers)`, false, true},                 //
		{`has(headers.kind) && headers.kind != 'x'`, true, false},
		{`client == 'c1'`, true, false},
		{`user == ''`, false, true},
		{`headers.region.startsWith('eu-')`, true, false},
		{`headers.region.matches('^(eu|us)-[a-z]+$')`, true, false},
		{`int(headers.level) > 5`, true, false},
		{`int(headers.kind) > 5`, false, false},
		{`headers.level in ['7', '8', '9']`, true, false},
		{`size(headers) == 0`, false, true},
		{`headers.exists(k, k.startsWith('x-'))`, true, false},
		{`1 / size(headers) == 1`, false, false}, // division by zero without headers
	} {
		f, err := s.Compile(tc.expression)
		if err != nil {
			t.Errorf("%s: %v", tc.expression, err)
			continue
		}
		for range 2 { // alone, then shared
			if a, b := f.Passes(alert), f.Passes(bare); a != tc.alert || b != tc.bare {
				t.Errorf("%s: alert %v, bare %v, want %v and %v", tc.expression, a, b, tc.alert, tc.bare)
			}
			f.Acquire()
		}
	}
}

func TestBadExpressions(t *testing.T) {
	s := newSet(t)
	nested := strings.Repeat("(", 100) + "true" + strings.Repeat(")", 100)
	for _, tc := range []struct{ name, expression, problem string }{
		{"empty", "", "has 0 bytes, must have 1 to 1024"},
		{"too long", "user == '" + strings.Repeat("x", 1024) + "'", "must have 1 to 1024"},
		{"cut off", "user ==", "at character 8 "},
		{"third equals sign", "headers.kind === 'a'", "at character 16 of \"headers.kind === 'a'\""},
		{"second line", "user == 'a'\n&& nope", "in line 2, at character 4 "},
		{"unknown variable", "data == 'x'", "undeclared reference to 'data'"},
		{"unknown variable, a way out", "data == 'x'", "; there are headers, user and client"},
		{"one equals sign", "headers.kind = 'alert'", "; write == for equal"},
		{"one ampersand", "user == 'a' & client == 'b'", "&& for and"},
		{"one bar", "user == 'a' | client == 'b'", "|| for or"},
		{"unknown function", "user.nope()", "at character 10 "},
		{"other type", "headers.kind == 1", "no matching overload"},
		{"a text", "headers.kind", "is of type string, must be true or false"},
		{"a number", "1 + 1", "is of type int"},
		{"dyn", "dyn(true)", "is of type dyn"},
		{"loops in loops", "headers.all(a, headers.all(b, headers.all(c, a == b || b == c)))", "is too costly"},
		{"long literals", "[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, [1,2,3,4,5,6,7,8,9].all(c, a*b*c > 0)))", "is too costly"},
		{"too deep", nested, ""},
		{"bad pattern", "user.matches('(')", ""},
		{"pattern with many steps", "headers.x.matches('(.?){1000}b$')", "is too costly"},
		{"many patterns", strings.TrimSuffix(strings.Repeat("headers.x.matches('(a?){9}b') || ", 4), " || "), "is too costly"},
		{"pattern on all headers", "headers.exists(k, headers[k].matches('.*b'))", "is too costly"},
		{"pattern of a message", "headers.x.matches(headers.y)", "is too costly"},
		{"pattern as a function", "matches(headers.x, '(.?){1000}b$')", ""},
		{"not UTF-8", "user == '\xff'", ""},
	} {
		f, err := s.Compile(tc.expression)
		in, ok := errors.AsType[*fanout.InputError](err)
		if !ok || in.Field != "filter" || !strings.Contains(in.Problem, tc.problem) {
			t.Errorf("%s: %v, %v, want %q", tc.name, f, err, tc.problem)
		}
		if ok && len(in.Problem) > 400 {
			t.Errorf("%s: the problem has %d bytes", tc.name, len(in.Problem))
		}
	}
	if n := s.Len(); n != 0 {
		t.Errorf("%d expressions are kept that are none", n)
	}
}

// TestOnceForAll: an expression is compiled once and asked once for each message,
// however many use it.
func TestOnceForAll(t *testing.T) {
	s := newSet(t)
	var wg sync.WaitGroup
	got := make([]*fanout.Filter, 8)
	for i := range got {
		wg.Go(func() { got[i], _ = s.Compile("user == 'ann'") })
	}
	wg.Wait()
	for _, f := range got {
		if f == nil || f != got[0] {
			t.Fatal("one expression has several filters")
		}
	}
	if n := got[0].Users(); n != int64(len(got)) {
		t.Errorf("%d users, want %d", n, len(got))
	}
	asked := 0
	f := fanout.NewFilter(1, func(*fanout.Message) bool { asked++; return true })
	f.Acquire()
	f.Acquire()
	m := &fanout.Message{}
	before := m.Size()
	for range 100 {
		f.Passes(m)
	}
	if asked != 1 {
		t.Errorf("asked %d times for one message", asked)
	}
	if m.Size() == before {
		t.Error("what is kept of the answers does not count in the message's size")
	}
}

// TestVerdictsDoNotMix asks many filters about the same messages, concurrently.
func TestVerdictsDoNotMix(t *testing.T) {
	var filters []*fanout.Filter
	for i := range 100 {
		f := fanout.NewFilter(uint64(i), func(m *fanout.Message) bool { return m.Position.Offset%uint64(i+1) == 0 })
		f.Acquire()
		f.Acquire()
		filters = append(filters, f)
	}
	var wg sync.WaitGroup
	messages := make([]fanout.Message, 50)
	for i := range messages {
		messages[i].Position.Offset = uint64(i)
	}
	for range 4 {
		wg.Go(func() {
			for i := range messages {
				for j, f := range filters {
					if got, want := f.Passes(&messages[i]), uint64(i)%uint64(j+1) == 0; got != want {
						t.Errorf("filter %d of message %d: %v", j, i, got)
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestBounded fills the set, and empties it by what nobody uses.
func TestBounded(t *testing.T) {
	s := newSet(t)
	var filters []*fanout.Filter
	for i := range filter.Most {
		f, err := s.Compile(fmt.Sprintf("user == '%d'", i))
		if err != nil {
			t.Fatal(err)
		}
		filters = append(filters, f)
	}
	if _, err := s.Compile("true"); !errors.Is(err, fanout.ErrTooManyFilters) {
		t.Fatalf("one more than there may be: %v", err)
	}
	if f, err := s.Compile("user == '7'"); err != nil || f != filters[7] {
		t.Errorf("what is there is not found: %v", err)
	}
	filters[3].Release()
	if _, err := s.Compile("true"); err != nil {
		t.Errorf("there is room: %v", err)
	}
	if n := s.Len(); n != filter.Most {
		t.Errorf("%d expressions are kept", n)
	}
}

// BenchmarkWorst evaluates the dearest that is allowed on the largest headers there
// can be.
func BenchmarkWorst(b *testing.B) {
	s := newSet(b)
	m := &fanout.Message{Headers: map[string]string{}}
	for i := range protocol.MaxHeaders {
		m.Headers[fmt.Sprintf("%064d", i)] = strings.Repeat("x", protocol.MaxHeaderValue)
	}
	m.Headers["long"] = strings.Repeat("x", protocol.MaxHeaderValue)
	for name, expression := range map[string]string{
		"look-ups": "headers.exists(a, a > 'y' && headers[a] == 'y' || size(a) == 1)",
		"matching": "headers.exists(k, k.matches('x+y'))",
		"text":     strings.TrimSuffix(strings.Repeat("headers.long.matches('x*x*y') || ", 2), " || "),
		"repeats":  "headers.long.matches('(.?){10}y$')",
	} {
		f, err := s.Compile(expression)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				f.Passes(m)
			}
		})
	}
}

func BenchmarkPasses(b *testing.B) {
	f, err := newSet(b).Compile("headers.kind == 'alert' && user != 'bob'")
	if err != nil {
		b.Fatal(err)
	}
	m := &fanout.Message{User: "ann", Headers: map[string]string{"kind": "alert", "a": "b"}}
	b.Run("alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f.Passes(m)
		}
	})
	f.Acquire()
	b.Run("shared", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f.Passes(m)
		}
	})
}
