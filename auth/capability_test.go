package auth_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/auth"
)

func mustCaps(tb testing.TB, byPattern map[string][]auth.Action) auth.Capabilities {
	tb.Helper()
	caps, err := auth.NewCapabilities(byPattern)
	if err != nil {
		tb.Fatalf("NewCapabilities(%v): %v", byPattern, err)
	}
	return caps
}

func TestAllows(t *testing.T) {
	for _, tc := range []struct {
		name, pattern, sub, channel string
		want                        bool
	}{
		{"literal", "chat:lobby", "", "chat:lobby", true},
		{"other name", "chat:lobby", "", "chat:lobby2", false},
		{"prefix is not enough", "chat:lobby", "", "chat:lobby.a", false},
		{"shorter", "chat:lobby.a", "", "chat:lobby", false},
		{"rest, one segment", "chat:>", "", "chat:a", true},
		{"rest, many segments", "chat:>", "", "chat:a.b.c", true},
		{"namespaces are literal", "chat:>", "", "chat2:x", false},
		{"namespace is not a prefix", "chat:>", "", "cha:x", false},
		{"rest needs a segment", "chat:a.>", "", "chat:a", false},
		{"star, one segment", "chat:*", "", "chat:a", true},
		{"star is one segment only", "chat:*", "", "chat:a.b", false},
		{"star in the middle", "chat:a.*.c", "", "chat:a.b.c", true},
		{"star in the middle, other end", "chat:a.*.c", "", "chat:a.b.d", false},
		{"any namespace", "*:>", "", "chat:a.b", true},
		{"any namespace, one name", "*:lobby", "", "chat:lobby", true},
		{"default namespace", "lobby", "", "default:lobby", true},
		{"bare rest is of default only", ">", "", "chat:lobby", false},
		{"colon in the name", "chat:a:b", "", "chat:a:b", true},
		{"case matters", "chat:Lobby", "", "chat:lobby", false},

		{"pattern by rest", "chat:>", "", "chat:a.>", true},
		{"pattern by equal rest", "chat:>", "", "chat:>", true},
		{"pattern by star", "chat:*", "", "chat:*", true},
		{"rest is more than star", "chat:*", "", "chat:>", false},
		{"star is more than a literal", "chat:a", "", "chat:*", false},
		{"rest is more than a deep rest", "chat:a.>", "", "chat:>", false},
		{"star star by rest", "chat:>", "", "chat:*.*", true},
		{"star before rest", "chat:*.>", "", "chat:a.>", true},
		{"star before rest does not cover rest", "chat:*.>", "", "chat:>", false},

		{"subject", "user:${sub}", "ann", "user:ann", true},
		{"other subject", "user:${sub}", "ann", "user:bob", false},
		{"subject inside a segment", "user:in-${sub}", "ann", "user:in-ann", true},
		{"subject inside a segment, other", "user:in-${sub}", "ann", "user:in-bob", false},
		{"subject then rest", "user:${sub}.>", "ann", "user:ann.x.y", true},
		{"subject twice", "user:${sub}-${sub}", "a", "user:a-a", true},
		{"subject with a colon", "user:${sub}", "idp:ann", "user:idp:ann", true},
		{"no subject", "user:${sub}", "", "user:", false},
		{"no subject inside a segment", "user:x${sub}", "", "user:x", false},
		{"subject with a dot", "user:${sub}", "a.b", "user:a.b", false},
		{"subject with a dot inside", "user:${sub}.c", "a.b", "user:a.b.c", false},
		{"subject star", "user:${sub}", "*", "user:bob", false},
		{"subject star, pattern star", "user:${sub}", "*", "user:*", false},
		{"subject rest", "user:${sub}", ">", "user:bob", false},
		{"subject rest, pattern rest", "user:${sub}", ">", "user:>", false},
		{"subject with a newline", "user:${sub}", "a\nb", "user:a\nb", false},
		{"subject not UTF-8", "user:${sub}", "\xff", "user:\xff", false},
		{"subject over the bound", "user:${sub}", strings.Repeat("a", 201), "user:" + strings.Repeat("a", 201), false},
		{"subject is the variable", "user:${sub}", "${sub}", "user:ann", false},
		{"the variable is no channel", "user:${sub}", "ann", "user:${sub}", false},

		{"not canonical", "*:>", "", "lobby", false},
		{"empty", "*:>", "", "", false},
		{"empty name", "chat:>", "", "chat:", false},
		{"empty segment", "chat:a.>", "", "chat:a..b", false},
		{"empty last segment", "chat:a.*", "", "chat:a.", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			caps := mustCaps(t, map[string][]auth.Action{tc.pattern: {auth.Subscribe}})
			claims := auth.Claims{Subject: tc.sub, Capabilities: caps}
			if got := claims.Allows(auth.Subscribe, tc.channel); got != tc.want {
				t.Errorf("%q with sub %q allows %q = %v, want %v", tc.pattern, tc.sub, tc.channel, got, tc.want)
			}
			for _, other := range auth.Actions()[1:] {
				if claims.Allows(other, tc.channel) {
					t.Errorf("%s is allowed and was not given", other)
				}
			}
		})
	}
}

func TestAllowsNothingByDefault(t *testing.T) {
	for _, a := range auth.Actions() {
		if (auth.Claims{}).Allows(a, "chat:a") {
			t.Errorf("zero claims allow %s", a)
		}
		if !(auth.Claims{Capabilities: auth.Everything()}).Allows(a, "chat:>") {
			t.Errorf("Everything does not allow %s", a)
		}
	}
	if (auth.Claims{Capabilities: auth.Everything()}).Allows("fly", "chat:a") {
		t.Error("an unknown action is allowed")
	}
}

// TestCoversExactly compares Allows on patterns with its definition, by
// enumerating all patterns and all names over a small alphabet. The names have
// one letter and one segment more than any pattern, so they tell patterns apart.
func TestCoversExactly(t *testing.T) {
	patterns := enumerate([]string{"a", "*", ">"}, 3)
	names := enumerate([]string{"a", "b"}, 4)
	matches := func(pattern, name string) bool {
		caps := mustCaps(t, map[string][]auth.Action{"n:" + pattern: {auth.History}})
		return caps.Allows(auth.History, "n:"+name, "")
	}
	matched := map[string]map[string]bool{}
	for _, p := range patterns {
		matched[p] = map[string]bool{}
		for _, n := range names {
			matched[p][n] = matches(p, n)
		}
	}
	covered := 0
	for _, rule := range patterns {
		for _, asked := range patterns {
			want := true
			for _, n := range names {
				if matched[asked][n] && !matched[rule][n] {
					want = false
				}
			}
			got := matches(rule, asked)
			if got != want {
				t.Errorf("%q covers %q = %v, want %v", rule, asked, got, want)
			}
			if got {
				covered++
			}
		}
	}
	if covered < len(patterns) {
		t.Errorf("only %d pairs covered: a pattern does not cover itself", covered)
	}
}

func enumerate(alphabet []string, segments int) []string {
	var out []string
	level := []string{""}
	for range segments {
		var next []string
		for _, prefix := range level {
			for _, s := range alphabet {
				name := strings.TrimPrefix(prefix+"."+s, ".")
				out = append(out, name)
				if s != ">" {
					next = append(next, name)
				}
			}
		}
		level = next
	}
	return out
}

func TestNewCapabilitiesRefuses(t *testing.T) {
	tooMany := map[string][]auth.Action{}
	for range auth.MaxPatterns + 1 {
		tooMany[strings.Repeat("x", len(tooMany)+1)] = []auth.Action{auth.Publish}
	}
	one := func(pattern string, actions ...auth.Action) map[string][]auth.Action {
		return map[string][]auth.Action{pattern: actions}
	}
	for _, tc := range []struct {
		name  string
		caps  map[string][]auth.Action
		wants string
	}{
		{"unknown action", one("chat:>", "fly"), `unknown action "fly"`},
		{"no action", one("chat:>"), "no actions"},
		{"empty pattern", one("", auth.Publish), "empty segment"},
		{"empty name", one("chat:", auth.Publish), "empty segment"},
		{"empty namespace", one(":a", auth.Publish), "namespace"},
		{"upper case namespace", one("Chat:a", auth.Publish), "namespace"},
		{"partial namespace", one("ch*:a", auth.Publish), "namespace"},
		{"variable namespace", one("${sub}:a", auth.Publish), "namespace"},
		{"empty segment", one("chat:a..b", auth.Publish), "empty segment"},
		{"rest not last", one("chat:>.a", auth.Publish), "must be the last"},
		{"star inside", one("chat:a*", auth.Publish), "stand alone"},
		{"rest inside", one("chat:a>", auth.Publish), "stand alone"},
		{"other variable", one("chat:${user}", auth.Publish), "only variable"},
		{"open variable", one("chat:${sub", auth.Publish), "only variable"},
		{"control character", one("chat:a\x00", auth.Publish), "control"},
		{"not UTF-8", one("chat:\xff", auth.Publish), "UTF-8"},
		{"too long", one("chat:"+strings.Repeat("a", 300), auth.Publish), "256 bytes"},
		{"too many segments", one("chat:a"+strings.Repeat(".a", 16), auth.Publish), "17 segments"},
		{"too many patterns", tooMany, "129 patterns"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := auth.NewCapabilities(tc.caps)
			if err == nil || !strings.Contains(err.Error(), tc.wants) {
				t.Errorf("error %v, want one with %q", err, tc.wants)
			}
		})
	}
}

func TestCapabilitiesRoundTrip(t *testing.T) {
	caps := mustCaps(t, map[string][]auth.Action{
		"chat:>": {auth.Subscribe, auth.Manage}, "user:${sub}": {auth.Presence}, "x": {auth.Publish}, "default:x": {auth.History},
	})
	b, err := json.Marshal(caps)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"chat:\u003e":["subscribe","manage"],"default:x":["publish","history"],"user:${sub}":["presence"]}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
}

func TestAllowsDoesNotAllocate(t *testing.T) {
	claims := auth.Claims{Subject: "ann", Capabilities: mustCaps(t, map[string][]auth.Action{
		"chat:>": {auth.Subscribe}, "orders:eu.*.x": {auth.Publish}, "user:${sub}": {auth.Subscribe},
	})}
	if n := testing.AllocsPerRun(100, func() {
		if !claims.Allows(auth.Subscribe, "user:ann") || claims.Allows(auth.Publish, "orders:eu.a.y") {
			t.Error("wrong answer")
		}
	}); n != 0 {
		t.Errorf("%v allocations per call", n)
	}
}

// FuzzSubjectNeverWidens: what a subject is given must name the subject itself.
func FuzzSubjectNeverWidens(f *testing.F) {
	for _, seed := range [][2]string{
		{"ann", "user:ann"}, {"*", "user:bob"}, {">", "user:>"}, {"a.b", "user:a.b"}, {"${sub}", "user:${sub}"}, {"", "user:"},
	} {
		f.Add(seed[0], seed[1])
	}
	caps, err := auth.NewCapabilities(map[string][]auth.Action{"user:${sub}": {auth.Subscribe}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, sub, channel string) {
		allowed := caps.Allows(auth.Subscribe, channel, sub)
		if allowed && (channel != "user:"+sub || strings.ContainsAny(sub, ".*>\n\x00")) {
			t.Errorf("subject %q was allowed %q", sub, channel)
		}
	})
}

// FuzzCapabilities: whatever is accepted is written and read back the same.
func FuzzCapabilities(f *testing.F) {
	for _, seed := range []string{"chat:>", "user:${sub}", "*:a.*.b", "x", "a:b:c", "a:${sub}${x}", "é:é", "n:>.>", strings.Repeat("0", 250)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		caps, err := auth.NewCapabilities(map[string][]auth.Action{pattern: {auth.History}})
		if err != nil {
			return
		}
		b, err := json.Marshal(caps)
		if err != nil {
			t.Fatal(err)
		}
		var byPattern map[string][]auth.Action
		if err := json.Unmarshal(b, &byPattern); err != nil {
			t.Fatal(err)
		}
		again, err := auth.NewCapabilities(byPattern)
		if err != nil {
			t.Fatalf("%q was accepted and %s is not: %v", pattern, b, err)
		}
		if b2, _ := json.Marshal(again); string(b2) != string(b) {
			t.Errorf("%s became %s", b, b2)
		}
	})
}
