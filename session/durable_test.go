package session_test

import (
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/session"
)

func TestDurableUser(t *testing.T) {
	for _, tc := range []struct {
		claims auth.Claims
		want   string // "" is refused
	}{
		{auth.Claims{Subject: "alice"}, "alice"},
		{auth.Claims{}, "-"},
		{auth.Claims{Key: "shop"}, "key:shop"},
		{auth.Claims{Subject: "-"}, ""},
		{auth.Claims{Subject: "key:shop"}, ""},
		{auth.Claims{Subject: "keys"}, "keys"},
	} {
		got, err := session.DurableUser(tc.claims)
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("of %+v: %q, %v, want %q", tc.claims, got, err, tc.want)
		}
	}
}

func TestCheckSessionName(t *testing.T) {
	for name, good := range map[string]bool{
		"phone-1": true, "A.b_C-9": true, strings.Repeat("a", 64): true,
		"": false, strings.Repeat("a", 65): false, "a b": false, "a/b": false, "ä": false, "a\x00": false, "a*": false,
	} {
		if err := session.CheckSessionName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}
