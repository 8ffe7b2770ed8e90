// Package session is one client's connection: its commands, its outbound
// buffer, its heartbeats and its end; and the [Registry], which counts, sweeps
// and drains all connections of the node. The transports are sub-packages: they
// turn bytes into commands and events into bytes, and own the sockets.
//
// # What it promises
//
//   - Frames never interleave and leave in the order in which they were given;
//     everything that waits leaves in as few writes as possible, without a timer.
//   - A client that reads slowly is never cut for it: its deliveries are refused
//     above a soft limit, so that its cursors wait in the log, and taken again
//     when there is room. Only a client that reads nothing at all for
//     [Config.StallTimeout] while something waits is closed.
//   - Memory per connection is bounded: deliveries by [Config.SoftBuffer], notices
//     and replies by [Config.HardBuffer], each exceeded by one frame at most.
//   - The close frame, after a disconnect event with the same code, is the last
//     thing written.
//   - The publishes of one connection are stored in the order in which they came; those of
//     a namespace that asks a hook, among themselves.
//
// # What it does not
//
// It keeps no message: delivery is fanout's, the log is the broker's. Of a durable
// session it holds what the client has acknowledged, until that is written. It does not
// rate-limit.
//
// # Goroutines
//
// A plain TCP connection has none while nothing happens: package socket reads it, and
// whoever has a frame for it writes it. Over other connections one goroutine reads,
// and one writes while something waits. A publish under way and a history or presence
// have one each. The registry runs one sweeper, and one that writes durable
// sessions. Whoever starts one waits for it.
package session
