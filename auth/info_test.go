package auth_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
)

// TestInfo: the claim info is kept as compact JSON, and bounded.
func TestInfo(t *testing.T) {
	h := newHMAC(t, hmacConfig())
	for _, tc := range []struct{ name, info, want, problem string }{
		{"none", ``, ``, ""},
		{"null", `,"info":null`, ``, ""},
		{"object", `,"info": {"name" : "Ann \"x\" ]]", "tags":[1, 2]}`, `{"name":"Ann \"x\" ]]","tags":[1,2]}`, ""},
		{"text", `,"info":"x y"`, `"x y"`, ""},
		{"other case", `,"Info":"x"`, ``, ""},
		{"as long as it may be", `,"info":"` + strings.Repeat("a", 1022) + `"`, `"` + strings.Repeat("a", 1022) + `"`, ""},
		{"too long", `,"info":"` + strings.Repeat("a", 1023) + `"`, ``, "meta: has 1025 bytes, at most 1024 are allowed"},
		{"deep", `,"info":` + strings.Repeat("[", 16) + strings.Repeat("]", 16), strings.Repeat("[", 16) + strings.Repeat("]", 16), ""},
		{"too deep", `,"info":` + strings.Repeat("[", 17) + strings.Repeat("]", 17), ``, "meta: is nested deeper than 16"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			claims, err := h.Authenticate(t.Context(), hs256(t, fmt.Sprintf(`{"sub":"ann","exp":%d%s}`, future(), tc.info)))
			switch {
			case tc.problem == "" && (err != nil || claims.Info != tc.want):
				t.Errorf("%q, %v; want %q", claims.Info, err, tc.want)
			case tc.problem != "" && (!errors.Is(err, auth.ErrInvalid) || !strings.Contains(err.Error(), tc.problem)):
				t.Errorf("%v, want %s", err, tc.problem)
			}
		})
	}
}

func TestMintInfo(t *testing.T) {
	claims := auth.Claims{Subject: "ann", ExpiresAt: time.Now().Add(time.Hour), Info: `{"name": "Ann"}`}
	token, err := auth.Mint(hmacConfig(), claims)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := newHMAC(t, hmacConfig()).Authenticate(t.Context(), token); err != nil || got.Info != `{"name":"Ann"}` {
		t.Errorf("%q, %v", got.Info, err)
	}
	for _, bad := range []string{"{", "ann", `"` + strings.Repeat("a", 2000) + `"`} {
		claims.Info = bad
		if _, err := auth.Mint(hmacConfig(), claims); err == nil {
			t.Errorf("%.20q was taken", bad)
		}
	}
}
