package cmd_test

import (
	"testing"

	"github.com/rivulet-rt/rivulet/cmd"
)

// Flags that are looked for by the names that others have for them, and misspelled ones.
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
