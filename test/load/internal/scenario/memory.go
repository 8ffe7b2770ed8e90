//go:build linux

package scenario

import (
	"bytes"
	"os"
	"strconv"
)

// memory is what the process has of its own, in bytes: its proportional set size.
// What the kernel keeps for its sockets is not in it. 0 where it cannot be read.
func (p *process) memory() float64 {
	if p == nil {
		return 0
	}
	text, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/smaps_rollup")
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(text, []byte("\nPss:"))
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, err := strconv.Atoi(string(fields[0]))
	if err != nil {
		return 0
	}
	return float64(kib) * 1024
}
