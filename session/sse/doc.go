// Package sse serves channels as Server-Sent Events, one way and over plain HTTP:
//
//	GET /v1/events?channel=chat:lobby&channel=news&last=10
//
// A request names up to 32 channels, or one pattern. All are subscribed before the
// answer begins, so whatever is wrong with one of them is an HTTP error. Then
// every message is an unnamed event with the message object as data; subscribed,
// caught_up, gap, position and deleted are named events; comments are heartbeats.
//
// # Resuming
//
// The id of every event is a resume token: where each channel of the connection
// stands after that event. A browser gives the last one back as Last-Event-ID,
// other clients may also as position=. The header goes before the parameters, since
// a browser repeats its URL as it was. A token is a comma-separated list of
// positions, for several channels each with the hash of its channel before it, so
// that two channels on one stream resume independently; a plain position is for
// a connection with one channel or pattern, and refused with several. A client that has a
// position of each of several channels gives position= once for each. A pattern over
// more streams than a token has room for is refused: WebSockets have no such bound. A
// channel that the token does not name starts as the parameters say.
//
// # The end
//
// A browser's EventSource comes back by itself after a connection that broke off
// or ended, and never after an answer other than 200. So what will not get better
// (400, 401, 403, 404) is answered with its status; what will (the log is away,
// the node is full or draining) is, for a client that says it accepts
// text/event-stream, an event stream with a retry time and a disconnect event that
// ends at once, and 503 or 429 for the others. A stream whose token expires ends;
// the browser comes back once and gets 401. A client that vanished without a word is
// noticed by heartbeats that its kernel does not acknowledge, on Linux and HTTP/1;
// elsewhere by TCP alone, which takes its time.
//
// # Polling
//
// GET /v1/poll takes the same parameters and timeout=, and answers once, with one JSON
// object: the messages after the position, at once if there are any, or as soon as one
// comes, and the token to go on from. A poll is a short connection with cursors like
// any other.
//
// # Goroutines
//
// An HTTP/1 connection is taken over from net/http by package socket, and has none of
// its own. HTTP/2 streams and polls stay on the handler's goroutine.
package sse
