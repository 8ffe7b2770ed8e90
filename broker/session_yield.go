package broker

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rivulet-rt/rivulet/fanout"
)

const (
	yieldSubject = "rivulet.session.yield."
	// yieldWait is how long a node is waited for that may have been paused, or be dead
	// without NATS having noticed.
	yieldWait    = time.Second
	yieldWork    = 5 * time.Second
	yieldWorkers = 8
)

// yieldCall asks a node to give a session up.
type yieldCall struct {
	User   string             `json:"user"`
	Name   string             `json:"session"`
	Client string             `json:"client"`
	Why    fanout.YieldReason `json:"why"`

	reply *nats.Msg
}

// askYield asks the node of a record's owner to give it up, and reports whether it
// answered that it has, or that it did not have it.
func (s *Sessions) askYield(ctx context.Context, have *sessionRecord, why fanout.YieldReason) bool {
	if have.Node == s.b.cfg.Node {
		if s.yielder != nil {
			s.yielder.Yield(ctx, have.ID, have.Client, why)
		}
		return true
	}
	if s.b.srv != nil {
		return false // of an earlier process on this data: nobody is there
	}
	ctx, cancel := context.WithTimeout(ctx, yieldWait)
	defer cancel()
	body, err := json.Marshal(yieldCall{User: have.ID.User, Name: have.ID.Name, Client: have.Client, Why: why})
	if err != nil {
		return false
	}
	_, err = s.b.ctl.nc.RequestWithContext(ctx, yieldSubject+have.Node, body)
	return err == nil // nobody answers for a node that is gone
}

// Serve begins to give sessions up that others ask for, and to look for sessions that
// have expired. o may be nil. It is called once, before the first Take.
func (s *Sessions) Serve(y Yielder, o SessionObserver) error {
	s.yielder, s.observer = y, o
	b := s.b
	if b.srv == nil {
		if _, err := b.ctl.nc.Subscribe(yieldSubject+b.cfg.Node, s.queueYield); err != nil {
			return unavailable("serve sessions", err)
		}
		for range yieldWorkers {
			b.wg.Go(func() { s.yieldLoop(b.ctx) })
		}
	}
	b.wg.Go(func() { s.expireLoop(b.ctx) })
	return nil
}

func (s *Sessions) queueYield(m *nats.Msg) {
	var call yieldCall
	if json.Unmarshal(m.Data, &call) != nil {
		return
	}
	call.reply = m
	select {
	case s.asked <- call:
	default: // who asks goes on without an answer
	}
}

func (s *Sessions) yieldLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case call := <-s.asked:
			work, cancel := context.WithTimeout(ctx, yieldWork)
			s.yielder.Yield(work, fanout.SessionID{User: call.User, Name: call.Name}, call.Client, call.Why)
			cancel()
			_ = call.reply.Respond(nil) // who asked goes on without
		}
	}
}
