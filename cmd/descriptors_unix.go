//go:build unix

package cmd

import "syscall"

// descriptors is how many files and sockets this process may have open; 0 is unknown.
func descriptors() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return limit.Cur // Go has raised it as far as it may
}
