// Package protocol is the wire: the commands a client sends, the events a node
// answers with, their codecs, and the error and close codes. PROTOCOL.md in
// this folder is the specification with numbered clauses; testdata holds the
// golden vectors that every SDK reads. There are two codecs, JSON and Protobuf, of
// which rivulet.proto is the schema; the types are the same for both.
//
// The package owns no connection and runs no goroutine. Everything in it is
// safe for concurrent use. It imports nothing else of Rivulet, so that a client
// SDK can import it without the server.
package protocol
