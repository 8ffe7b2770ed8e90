//go:build linux

package bench

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// cost is what a node has taken so far.
type cost struct {
	cpu    time.Duration
	memory int64 // bytes
}

// target is a node that is asked what it takes.
type target interface {
	cost(ctx context.Context) (cost, error)
}

// process is a node on this machine.
type process int

func (p process) file(name string) string { return filepath.Join("/proc", strconv.Itoa(int(p)), name) }

func (p process) cost(context.Context) (cost, error) {
	cpu, err := p.cpu()
	if err != nil {
		return cost{}, err
	}
	memory, err := p.pss()
	return cost{cpu, memory}, err
}

// ticks is the unit of /proc/<pid>/stat: USER_HZ, which is 100 on all of Linux's
// architectures that Go knows.
const ticks = 100

func (p process) cpu() (time.Duration, error) {
	text, err := os.ReadFile(p.file("stat"))
	if err != nil {
		return 0, fmt.Errorf("bench: read the node's CPU time: %w", err)
	}
	// The name of the program, in parentheses, may have spaces.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("bench: %s has %d fields: %w", p.file("stat"), len(fields), os.ErrInvalid)
	}
	var sum time.Duration
	for _, f := range fields[11:13] { // user and system
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("bench: %s: %w", p.file("stat"), err)
		}
		sum += time.Duration(n) * time.Second / ticks
	}
	return sum, nil
}

// pss is the memory of the process, with its share of what it shares.
func (p process) pss() (int64, error) {
	text, err := os.ReadFile(p.file("smaps_rollup"))
	if err != nil {
		return 0, fmt.Errorf("bench: read the node's memory: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("bench: %s has no Pss: %w", p.file("smaps_rollup"), os.ErrInvalid)
}

// local reports whether an address is this machine's.
func local(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	list, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, have := range list {
		if p, err := netip.ParsePrefix(have.String()); err == nil && p.Addr().Unmap() == a {
			return true
		}
	}
	return false
}

// listener finds the process that listens on a port of this machine, 0 if none is
// found: it may belong to somebody else, or to another network namespace.
func listener(port uint16) int {
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table) //nolint:gosec // one of the two above
		if err != nil {
			continue // no IPv6, for example
		}
		for line := range strings.Lines(string(text)) {
			// sl local_address rem_address st ... inode is the tenth.
			f := strings.Fields(line)
			if len(f) > 9 && f[3] == "0A" && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
				inodes["socket:["+f[9]+"]"] = true
			}
		}
	}
	if len(inodes) == 0 {
		return 0
	}
	files, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return 0
	}
	for _, file := range files {
		if to, err := os.Readlink(file); err == nil && inodes[to] {
			pid, _ := strconv.Atoi(strings.Split(file, "/")[2]) // 0 is the answer then
			return pid
		}
	}
	return 0
}
