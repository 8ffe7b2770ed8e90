package rivulet

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
)

// GroupOptions say how a member works, and where a group begins that is new: with none
// of Position, Last and Since it is now; at most one may be set.
type GroupOptions struct {
	// MaxInFlight is how many jobs this member has at a time, 1 to 1,000; 0 is 16.
	MaxInFlight int
	Position    string
	Last        int
	Since       time.Time
}

// Group is a membership in a durable group, whose members share the messages of a
// channel: each is worked on by one of them. It is taken up again after a lost
// connection. Its methods may be called concurrently.
type Group struct {
	// Static.
	client  *Client
	channel string // canonical
	name    string
	opts    GroupOptions
	began   chan struct{} // closed at the first `subscribed`
	done    chan struct{} // closed at the end
	removed chan struct{} // closed when the client has forgotten it, and the node too
	avail   chan struct{} // size 1: there is something to take

	mu       sync.Mutex // guards the following
	link     *link      // where it has begun; nil while it has not
	asked    *link      // where it was asked for, and has not begun
	failures int
	started  bool
	jobs     []*queued
	wait     time.Duration // that the node has for a job; 0 if it does not say
	acted    time.Time     // when the application last took or settled a job
	keeping  bool          // a timer runs for the jobs that wait
	gaps     []*GapError
	ended    bool
	err      error
}

// Job is one attempt at one message of a group. It must be settled, by Ack or Nak,
// within the namespace's ack wait (30 s by default), or another member gets the message.
// So it does when the connection is lost. When Jobs yields it, at least five sixths of that
// are left: the client begins the time anew for those that wait in it, as long as the
// application takes or settles others. Work that takes longer calls InProgress, at about
// every third of the ack wait.
type Job struct {
	*Message

	// Attempt counts from 1.
	Attempt int

	group *Group
	link  *link
	token string
}

// Join makes the client a member of a group and waits until that has begun; lost
// connections and temporary errors are overcome meanwhile. A client is a member of one
// group of a channel, or subscribed to it, not both. Errors are those of Subscribe.
func (c *Client) Join(ctx context.Context, channel, group string, opts GroupOptions) (*Group, error) {
	if opts.MaxInFlight < 0 || opts.MaxInFlight > protocol.MaxInFlight {
		return nil, invalid("max_in_flight", fmt.Sprintf("%d is not from 1 to %d", opts.MaxInFlight, protocol.MaxInFlight))
	}
	if group == "" {
		return nil, invalid("group", "is empty")
	}
	g := &Group{
		client: c, channel: canonical(channel), name: group, opts: opts,
		began: make(chan struct{}), done: make(chan struct{}), removed: make(chan struct{}), avail: make(chan struct{}, 1),
	}
	if err := c.registerGroup(g); err != nil {
		return nil, err
	}
	g.ask(c.current())
	select {
	case <-g.began:
		return g, nil
	case <-g.done:
		return nil, doing(g.Err(), "join %s of %s", group, g.channel)
	case <-ctx.Done():
		g.leave(ctx.Err())
		return nil, doing(ctx.Err(), "join %s of %s", group, g.channel)
	}
}

func (c *Client) registerGroup(g *Group) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.state {
	case StateInitialized:
		return ErrNotConnected
	case StateClosed:
		return c.reason
	case StateConnecting, StateConnected, StateRetrying:
	}
	if err := c.takenLocked(g.channel, true); err != nil {
		return err
	}
	c.groups[g.channel] = g
	return nil
}

// takenLocked is why the client can neither subscribe to a channel nor join a group of it,
// nil where it can.
func (c *Client) takenLocked(channel string, join bool) error {
	switch group := c.groups[channel]; {
	case group != nil:
		return fmt.Errorf("%w: this client is a member of the group %s of %s, or about to leave it; use another Client", ErrAlreadySubscribed, group.name, channel)
	case c.find(channel) == nil:
		return nil
	case join:
		return fmt.Errorf("%w: %s; to be a member of a group of it as well, use another Client", ErrAlreadySubscribed, channel)
	}
	return fmt.Errorf("%w: %s", ErrAlreadySubscribed, channel)
}

func (c *Client) groupOf(channel string) *Group {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.groups[canonical(channel)]
}

// Jobs ranges over the jobs, waiting for new ones. It ends when ctx does or the
// membership has ended, with an error last unless by Leave. A *GapError does not end
// it: messages are gone from the log that no member had.
func (g *Group) Jobs(ctx context.Context) iter.Seq2[*Job, error] {
	return func(yield func(*Job, error) bool) {
		for {
			q, gap := g.take(time.Now())
			switch {
			case gap != nil:
				if !yield(nil, gap) {
					return
				}
				continue
			case q != nil:
				g.full(q, time.Now())
				if !yield(q.Job, nil) {
					return
				}
				continue
			}
			select {
			case <-g.avail:
			case <-ctx.Done():
				yield(nil, ctx.Err())
				return
			case <-g.done:
				if err := g.Err(); err != nil {
					yield(nil, err)
				}
				return
			}
		}
	}
}

// take removes the next job, leaving out those that are another member's now.
func (g *Group) take(now time.Time) (*queued, *GapError) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return nil, nil
	}
	if len(g.gaps) > 0 {
		gap := g.gaps[0]
		g.gaps = g.gaps[1:]
		return nil, gap
	}
	g.dropLate(now)
	for len(g.jobs) > 0 {
		q := g.jobs[0]
		g.jobs[0] = nil
		if g.jobs = g.jobs[1:]; q.link == g.link && !q.link.isLost() {
			if len(g.jobs) > 0 {
				notify(g.avail) // for another goroutine that ranges
			}
			g.acted = now
			return q, nil
		}
	}
	return nil, nil
}

// Done is closed when the membership has ended.
func (g *Group) Done() <-chan struct{} { return g.done }

// Err says why the membership ended: nil while it has not and after Leave, ErrClosed
// after Client.Close, else an *Error.
func (g *Group) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// Leave ends the membership: jobs that are not settled go to others at once. It returns
// when the node has confirmed or the connection is gone, or with an error that says why
// not: ctx's, or that there was no answer in Options.ReplyTimeout. Then the client goes on
// trying, and until it has done it, it cannot join a group of the channel again.
func (g *Group) Leave(ctx context.Context) error {
	g.leave(nil)
	timer := time.NewTimer(g.client.opts.ReplyTimeout)
	defer timer.Stop()
	err := errNoAnswer
	select {
	case <-g.removed:
		return nil
	case <-timer.C:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return doing(err, "leave %s of %s", g.name, g.channel)
}

// Ack says that the job is done, and waits until the node has taken note. An error with
// code 4404 says that it was not settled in time, and is another member's now; any
// other that the message may come again.
func (j *Job) Ack(ctx context.Context) error {
	return j.settle(ctx, "ack", &protocol.Command{Ack: &protocol.AckCommand{Channel: j.group.channel, Token: j.token}})
}

// Nak gives the message back, for another attempt after delay; 0 is the namespace's own
// pause. reason is told where it becomes a dead letter.
func (j *Job) Nak(ctx context.Context, delay time.Duration, reason string) error {
	return j.settle(ctx, "nak", &protocol.Command{Nak: &protocol.NakCommand{
		Channel: j.group.channel, Token: j.token, Delay: delay.Milliseconds(), Reason: reason,
	}})
}

// InProgress begins the time for the job anew. An error with code 4404 says that it was
// up, and the job is another member's now.
func (j *Job) InProgress(ctx context.Context) error {
	return j.settle(ctx, "in_progress", &protocol.Command{InProgress: &protocol.InProgressCommand{Channel: j.group.channel, Token: j.token}})
}

func (j *Job) settle(ctx context.Context, what string, c *protocol.Command) error {
	j.group.active()
	if _, _, err := j.link.call(ctx, c, j.group.client.opts.ReplyTimeout); err != nil {
		return doing(err, "%s of message %d of %s", what, j.Offset, j.group.channel)
	}
	return nil
}
