//go:build !linux

package socket

import "net"

type pollers struct{}

// Close ends the group. Every connection must have been released.
func (g *Group) Close() {}

func (g *Group) take(net.Conn, Handler) Driver { return nil }

func tune(net.Conn) {}

func unacked(net.Conn) int { return 0 }
