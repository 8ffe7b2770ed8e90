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
	ctx, stop := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2) // the one that asks to stop and the one that insists
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go obey(signals, stop) // ends with the process
	code := cmd.Main(ctx, os.Args[1:], cmd.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ()})
	stop()
	os.Exit(code)
}

// obey stops the command at the first signal and ends the process at the second,
// with the exit code by which shells tell that a signal did it.
func obey(signals <-chan os.Signal, stop func()) {
	<-signals
	stop()
	code := 128
	if s, ok := (<-signals).(syscall.Signal); ok {
		code += int(s)
	}
	os.Exit(code)
}
