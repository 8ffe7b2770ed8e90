// Package auth decides who a caller is and what it may do. A verifier turns a
// token into [Claims]; [Claims.Allows] answers whether they cover an action on a
// channel or on every channel of a pattern.
//
// Verifiers: [Open] (development: everybody may do everything), [HMAC] (JWT
// signed with a shared secret), [Keys] (static API keys of publishers, kept as
// SHA-256 hashes), and [Verifier], which combines what a [Config] asks for. All
// have one method, Authenticate, so that further kinds (public-key JWT, JWKS,
// revocation) stand beside them and callers declare the interface they need.
//
// # Capabilities
//
// Capabilities map channel patterns to actions:
//
//	{"chat:>": ["subscribe","publish","history","presence"], "user:${sub}": ["subscribe"]}
//
// A pattern is "namespace:name"; without a colon the namespace is "default".
// The name has segments separated by dots, of which "*" stands for exactly one
// and ">", as the last, for one or more. The namespace is literal or "*" for any, so
// "*:>" is every channel there is, and a bare ">" only those of "default".
// "${sub}" in a segment stands for the subject. A subject that is not one
// literal segment (empty, over 200 bytes, not UTF-8, or with ".", "*", ">" or a
// control character) matches nothing there: it never widens a pattern.
//
// An action on a pattern is allowed only if one single capability covers every
// channel that the pattern could match; capabilities are not added up.
//
// The package imports nothing else of Rivulet, runs no goroutine, and logs
// nothing. Errors never repeat a token, a key or a secret. Everything is safe for
// concurrent use.
package auth
