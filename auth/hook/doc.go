// Package hook asks services of the operator over HTTP, before something is done, whether
// it may be: a connection, a subscription, a publish. A [Hook] is one such service.
//
// # What it promises
//
//   - An answer or an error within [Config.Timeout] twice: once waiting for one of
//     [Config.Concurrency] places, once for the answer, retries included.
//   - At most [MaxWaiting] questions wait for a place; further ones are refused at once. No
//     caller has more than half of the places and an eighth of those who wait, and callers
//     have their turns one after the other.
//   - A breaker refuses at once while too many requests fail; [Config.WhenOpen] says what
//     is answered then. A denial is an answer and no failure, and so is a 4xx, unless it
//     tells of load: what one caller asks does not open the breaker for others.
//   - Nothing is followed or guessed: no redirect, no proxy from the environment, no answer
//     over 64 KiB, and one that is not understood is a failure, never a permission.
//   - Memory is bounded: the answers that are kept by [MaxCached].
//
// Why a hook fails is logged once a minute at WARN, and else at DEBUG. Requests are signed as
// package signature says. Errors and logs repeat neither the URL nor
// what was asked. It runs no goroutine of its own.
package hook
