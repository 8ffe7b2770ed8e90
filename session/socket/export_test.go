//go:build linux

package socket

// Behind reports whether d's reads go on until nothing is there; ok is false where d
// has no descriptor of its own.
func Behind(d Driver) (behind, ok bool) {
	s, ok := d.(*Socket)
	return ok && s.behind.Load(), ok
}

// DescriptorOf is d's.
func DescriptorOf(d Driver) int {
	if s, ok := d.(*Socket); ok {
		return int(s.fd)
	}
	return -1
}
