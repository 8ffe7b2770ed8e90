package migrations_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"pgregory.net/rapid"

	"github.com/rivulet-rt/rivulet/migrations"
)

var layout = migrations.Layout{Namespace: "chat-1", Generation: 3, Partitions: 16}

func TestSubjects(t *testing.T) {
	for name, c := range map[string]struct{ got, want string }{
		"stored":        {layout.Subject(7, []string{"a", "b c", "ü", "*"}), "c.chat-1.3.7.a.b=20c.=C3=BC.=2A"},
		"live":          {layout.LiveSubject(0, []string{"A_-9"}), "live.chat-1.3.0.A_-9"},
		"filter":        {layout.Filter(7, []string{"a", "*", ">"}), "c.chat-1.3.7.a.*.>"},
		"inner rest":    {layout.Filter(7, []string{">", "a"}), "c.chat-1.3.7.=3E.a"},
		"partial":       {layout.LiveFilter(7, []string{"a*"}), "live.chat-1.3.7.a=2A"},
		"stored all":    {layout.StoredAll(2), "c.chat-1.3.2.>"},
		"live all":      {layout.LiveAll(2), "live.chat-1.3.2.>"},
		"head":          {layout.LiveHead(2), "live.chat-1.3.2"},
		"stream":        {layout.Stream(15), "CH_chat-1_3_15"},
		"empty segment": {layout.Subject(0, []string{"", "="}), "c.chat-1.3.0.=.=3D"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", name, c.got, c.want)
		}
	}
	if n := len(layout.Streams()); n != 16 {
		t.Errorf("%d streams", n)
	}
}

// A partition that changed would hide what is stored: these are for ever.
func TestPartitionIsStable(t *testing.T) {
	for channel, want := range map[string]int{"default:a": 7, "chat:lobby": 9, "t:röom": 6, "orders:eu.42": 8} {
		if got := layout.Partition(channel); got != want {
			t.Errorf("%s: partition %d, want %d", channel, got, want)
		}
	}
}

func TestTokensAreInjective(t *testing.T) {
	segment := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.RuneFrom([]rune("=*> .AaFf0\x00\n")))) // short and alike
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SliceOfN(segment, 1, 4).Draw(t, "a")
		b := rapid.SliceOfN(segment, 1, 4).Draw(t, "b")
		one, two := layout.Subject(1, a), layout.Subject(1, b)
		if (one == two) != slices.Equal(a, b) {
			t.Fatalf("%q and %q have subjects %q and %q", a, b, one, two)
		}
	})
}

func FuzzToken(f *testing.F) {
	for _, s := range []string{"", "a", "=", "=41", "ü", ".", "*", ">", " ", "\r\n", "\xff", "=3d", "=3D="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		token := string(migrations.AppendToken(nil, s))
		for i := range len(token) {
			if c := token[i]; c <= ' ' || c >= 0x7f || c == '.' || c == '*' || c == '>' {
				t.Fatalf("%q gives %q", s, token)
			}
		}
		if subject := "c." + token; !server.IsValidPublishSubject(subject) {
			t.Fatalf("%q gives an invalid subject %q", s, subject)
		}
		if back, err := migrations.DecodeToken(token); err != nil || back != s {
			t.Fatalf("%q became %q, %v", s, back, err)
		}
		// And the other way: what decodes is what would have been written.
		if seg, err := migrations.DecodeToken(s); err == nil && string(migrations.AppendToken(nil, seg)) != s {
			t.Fatalf("%q and another token decode to %q", s, seg)
		}
	})
}

func FuzzDecodeName(f *testing.F) {
	for _, s := range []string{"c.n.1.2.a.b", "c.n.1.2.", "c.n.1.2", "live.n.1.2.=.=2E", "....."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		head, encoded, ok := migrations.SplitHead(s)
		if !ok {
			return
		}
		if head+"."+encoded != s || strings.Count(head, ".") != 3 {
			t.Fatalf("%q was cut into %q and %q", s, head, encoded)
		}
		name, err := migrations.DecodeName(encoded)
		if err != nil {
			return
		}
		// A segment with a dot in it cannot be told from two; nobody writes one.
		if !strings.Contains(encoded, "=2E") && layout.Subject(0, strings.Split(name, ".")) != "c.chat-1.3.0."+encoded {
			t.Fatalf("%q decodes to %q, which encodes otherwise", encoded, name)
		}
	})
}

func FuzzParseStream(f *testing.F) {
	for _, s := range []string{"CH_a_1_0", "CH_a-b_12_255", "CH__1_0", "CH_a_01_0", "KV_x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ns, gen, p, ok := migrations.ParseStream(s)
		if ok && (migrations.Layout{Namespace: ns, Generation: gen}).Stream(p) != s {
			t.Fatalf("%q parsed as %q %d %d", s, ns, gen, p)
		}
	})
}

func TestTag(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	base := layout.Tag(3, now, "e")
	if base != layout.Tag(3, now, "e") {
		t.Error("not the same twice")
	}
	other := layout
	other.Generation++
	for name, c := range map[string]struct {
		tag        [8]byte
		sameStream bool
	}{
		"epoch":      {layout.Tag(3, now, "f"), true},
		"created":    {layout.Tag(3, now.Add(1), "e"), true},
		"partition":  {layout.Tag(4, now, "e"), false},
		"generation": {other.Tag(3, now, "e"), false},
	} {
		if c.tag == base || (string(c.tag[:5]) == string(base[:5])) != c.sameStream {
			t.Errorf("%s: %s beside %s", name, c.tag, base)
		}
	}
	for _, b := range base {
		if !strings.ContainsRune("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", rune(b)) {
			t.Errorf("tag %s", base)
		}
	}
}
