package api

import (
	"context"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/session"
)

// readyToPublish refuses a publish of a caller who is over a limit before its body is
// read.
func (a *api) readyToPublish(ctx context.Context, rt route, x *exchange) error {
	if a.deps.Limits == nil {
		return nil
	}
	switch rt.name {
	case "publish", "publish_batch", "broadcast":
		who := fanout.Publication{
			Publisher: x.claims.Publisher(), User: x.claims.Subject, PublishesPerSecond: x.claims.Limits.Publishes,
			Address: x.limitedAddress(),
		}
		return a.deps.Limits.Ready(ctx, &who, x.r.ContentLength)
	}
	return nil
}

// mayRead holds a caller to what one may read.
func (a *api) mayRead(ctx context.Context, x *exchange, messages int) error {
	if a.deps.Limits == nil {
		return nil
	}
	return a.deps.Limits.Read(ctx, x.claims.Publisher(), session.ClientAddr(x.r), "", messages)
}

// limitedAddress is by which the publishes of a caller are counted who has no name, and a
// token that limits them; "" for all others.
func (x *exchange) limitedAddress() string {
	if x.claims.Limits.Publishes == 0 || !x.nameless() {
		return ""
	}
	return x.address()
}
