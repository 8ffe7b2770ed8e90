//go:build linux

// Command limit is the least that a server can do, to measure a node against: it
// accepts WebSocket connections and writes the same frame to each of them, with
// one write(2) per message and connection, from one thread, in order of the
// connections. It stores nothing, checks nothing, and stops for a client that does
// not read.
//
// It reads what to do from its standard input, and says on its standard output
// when it is done:
//
//	{"message":...}      the payload of every frame, on the first line; its numbers
//	                     "n" and "sent" are set for each message
//	                  <- listening 127.0.0.1:40001
//	                  <- ready                      all connections stand
//	write 100 2000       write 100 messages, one every 2,000 us; 0 is without a pause
//	                  <- written
//
// With -greet, every connection is written so many messages as soon as it stands,
// -gather of them with one write.
package main
