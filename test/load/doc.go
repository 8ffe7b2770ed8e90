//go:build linux

// Command load measures a node: durable publishing, delivery to one large and to
// many small channels, latency, and the return of a crowd that was cut off. Run it
// from the repository:
//
//	go run ./test/load                              everything, once
//	go run ./test/load -scenario storm,fanout       some scenarios
//	go run ./test/load -runs 5                      the medians of docs/performance.md
//	go run ./test/load -url http://127.0.0.1:8080   a node that runs with --dev already
//
// It ends with exit code 1 if a message was lost, came twice or out of order.
package main
