package cmd_test

import (
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/cmd"
)

// A port where nobody listens is no node that is away for a moment.
func TestPublishToNobody(t *testing.T) {
	const want = "rivulet: the node cannot be reached: dial tcp 127.0.0.1:1: "
	for _, more := range [][]string{{"1"}, {"1", "--ttl", "1m"}, nil} {
		r := run(t, "1\n", nil, append([]string{"publish", "a", "--url", "http://127.0.0.1:1"}, more...)...).check(t, 1, "is a node running there?", "give --timeout")
		if !strings.Contains(strings.ReplaceAll(r.err, "line 1: ", ""), want) || strings.Contains(r.err, "trying again") {
			t.Errorf("%v: %s", more, r.err)
		}
	}
}

func TestOtherNames(t *testing.T) {
	version := run(t, "", nil, "version").check(t, 0)
	if r := run(t, "", nil, "--version").check(t, 0); r.out != version.out || version.out == "" {
		t.Errorf("--version says %q, version %q", r.out, version.out)
	}
	run(t, "", nil, "history", "a", "--limit", "-1").check(t, cmd.ExitUsage, "--last -1: must be from 1 to")
	run(t, "", nil, "history", "a", "--lst", "1").check(t, cmd.ExitUsage, "unknown flag: --lst; did you mean --last?")
	run(t, "", nil, "history", "a", "--nothing-like-it").check(t, cmd.ExitUsage, "unknown flag: --nothing-like-it; see: rivulet history --help")
	run(t, "", nil, "subscribe", "chat:bad..name").check(t, cmd.ExitUsage, "chat:bad..name")
}
