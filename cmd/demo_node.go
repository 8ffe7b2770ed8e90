package cmd

import (
	"context"
	"net/http"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/cmd/demo"
	"github.com/rivulet-rt/rivulet/cmd/edge"
)

// startCallers is who tells callers from each other: the verifier, and with Dev the tokens
// of the demo, whose page is prepared too.
func (n *Node) startCallers(verifier *auth.Verifier, revocations auth.Revocations) (edge.Authenticator, error) {
	callers := n.authenticator(verifier)
	if !n.cfg.Dev {
		return callers, nil
	}
	tokens, err := demo.NewTokens(callers, revocations)
	if err != nil {
		return nil, err
	}
	n.page, err = demo.NewSite(tokens)
	return tokens, err
}

// startFeed plays the demo's events, with Dev alone.
func (n *Node) startFeed(ctx context.Context, a demo.Audience, p demo.Publisher) error {
	if !n.cfg.Dev {
		return nil
	}
	feed, err := demo.NewFeed(a, p, n.log)
	if err != nil {
		return err
	}
	feed.Start(ctx)
	n.undo.push("demo", feed.Stop)
	return nil
}

// withPage is handler with the demo before it, where there is one.
func (n *Node) withPage(handler http.Handler) http.Handler {
	if n.page == nil {
		return handler
	}
	return n.page.Over(handler)
}
