//go:build unix

package cmd

import "syscall"

// descriptors is how many files and sockets this process may have open; 0 is unknown.
func descriptors() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return uint64(limit.Cur) //nolint:unconvert // it is signed on FreeBSD. Go has raised it as far as it may.
}
