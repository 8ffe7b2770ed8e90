// Package socket reads connections and writes to them without waiting.
//
// On Linux a plain TCP connection is taken over from net/http: its descriptor waits
// in an epoll set, and while nothing arrives it has no goroutine and no buffer. Other
// connections (TLS, pipes) and other systems have one goroutine that reads. Both are a
// [Driver] and call the same [Handler].
//
// # What it promises
//
//   - Receive, Work and Ended of one handler are called one after the other, and
//     nothing is received while Work runs: what a client sends meanwhile waits in the
//     kernel, which stops the client.
//   - A descriptor is closed by Release alone, so no read or write can meet another
//     connection that was given the same number.
//
// # Goroutines
//
// One per epoll set, from the first connection taken over until [Group.Close]. One per
// connection only while its Work or Ended runs; in the fallback, as long as it lives.
// They are started with the function given to [NewGroup], whose owner waits for them.
package socket
