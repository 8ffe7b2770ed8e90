package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/go-chi/chi/v5"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/session"
)

// need is what a caller must be allowed to do for an operation. The table of routes has
// one for each, and grant enforces it before anything of the request's body is read.
type need struct {
	action auth.Action
	on     scope
}

// scope is what the action must be allowed on.
type scope uint8

const (
	// everybody needs nothing, not even a token. It is not the zero value: a route that
	// says nothing is open to nobody.
	everybody scope = iota + 1
	// pathChannel is the channel in the path.
	pathChannel
	// eachChannel are the channels that the body names, or that the answer would show:
	// the operation checks or leaves out each. Who may do it on no channel at all is
	// refused before.
	eachChannel
	// everything are all channels: what the operation is about belongs to no one channel.
	everything
)

// everyChannel is the pattern of everything.
const everyChannel = "*:>"

// grant checks the request's token, and that it allows what is needed.
func (a *api) grant(ctx context.Context, x *exchange, n need) (err error) {
	if n.on == everybody {
		return nil
	}
	if err = a.authenticate(ctx, x); err != nil {
		return err
	}
	switch n.on {
	case everybody:
	case pathChannel:
		x.channel, err = x.pathChannel(n.action)
		return err
	case eachChannel:
		if x.claims.Capabilities.AllowsSome(n.action) {
			return nil
		}
		return forbidden("", x.claims.Credential()+" does not allow "+string(n.action)+" on any channel")
	case everything:
		if x.claims.Allows(n.action, everyChannel) {
			return nil
		}
		return forbidden("", x.claims.Credential()+" does not allow "+string(n.action)+` on all channels ("`+everyChannel+`"), which this needs`)
	}
	return forbidden("", "nobody may do this") // no route says so
}

// authenticate checks the request's token, unless its address had too many refused.
func (a *api) authenticate(ctx context.Context, x *exchange) (err error) {
	tries, addr := a.deps.Tries, session.ClientAddr(x.r)
	if tries != nil {
		if err := tries.MayTry(ctx, addr); err != nil {
			return err
		}
	}
	x.claims, err = a.deps.Auth.Authenticate(ctx, bearer(x.r.Header))
	if tries != nil && err != nil && !errors.Is(err, auth.ErrUnavailable) && ctx.Err() == nil {
		tries.Tried(addr)
	}
	return err
}

func forbidden(field, message string) error {
	return &problem{status: http.StatusForbidden, field: field, message: message}
}

// pathChannel reads the path's channel and checks that the claims allow action on it.
func (x *exchange) pathChannel(action auth.Action) (fanout.Channel, error) {
	// The path was matched as it was sent, so this is its only decoding.
	name, err := url.PathUnescape(chi.URLParam(x.r, "channel"))
	if err != nil {
		return fanout.Channel{}, &problem{status: http.StatusBadRequest, field: "channel", message: "the path has a broken % escape"}
	}
	return authorize(&x.claims, action, name)
}

// authorize reads a channel's name and checks that the claims allow action on it.
func authorize(claims *auth.Claims, action auth.Action, name string) (fanout.Channel, error) {
	c, err := fanout.ParseChannel(name)
	if err != nil {
		return c, err
	}
	if !claims.Allows(action, c.String()) {
		return c, forbidden("channel", claims.Credential()+" does not allow "+string(action)+" on "+strconv.Quote(c.String()))
	}
	return c, nil
}
