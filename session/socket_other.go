//go:build !linux

package session

import "net"

// Tune prepares a connection for many small frames; here it has nothing to set.
func Tune(net.Conn) {}

// Unacked is unknown on this system.
func Unacked(net.Conn) int { return 0 }

// Direct takes nothing on this system: everything is written by the flusher.
type Direct struct{}

// NewDirect returns nil.
func NewDirect(net.Conn) *Direct { return nil }

// TryWrite implements DirectWriter.
func (*Direct) TryWrite([]byte) int { return 0 }
