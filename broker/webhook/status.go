package webhook

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"
)

// laneState is what is shown of a lane.
type laneState struct {
	mu   sync.Mutex // guards the following
	note laneNote
}

type laneNote struct {
	opened  bool // its place in the log exists
	lag     uint64
	err     string
	errAt   time.Time
	retryAt time.Time // zero: nothing failed
}

func (s *laneState) waits(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note.lag, s.note.opened = n, true
}

func (s *laneState) sent() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note.retryAt = time.Time{}
}

func (s *laneState) failed(err error, retryAt time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note.err, s.note.errAt, s.note.retryAt = clip(err.Error()), time.Now(), retryAt
}

// logFailed notes that the log could not be read: the error's text may name inner parts
// and is in the node's log.
func (s *laneState) logFailed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note.err, s.note.errAt = logUnavailable, time.Now()
}

// logBack ends what logFailed began.
func (s *laneState) logBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.note.err == logUnavailable {
		s.note.err, s.note.errAt = "", time.Time{}
	}
}

const logUnavailable = "the log cannot be read at the moment"

func (s *laneState) get() laneNote {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.note
}

// State says how a webhook is doing.
type State string

// The states.
const (
	Starting State = "starting" // not every part is worked on yet
	Running  State = "running"
	Retrying State = "retrying" // the last request of some part failed
	Disabled State = "disabled" // the receiver answered 410 Gone
)

// Status is how a webhook is doing on all nodes, some seconds ago at most. Times are Unix
// milliseconds, 0 where there is none.
type Status struct {
	Name     string   `json:"name"`
	URL      string   `json:"url"` // without what may be secret in it
	Events   []Type   `json:"events"`
	Channels []string `json:"channels"`
	State    State    `json:"state"`
	// Lag is how many events and messages wait, also those that it does not want, which
	// are passed over when they are read.
	Lag         uint64 `json:"lag"`
	LastError   string `json:"last_error,omitempty"`
	LastErrorAt int64  `json:"last_error_at,omitempty"`
	NextRetry   int64  `json:"next_retry,omitempty"`
}

// hookNote is what the holder of a partition notes of a webhook.
type hookNote struct {
	// Unopened says that some place in the log may not exist yet: events are not kept.
	Unopened bool   `json:"unopened,omitempty"`
	Lag      uint64 `json:"lag"`
	Disabled bool   `json:"disabled,omitempty"`
	Err      string `json:"err,omitempty"`
	ErrAt    int64  `json:"err_at,omitempty"`
	RetryAt  int64  `json:"retry_at,omitempty"`
}

// note puts a lane's state into that of its webhook.
func (n *hookNote) note(l laneNote) {
	n.Lag += l.lag
	n.Unopened = n.Unopened || !l.opened
	if at := l.errAt.UnixMilli(); l.err != "" && at > n.ErrAt {
		n.Err, n.ErrAt = l.err, at
	}
	if !l.retryAt.IsZero() && (n.RetryAt == 0 || l.retryAt.UnixMilli() < n.RetryAt) {
		n.RetryAt = l.retryAt.UnixMilli()
	}
}

// merge puts the note of another partition into one.
func (n *hookNote) merge(o hookNote) {
	n.Lag += o.Lag
	n.Unopened = n.Unopened || o.Unopened
	n.Disabled = n.Disabled || o.Disabled
	if o.ErrAt > n.ErrAt {
		n.Err, n.ErrAt = o.Err, o.ErrAt
	}
	if o.RetryAt != 0 && (n.RetryAt == 0 || o.RetryAt < n.RetryAt) {
		n.RetryAt = o.RetryAt
	}
}

// mostNote bounds a note: the notes of all partitions lie in one small bucket, and one
// that is too large would cost its lease.
const mostNote = 32 << 10

// noteOf is what this node notes of a partition that it holds, in JSON. Where there are
// many errors it has only the beginning of each.
func (e *Engine) noteOf(task int) []byte {
	notes := map[string]*hookNote{}
	lanes, complete := e.lanes.of(task)
	for _, h := range e.hooks {
		notes[h.Name] = &hookNote{Disabled: h.disabled.Load(), Unopened: !complete}
	}
	for _, l := range lanes {
		notes[l.hook.Name].note(l.state.get())
	}
	for most := mostErrorText; ; most /= 2 {
		b, err := json.Marshal(notes)
		if err != nil { // plain values
			return nil
		}
		if len(b) <= mostNote || most == 0 {
			return b
		}
		for _, n := range notes {
			n.Err = strings.ToValidUTF8(n.Err[:min(len(n.Err), most)], "")
		}
	}
}

// Status returns how the webhooks are doing, in the order of the configuration. Errors
// wrap fanout.ErrUnavailable.
func (e *Engine) Status(ctx context.Context) ([]Status, error) {
	notes, err := e.svc.Leases.Notes(ctx, Partitions)
	if err != nil {
		return nil, fmt.Errorf("status of webhooks: %w", err)
	}
	held := 0
	sums := map[string]*hookNote{}
	for _, n := range notes {
		var part map[string]hookNote
		if n == nil || json.Unmarshal(n, &part) != nil {
			continue
		}
		held++
		for name, o := range part {
			if sums[name] == nil {
				sums[name] = &hookNote{}
			}
			sums[name].merge(o)
		}
	}
	list := make([]Status, 0, len(e.hooks))
	for _, h := range e.hooks {
		list = append(list, h.status(cmp.Or(sums[h.Name], &hookNote{}), held == Partitions))
	}
	return list, nil
}

func (h *hook) status(n *hookNote, whole bool) Status {
	s := Status{
		Name: h.Name, Events: h.Events, State: Running, Lag: n.Lag,
		LastError: n.Err, LastErrorAt: n.ErrAt, NextRetry: n.RetryAt,
	}
	if u, err := url.Parse(h.URL); err == nil {
		s.URL = shown(u)
	}
	for _, c := range h.Channels {
		s.Channels = append(s.Channels, c.String())
	}
	switch {
	case n.Disabled:
		s.State = Disabled
	case !whole || n.Unopened:
		s.State = Starting
	case n.RetryAt != 0:
		s.State = Retrying
	}
	return s
}
