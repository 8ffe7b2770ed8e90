package rivulet

import (
	"context"
	"errors"
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
)

// HistoryOptions say which stored messages to read.
type HistoryOptions struct {
	// After and Before are positions, both exclusive.
	After  string
	Before string
	// Since is the time of the first message wanted.
	Since time.Time
	// Limit is 1 to 1,000; 0 is 100.
	Limit int
	// Newest first.
	Desc bool
}

// HistoryPage is one page of a channel's messages.
type HistoryPage struct {
	Messages []*Message
	// Position is where the next page begins: give it as After, or as Before if
	// newest first.
	Position string
	More     bool
	// Recovered is false, for Reason, when messages after HistoryOptions.After may be
	// missing.
	Recovered bool
	Reason    string
}

// History reads stored messages of a channel, without subscribing. Lost
// connections and temporary errors are overcome until ctx ends.
func (c *Client) History(ctx context.Context, channel string, opts HistoryOptions) (*HistoryPage, error) {
	cmd := &protocol.HistoryCommand{Channel: canonical(channel), After: opts.After, Before: opts.Before, Limit: opts.Limit, Order: "asc"}
	if opts.Desc {
		cmd.Order = "desc"
	}
	if !opts.Since.IsZero() {
		cmd.Since = opts.Since.UnixMilli()
	}
	e, err := c.repeat(ctx, func() *protocol.Command { return &protocol.Command{History: cmd} })
	if err != nil {
		return nil, doing(err, "history of %s", cmd.Channel)
	}
	h := e.History
	if h == nil {
		return nil, errUnexpectedReply
	}
	page := &HistoryPage{Position: h.Position, More: h.More, Recovered: h.Recovered, Reason: h.Reason}
	for i := range h.Messages {
		m, err := newMessage(&h.Messages[i])
		if err != nil {
			return nil, err
		}
		page.Messages = append(page.Messages, m)
	}
	return page, nil
}

// Refresh gives the node the token of Options.TokenFunc anew, before the old one
// expires. The subject must stay the same.
func (c *Client) Refresh(ctx context.Context) error {
	token, err := c.opts.token(ctx)
	if err != nil {
		return err
	}
	if _, err = c.repeat(ctx, func() *protocol.Command {
		return &protocol.Command{Refresh: &protocol.RefreshCommand{Token: token}}
	}); err != nil {
		return doing(err, "refresh")
	}
	return nil
}

// unsubscribe has the node of l let go of a channel or pattern, and calls gone, in the read
// loop, when it has. A node that cannot now is asked again: until it can, it goes on. It
// returns an error, and gone is never called, if the link is gone.
func (c *Client) unsubscribe(l *link, channel string, gone func()) error {
	failures := 0
	var ask func() error
	ask = func() error {
		id := l.expect(func(e *protocol.Event) {
			if e.Error == nil || !errorFrom(e.Error).Temporary {
				gone()
				return
			}
			failures++
			c.after(c.opts.Backoff.wait(failures, errorFrom(e.Error).RetryAfter), func() { _ = ask() })
		})
		_, err := l.send(nil, &protocol.Command{ID: id, Unsubscribe: &protocol.UnsubscribeCommand{Channel: channel}})
		return err
	}
	return ask()
}

// repeat sends a command that may be sent twice until it is answered for good.
func (c *Client) repeat(ctx context.Context, command func() *protocol.Command) (*protocol.Event, error) {
	for failures := 1; ; failures++ {
		l, err := c.connected(ctx)
		if err != nil {
			return nil, err
		}
		e, _, err := l.call(ctx, command(), c.opts.ReplyTimeout)
		if err == nil {
			return e, nil
		}
		var wait time.Duration
		if refusal, ok := errors.AsType[*Error](err); ok {
			if !refusal.Temporary {
				return nil, refusal
			}
			wait = refusal.RetryAfter
		}
		pauseUntil(ctx, c.ended, c.opts.Backoff.wait(failures, wait))
		if ctx.Err() != nil {
			return nil, errors.Join(ctx.Err(), err)
		}
	}
}
