// Package api is the HTTP API: publishing, history, purging, presence, health, metrics and
// the specification, openapi.yaml, which the node serves and the tests hold
// every request and response against. It also gives the WebSocket and SSE
// endpoints, made elsewhere, their paths.
//
// Every JSON body is {"code", "message", "data"}; code is the HTTP status. An
// error's data names the field at fault ("field"), when to come back
// ("retry_after_ms") and, where it is unknown whether a message was stored,
// until when a retry with its idempotency key is safe ("retry_until"). One table
// (errors.go) makes status, text and headers of every error.
//
// Promises: a 2xx to a publish means that all of its messages are stored, for a
// batch as well; a request with a field or parameter that this version does not
// know is refused, never half obeyed; every input is bounded, the bytes of all
// bodies in memory together included.
//
// Not promised: rate limits per caller, CORS, and TLS, which belong to what
// stands before it.
//
// The package runs no goroutine of its own; handlers end with their requests,
// which Config.Timeout bounds.
package api
