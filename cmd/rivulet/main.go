// Command rivulet is a durable realtime fan-out service in one binary; see
// rivulet --help.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/rivulet-rt/rivulet/cmd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	// From the first signal on, the default action is back: a second one ends the
	// process at once.
	context.AfterFunc(ctx, stop)
	code := cmd.Main(ctx, os.Args[1:], cmd.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ()})
	stop()
	os.Exit(code)
}
