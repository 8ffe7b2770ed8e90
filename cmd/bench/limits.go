//go:build linux

package bench

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// spareFiles are what a process needs besides its connections.
const spareFiles = 64

// checkLimits says in time what the kernel would refuse.
func checkLimits(s *spec) error {
	o := &s.Options
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("bench: read the limit of file descriptors: %w", err)
	}
	sharing := o.Processes
	if len(o.Worker) == 0 {
		sharing = 1
	}
	need := uint64((o.Connections+s.lanes()+sharing-1)/sharing + spareFiles)
	if need > limit.Cur {
		each := ""
		if sharing > 1 {
			each = fmt.Sprintf(" in each of %d processes", sharing)
		}
		return wrong("--connections %d: needs %d file descriptors%s and the limit is %d; raise it with `ulimit -n %d`, or share them out with --processes",
			o.Connections, need, each, limit.Cur, need)
	}
	for _, n := range s.Nodes {
		if n.Address.Addr().IsLoopback() {
			continue
		}
		each := (o.Connections + len(s.Nodes) - 1) / len(s.Nodes)
		if ports := localPorts(); each > ports {
			return wrong("--connections %d: are %d to %v, and this machine's address has %d ports for them; widen net.ipv4.ip_local_port_range, give more --url, or use more machines",
				o.Connections, each, n.Address, ports)
		}
	}
	return nil
}

// localPorts is how many connections one address can have to another.
func localPorts() int {
	first, last := 32768, 60999
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		_, _ = fmt.Sscan(string(text), &first, &last) // the kernel's default otherwise
	}
	return last - first + 1
}
