package webhook

import (
	"context"
	"encoding/json"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

// TestResult is how a receiver took a test event.
type TestResult struct {
	ID     string // of the event
	Status int    // HTTP; 0 without an answer
	Error  string
	TookMS int64
}

// Test sends one signed test event at once, from this node, whatever the state of the
// webhook. ok is false where there is no webhook of the name.
func (e *Engine) Test(ctx context.Context, name string) (result TestResult, ok bool) {
	for _, h := range e.hooks {
		if h.Name != name {
			continue
		}
		now := time.Now()
		event := Event{ID: eventID(Test, name, now.String()), Type: Test, Time: now.UnixMilli()}
		data, err := json.Marshal(&event)
		if err != nil { // plain values
			return TestResult{Error: err.Error()}, true
		}
		out := h.sender.send(ctx, [][]byte{data}, 1)
		result = TestResult{Status: out.status, TookMS: time.Since(now).Milliseconds(), ID: event.ID}
		if out.err != nil {
			result.Error = out.err.Error()
		}
		return result, true
	}
	return TestResult{}, false
}

// SessionExpired tells of a durable session that has expired. Telling of the same one
// again, made at the same time, is one event. Errors are those of Log.WriteEvents.
func (e *Engine) SessionExpired(ctx context.Context, user, session string, created time.Time, channels []fanout.Channel) error {
	event := &Event{
		ID:   eventID(SessionExpired, user, session, created.UTC().Format(time.RFC3339Nano)),
		Type: SessionExpired, User: user, Session: session,
	}
	for _, c := range channels {
		event.Channels = append(event.Channels, c.String())
	}
	wanted := false
	for _, h := range e.hooks {
		wanted = wanted || h.wants(SessionExpired) && h.concerns(event)
	}
	if !wanted {
		return nil
	}
	return e.write(ctx, "session "+user, event.at(time.Now()))
}
