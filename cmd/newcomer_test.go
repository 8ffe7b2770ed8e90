package cmd_test

import (
	"strings"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/cmd"
)

// A port where nobody listens from the start is no node that is away for a moment.
func TestPublishToNobody(t *testing.T) {
	t.Parallel()
	const nobody = "the node cannot be reached: dial tcp 127.0.0.1:1: "
	for _, more := range [][]string{{"1"}, {"1", "--ttl", "1m"}, nil} {
		t.Run(strings.Join(more, " "), func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			r := run(t, "1\n", nil, append([]string{"publish", "a", "--url", "http://127.0.0.1:1"}, more...)...).check(t, 1,
				nobody, "trying again for up to 5s\n", "is a node running there?", "give --timeout")
			if last := strings.ReplaceAll(r.err[strings.LastIndex(r.err, "rivulet: "):], "line 1: ", ""); !strings.HasPrefix(last, "rivulet: "+nobody) {
				t.Errorf("the end says: %s", last)
			}
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("it took %v", took)
			}
		})
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
