package cmd_test

import (
	"context"
	"os"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/rivulet-rt/rivulet/cmd"
)

// TestMain is the program too: `rivulet bench` runs itself as its workers.
func TestMain(m *testing.M) {
	if slices.Contains(os.Args, "--worker") {
		os.Exit(cmd.Main(context.Background(), os.Args[1:], cmd.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
	}
	goleak.VerifyTestMain(m)
}
