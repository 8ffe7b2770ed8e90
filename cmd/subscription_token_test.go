package cmd_test

import (
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/auth"
)

// TestSubscriptionTokenOfTheCommandLine: what rivulet token --channel makes is of use to
// rivulet subscribe.
func TestSubscriptionTokenOfTheCommandLine(t *testing.T) {
	n := startNode(t, guardedConfig(t))
	run(t, "", withToken(n, root(t)), "publish", "chat:private", `"hello"`).check(t, 0)
	env := append(withToken(n, mint(t, auth.Claims{Subject: "ann"}, map[string][]auth.Action{"other:>": {auth.Subscribe}})),
		"RIVULET_AUTH_HMAC_SECRET="+testSecret)
	one := strings.TrimSpace(run(t, "", env, "token", "--sub", "ann", "--channel", "chat:private", "--history").check(t, 0).out)
	subscribe := []string{"subscribe", "chat:private", "--last", "1", "--count", "1", "--data"}
	run(t, "", env, subscribe...).check(t, 1, "4403")
	if got := run(t, "", env, append(subscribe, "--subscription-token", one)...).check(t, 0).out; got != "\"hello\"\n" {
		t.Errorf("printed %q", got)
	}
}
