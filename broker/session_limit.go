package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/migrations"
)

// anonymous is the user of whoever a node lets in without a name: nobody bounds how many
// sessions all of them have together.
const anonymous = "-"

// countFor is how long a count of all sessions is used, or countShare times as long as
// it took, whichever is more: counting reads all of them.
const (
	countFor   = 5 * time.Second
	countShare = 50
)

// sessionCount knows about how many sessions each namespace has.
type sessionCount struct {
	turn  chan struct{} // holds one token, of whoever uses the following
	until time.Time
	by    map[string]int
}

// admit checks the limits before a channel is added to a session.
func (s *Sessions) admit(ctx context.Context, r *fanout.SessionRecord, c fanout.Channel, p SessionPolicy) error {
	namespace := c.Namespace()
	if _, err := s.b.namespace(ctx, namespace); err != nil {
		return err
	}
	if p.Store == SessionsOff {
		return fmt.Errorf("%w: %q (session_store is off)", fanout.ErrSessionsOff, namespace)
	}
	if len(r.Channels) >= p.MaxChannels {
		return &fanout.LimitError{Field: "channel", Lasting: true, Problem: fmt.Sprintf("the durable session has %d channels, as many as it may (max_session_channels); "+
			"unsubscribe one, or subscribe without durable", len(r.Channels))}
	}
	for _, k := range r.Channels {
		if k.Channel.Namespace() == namespace {
			return nil // is counted
		}
	}
	return s.admitNamespace(ctx, namespace, p.MaxSessions)
}

func (s *Sessions) admitNamespace(ctx context.Context, namespace string, most int) error {
	n := &s.count
	select {
	case <-n.turn: // others would count as well
		defer func() { n.turn <- struct{}{} }()
	case <-ctx.Done():
		return unavailable("count sessions", ctx.Err())
	}
	if now := time.Now(); now.After(n.until) {
		by, err := s.countAll(ctx)
		if err != nil {
			return err
		}
		n.by, n.until = by, time.Now().Add(max(countFor, countShare*time.Since(now)))
	}
	if n.by[namespace] >= most {
		return &fanout.LimitError{Field: "session", Problem: fmt.Sprintf("the namespace %q has %d durable sessions, as many as it may (max_sessions); "+
			"try again later, or delete some", namespace, n.by[namespace])}
	}
	n.by[namespace]++
	return nil
}

// countAll reads all sessions.
func (s *Sessions) countAll(ctx context.Context) (map[string]int, error) {
	by, now := map[string]int{}, time.Now()
	for from := uint64(1); from != 0; {
		list, next, err := s.page(ctx, migrations.SessionsWildcard, from, countBatch)
		if err != nil {
			return nil, err
		}
		for i := range list {
			if list[i].expired(now) {
				continue
			}
			seen := map[string]bool{}
			for _, k := range list[i].Channels {
				if ns := k.Channel.Namespace(); !seen[ns] {
					seen[ns] = true
					by[ns]++
				}
			}
		}
		from = next
	}
	return by, nil
}

// countBatch is how many records are read at a time; batchBytes bounds them too.
const countBatch = 4096

// admitUser checks the limit of a user before a session is made.
func (s *Sessions) admitUser(ctx context.Context, user string) error {
	if user == anonymous {
		return nil
	}
	req := getRequest{Seq: 1, Next: migrations.SessionSubject(user, ""), Batch: 1}
	call := &getCall{multi: true, done: make(chan struct{})}
	out, err := s.b.send(ctx, s.b.replay[0], apiPrefix+"DIRECT.GET."+migrations.SessionsStream, req, call)
	if err != nil {
		return unavailable("count sessions", err)
	}
	if n := uint64(len(out.list)) + out.pending; n >= userSessions {
		return &fanout.LimitError{Field: "session", Problem: fmt.Sprintf("the user has %d durable sessions, as many as one may; delete some, or use one of them again", n)}
	}
	return nil
}
