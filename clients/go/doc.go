// Package rivulet is the Go SDK of Rivulet, the durable realtime fan-out
// service.
//
// A [Client] holds one WebSocket connection to a node. It reconnects for ever,
// with backoff and jitter, and every [Subscription] goes on from the position of
// the last message it got: each message of a channel comes once, in order, across
// any number of lost connections. Where the log itself no longer has what comes
// next (retention, a purge, a log restored from a backup), the subscription says
// so; it never skips silently.
//
// # Consuming
//
// A subscription is consumed either by ranging over [Subscription.Messages] or
// [Subscription.Updates], or by callbacks given in [SubscribeOptions]. Both take
// from the same bounded buffer. When the application is slower than the channel
// and the buffer is full, the client stops reading its socket, and the node, which
// keeps only a cursor, stops sending; memory stays bounded on both sides and
// nothing is lost. While the socket is not read, the client's other subscriptions
// wait too. Where that would hold up a reply that somebody waits for, or last
// longer than ten seconds, the client instead lets go of the slow subscription
// at the node and takes it up again from where it stopped once half the buffer is
// free; so publishing from within a loop over messages cannot deadlock.
//
// Where subscriptions of one client overlap, each message goes to one of them: to
// the one to its very channel, else to the pattern subscribed to first. Only what
// comes while that one is not begun at the node (before Subscribe, or while the
// node refuses it for now) goes to the next. When one is let go of for being slow,
// those that overlap with it pause too, and one that begins meanwhile waits with them;
// so unsubscribe from what you no longer take from. A durable subscription gets again,
// after a lost connection, what it has not acknowledged, also where a pattern had it.
// What the client's token names comes only to who subscribes to it here: where it overlaps
// with a subscription, the client lets go of it at the node.
//
// To resume in another process, persist [Message].Position after handling each
// message, or [Subscription.Positions] for a pattern, and give them to
// [Client.Subscribe].
//
// # Publishing
//
// [Client.Publish] returns when the message is stored. Every message has an
// idempotency key, generated if none is given, and is repeated with it after a
// lost connection or a temporary error until ctx ends, so it is stored once. A
// back end that only publishes can use [Publisher], which needs no connection.
//
// # Concurrency
//
// All methods may be called concurrently. A client runs one goroutine, and a
// second one as soon as a subscription has callbacks; [Client.Close] waits for
// both, so it must not be called from a callback.
package rivulet
