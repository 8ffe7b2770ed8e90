// Package conformance holds a node's sockets against RFC 6455 and RFC 7692, and
// against clients that stall, flood, crawl and vanish. It speaks to them from
// outside, over TCP, frame by frame. It has no code of its own.
//
// The numbers in the names of cases are those of the Autobahn Testsuite, whose
// fuzzing client this follows; target_test.go says what is tested.
package conformance
