// Package websocket serves sessions over WebSocket, with the codecs of package
// protocol and permessage-deflate.
//
// gorilla/websocket does the handshake and parses what clients send. A gate before
// the parser holds back what is unfinished, so that a few parsers serve all
// connections and none of them ever waits; between messages a connection holds no
// buffer. Everything that goes to a client, control frames included, goes through the
// session's outbound buffer, so frames never interleave; a message's frame is built
// (and compressed) once for all its subscribers of one codec.
//
// Bounds: a command has Config.MaxFrame bytes at most, also after inflation; an
// unfinished one holds twice that, 4 KiB and one read (16 KiB) at most, however it is cut
// into fragments, and ends within Config.FrameTimeout. A client that ends its connection, or breaks
// the rules, is read and ignored for up to 16 MiB or Config.CloseTimeout, so that the
// close frame reaches it.
//
// Package socket reads the connections; while commands of one client are worked on, a
// goroutine does that, and nothing more of that client is read. The HTTP handler
// returns after the upgrade, which frees the request and its buffers.
package websocket
