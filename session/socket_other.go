//go:build !linux

package session

import "net"

// Tune prepares a connection for many small frames; here it has nothing to set.
func Tune(net.Conn) {}

// Unacked is unknown on this system.
func Unacked(net.Conn) int { return 0 }
