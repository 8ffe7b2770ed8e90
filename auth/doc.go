// Package auth decides who a caller is and what it may do. A verifier turns a
// token into [Claims]; [Claims.Allows] answers whether they cover an action on a
// channel or on every channel of a pattern.
//
// A [Verifier] combines what a [Config] asks for: JWT signed with a shared secret
// ([HMACConfig]) or by issuers with private keys ([IssuerConfig]), API keys of the
// configuration ([Keys], kept as SHA-256 hashes) and those of a [KeyStore]. What
// [Revocations] knows does not hold any more. [Open] (development) lets everybody do
// everything. [Signer] makes tokens.
//
// # Tokens
//
// A token's "iss" leads to one issuer, and its algorithm must be one that is configured
// for it. A key verifies the algorithms of its issuer that fit its kind, and no other, so
// that no header can turn a public key into a secret. "kid" picks among the issuer's
// keys. Claims are read strictly: exact names, none twice, times as numbers.
//
// A token with "channel" is for one subscription, [Verifier.AuthenticateSubscription],
// and no other token is.
//
// # Key sets
//
// One with a URL is fetched in the background between [Verifier.Start] and
// [Verifier.Stop], bounded in time, size and number, without redirects. The last good one
// holds for a day while it cannot be fetched; without one, tokens are answered with
// [ErrUnavailable].
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
// The package imports nothing else of Rivulet. It runs one goroutine for each key set
// that has a URL, and logs only what becomes of these. Errors never repeat a token, a key
// or a secret. Everything is safe for concurrent use.
package auth
