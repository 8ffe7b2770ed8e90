//go:build linux

// Package raw has clients of a node that cost as little as they can, so that a
// load on one machine measures the node and not its clients: sockets without the
// standard library's, driven by epoll from one goroutine, and parsers that look
// only for what is measured.
//
// It does not check what a client in earnest must: the handshake's answer is
// trusted, frames are not validated, and texts are found rather than decoded.
// The SDKs are the clients for everything else.
package raw
