// Package filter compiles the expressions by which subscriptions choose messages: CEL
// (the Common Expression Language) over what is around a message's data.
//
//	headers.kind == 'alert' && user != 'bob'
//	has(headers.region) && headers.region.startsWith('eu-')
//
// headers is a map of strings to strings, user and client are strings, "" where they
// are not known. An expression for which evaluation fails, as for a header that is not
// there, does not let the message pass.
//
// Promised: an expression is compiled once however many connections give it; how many
// different ones are kept is bounded by [Most], their size by protocol.MaxFilterBytes,
// and what one evaluation may cost is judged before it is ever evaluated, from the
// bounds that a message's headers have, so that evaluating needs no meter.
//
// It has no goroutines.
package filter
