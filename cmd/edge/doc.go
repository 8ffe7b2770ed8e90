// Package edge is where connections come in: listeners, TLS, and who the client is when
// there are proxies before the node.
//
// # What it promises
//
//   - An address that a request, a header or a PROXY line claims counts only if whoever
//     says so is a trusted proxy; of a list of addresses, the rightmost that is none.
//   - A connection that came with a PROXY header is handed on as plain TCP: what follows
//     the header is neither lost nor copied twice.
//   - A certificate that cannot be read never replaces one that could.
//   - What a peer can hold without having said who it is, is bounded in time.
//
// # Goroutines
//
// Those of [TLS.Run], until its ctx ends. Autocert's renewals are timers, and with that
// ctx refused what they need.
package edge
