// Package demo is the page that a node serves at / with --dev: chat rooms, a live feed,
// presence and latency, and a button that cuts the page's connection, to see what resuming
// means. Its sources are in clients/js/demo; what they are built to is in dist, checked in
// and embedded, so that a node needs no Node.js. docs/demo.md tells more.
//
// [Site] serves the page. [Tokens] gives its users names: a node that runs open knows
// nobody, and presence would show numbers. [Feed] plays real events while somebody looks
// on, and publishes them as any other publisher does.
//
// None of it is there without --dev. The feed is the one goroutine; [Feed.Stop] waits for
// it.
package demo
