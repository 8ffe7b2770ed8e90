package rivulet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
)

// token returns what to connect with.
func (o *Options) token(ctx context.Context) (string, error) {
	if o.TokenFunc == nil {
		return o.Token, nil
	}
	token, err := o.TokenFunc(ctx)
	if err != nil {
		return "", fmt.Errorf("rivulet: get token: %w", err)
	}
	return token, nil
}

// renew gives the node of l a fresh token before the old one ends, in left. Where that
// fails to the end, the node closes the connection, and the client comes back with a
// fresh token.
//
//nolint:contextcheck,nolintlint // it outlives its caller, as the client does; the linter sees that only sometimes
func (c *Client) renew(l *link, left time.Duration) {
	if c.opts.TokenFunc == nil {
		return
	}
	c.after(0, func() {
		ctx, cancel := context.WithTimeout(c.life, left)
		defer cancel()
		for failures := 1; ctx.Err() == nil && !l.isLost(); failures++ {
			err := c.refreshOn(ctx, l)
			if err == nil {
				return
			}
			c.opts.Logger.WarnContext(ctx, "token not refreshed", slog.Any("err", err))
			refusal, answered := errors.AsType[*Error](err)
			if answered && !refusal.Temporary {
				return
			}
			wait := time.Duration(0)
			if answered {
				wait = refusal.RetryAfter
			}
			pause(ctx, c.opts.Backoff.wait(failures, wait))
		}
	})
}

func (c *Client) refreshOn(ctx context.Context, l *link) error {
	token, err := c.opts.token(ctx)
	if err != nil {
		return err
	}
	_, _, err = l.call(ctx, &protocol.Command{Refresh: &protocol.RefreshCommand{Token: token}}, c.opts.ReplyTimeout)
	return err
}

// errUnwanted ends a subscribe that was not sent, for nobody wants it any more, or not now.
var errUnwanted = errors.New("the subscription has ended, or waits")

// requests reports whether this request is still to be sent.
func (s *Subscription) requests(request uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase == phaseRequested && s.request == request
}

// sendWithToken gets the subscription's own token and sends c with it, beside the read
// loop, which does not wait for the application.
//
//nolint:contextcheck,nolintlint // it outlives its caller, as the client does; the linter sees that only sometimes
func (s *Subscription) sendWithToken(l *link, request uint64, c *protocol.SubscribeCommand) {
	s.client.after(0, func() {
		ctx, cancel := context.WithTimeout(s.client.life, s.client.opts.HandshakeTimeout)
		defer cancel()
		token, err := s.opts.TokenFunc(ctx, s.channel)
		if err == nil && !s.requests(request) {
			err = errUnwanted
		}
		if err != nil {
			e, ok := errors.AsType[*Error](err)
			if !ok {
				e = &Error{Code: protocol.ErrorUnavailable, Message: "get subscription token", Field: "token", Temporary: true, cause: err}
			}
			s.refused(request, e)
			l.answered(s)
			l.askMore()
			return
		}
		c.Token = token
		id := l.expect(func(e *protocol.Event) { s.answered(l, request, e) })
		if _, err := l.send(nil, &protocol.Command{ID: id, Subscribe: c}); err != nil {
			l.giveUp(id)
			if e, ok := err.(*Error); ok { //nolint:errorlint // send returns it unwrapped
				s.fail(e)
				l.answered(s)
				l.askMore()
			}
			// Else the link is gone, and the next one asks again.
		}
	})
}
