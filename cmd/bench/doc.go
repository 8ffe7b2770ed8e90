// Package bench puts a load on running nodes and measures what they do with it:
// the engine of `rivulet bench`. Every message is numbered within its channel and
// every subscriber checks that it gets all of them, once and in order.
//
// [Run] leads one or more workers through the steps of a scenario: connect, load,
// drain, end. A worker is [Work] on a pair of pipes, in this process or in one
// that is started for it, and drives all its sockets from one goroutine (package
// raw). Workers meet between steps, so that what is measured is the same time in
// all. Run's goroutines read from the workers and have ended when it returns.
//
// It measures and does not judge: whether a latency is good is the reader's
// affair. Only [Result.Err] is: what was lost, repeated, disordered or refused.
//
// It needs Linux. Elsewhere Run returns [ErrPlatform].
package bench
