// Package cmd is the program: configuration, the wiring of the rooms into a
// [Node], and the commands of the rivulet binary. It is the only place that
// knows every room, and the only one that reads files, flags and environment.
//
// A [Node] is made by [New] and lives from Start to Stop. Several may run in one
// process, each with its own configuration, logger and metrics registry. It
// runs the goroutines of its rooms and one that serves HTTP; Stop waits for all.
//
// [Main] runs a command line as the binary does and returns its exit code.
package cmd
