// Package wire is a WebSocket client for tests that trusts nobody: it sends
// whatever bytes a test wants sent, right or wrong, and refuses everything that
// RFC 6455 and RFC 7692 forbid a server. It shares no code with the libraries
// that the product uses, so that the two don't agree on a mistake.
package wire
