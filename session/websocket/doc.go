// Package websocket serves sessions over WebSocket. gorilla/websocket does the
// handshake and parses what the client sends; everything that goes to the client,
// control frames included, goes through the session's outbound buffer, so frames
// never interleave and a message's frame is built once for all its subscribers.
//
// One goroutine per connection reads; the registry owns it. The HTTP handler
// returns after the upgrade, which frees the request and its buffers.
package websocket
