// Package limit bounds what one caller can do to the others of a node: how often it
// connects, how many connections it has, what it sends and what it publishes; and it
// sheds the newest work when memory runs out.
//
// A rate is a token bucket that is kept as one number: the time at which it will be full
// again. A full bucket is therefore the same as none, so that forgetting an idle caller
// loses nothing, and one costs eight bytes beside its key, where rate.Limiter of
// golang.org/x/time has a hundred and a lock of its own.
//
// # What is bounded
//
// A [Table] holds a fixed number of callers. When all of them are in debt at the same
// moment and one more comes, it shares one bucket with whoever else finds no place in
// the same shard: nobody can make the table grow, and nobody gets past it by bringing
// more addresses than it holds. Handshakes past the node's rate wait in a queue of a
// fixed length, those that resume before those that begin, and past it are told when to
// come back, one after the other at the rate at which they can be admitted.
//
// # Concurrency
//
// All methods may be called concurrently. A [Limiter] that is nil limits nothing. Run
// is the only goroutine, and its caller's.
package limit
