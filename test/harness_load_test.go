package test_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
)

// afterFailure is the pause of a publisher after a message was not stored.
const afterFailure = 20 * time.Millisecond

// load is a number of publishers that write down every answer.
type load struct {
	// Static.
	name   string
	caller *caller
	books  []*book       // one for each channel
	pause  time.Duration // between two attempts of one publisher
	quit   chan struct{} // closed when they are to finish what they do

	workers    atomic.Int64
	answers    [outcomeRefused + 1]atomic.Int64 // by outcome
	duplicates atomic.Int64                     // 2xx for a message that was stored by an earlier attempt
	grown      chan struct{}                    // size 1: there is another answer
}

func newLoad(t *testing.T, pause time.Duration, channels ...string) *load {
	t.Helper()
	l := &load{caller: newCaller(t), pause: pause, quit: make(chan struct{}), grown: make(chan struct{}, 1)}
	for _, c := range channels {
		l.books = append(l.books, newBook(c))
	}
	return l
}

// beside is more load on the same channels, with answers of its own.
func (l *load) beside(name string) *load {
	return &load{name: name, caller: l.caller, books: l.books, pause: l.pause, quit: l.quit, grown: make(chan struct{}, 1)}
}

// publish sends messages to the channels in turn, each to the next of the nodes,
// until quit. An insistent publisher repeats a message with its key until it is
// stored; the others never repeat.
func (l *load) publish(ctx context.Context, t *testing.T, insistent bool, urls ...string) {
	t.Helper()
	worker := l.workers.Add(1)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n, attempt := 0, 0; ; {
		b := l.books[n%len(l.books)]
		o := l.attempt(ctx, t, b, urls[(int(worker)+attempt)%len(urls)], fmt.Sprintf("%s%d-%d", l.name, worker, n))
		attempt++
		timer.Reset(l.pause)
		if o != outcomeStored {
			timer.Reset(afterFailure)
		}
		if o == outcomeStored || !insistent {
			n++
			select {
			case <-l.quit:
				return
			default:
			}
		}
		select {
		case <-ctx.Done():
			t.Errorf("publisher %d was not done in time", worker)
			return
		case <-timer.C:
		}
	}
}

// insist publishes by an SDK, which repeats by itself, size messages at a time,
// until quit.
func (l *load) insist(ctx context.Context, t *testing.T, size int, store func(context.Context, []rivulet.Outgoing) ([]rivulet.Outcome, error)) {
	t.Helper()
	worker := l.workers.Add(1)
	for n := 0; ; {
		var batch []rivulet.Outgoing
		for range size {
			b, key := l.books[n%len(l.books)], fmt.Sprintf("%s%d-%d", l.name, worker, n)
			batch = append(batch, rivulet.Outgoing{Channel: b.channel, Data: b.channel + " " + key, PublishOptions: rivulet.PublishOptions{IdempotencyKey: key}})
			n++
		}
		outcomes, err := store(ctx, batch)
		if err != nil {
			t.Errorf("publisher %d: %v", worker, err)
			return
		}
		for i, o := range outcomes {
			l.noteOutcome(t, batch[i], o)
		}
		select {
		case <-l.quit:
			return
		default:
		}
	}
}

func (l *load) noteOutcome(t *testing.T, m rivulet.Outgoing, o rivulet.Outcome) {
	t.Helper()
	if o.Err != nil {
		t.Errorf("%s: %v", m.IdempotencyKey, o.Err)
		return
	}
	data, err := json.Marshal(m.Data)
	if err != nil {
		t.Error(err)
	}
	for _, b := range l.books {
		if b.channel == m.Channel {
			b.note(t, m.IdempotencyKey, data, outcomeStored, o.Offset)
		}
	}
	l.answers[outcomeStored].Add(1)
	if o.Duplicate {
		l.duplicates.Add(1)
	}
}

// one makes a batch of one of what publishes a single message.
func one(publish func(ctx context.Context, channel string, data any, opts rivulet.PublishOptions) (rivulet.Published, error)) func(context.Context, []rivulet.Outgoing) ([]rivulet.Outcome, error) {
	return func(ctx context.Context, batch []rivulet.Outgoing) ([]rivulet.Outcome, error) {
		p, err := publish(ctx, batch[0].Channel, batch[0].Data, batch[0].PublishOptions)
		return []rivulet.Outcome{{Published: p, Err: err}}, nil
	}
}

// attempt does one POST and writes down what came of it.
func (l *load) attempt(ctx context.Context, t *testing.T, b *book, url, key string) outcome {
	t.Helper()
	data, err := json.Marshal(b.channel + " " + key)
	if err != nil {
		t.Error(err)
	}
	a, err := l.caller.publish(ctx, url, b.channel, key, json.RawMessage(data))
	o := outcomeUnknown
	switch {
	case err != nil && neverSent(err):
		o = outcomeRefused
	case err != nil, a.status == http.StatusGatewayTimeout:
	case a.status == http.StatusCreated:
		o = outcomeStored
	case a.status == http.StatusServiceUnavailable:
		o = outcomeRefused
		if a.retryAfter == "" {
			t.Errorf("%s: 503 %q without Retry-After", key, a.message)
		}
	default:
		t.Errorf("%s: answered %d %s", key, a.status, a.message)
	}
	b.note(t, key, data, o, a.Offset)
	l.answers[o].Add(1)
	if a.Duplicate {
		l.duplicates.Add(1)
	}
	select {
	case l.grown <- struct{}{}:
	default:
	}
	return o
}

// neverSent reports whether err tells that no connection was made.
func neverSent(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// count is how many attempts had the outcome.
func (l *load) count(o outcome) int64 { return l.answers[o].Load() }

// await waits until so many more attempts have had the outcome.
func (l *load) await(t *testing.T, o outcome, more int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*deadline) // some of it waits for a lost server to be noticed
	defer cancel()
	for want := l.count(o) + more; l.count(o) < want; {
		select {
		case <-l.grown:
		case <-ctx.Done():
			t.Fatalf("stored %d, refused %d, open %d: waited for %d of outcome %d",
				l.count(outcomeStored), l.count(outcomeRefused), l.count(outcomeUnknown), want, o)
		}
	}
}

// mark stores one message with the key in every channel.
func (l *load) mark(t *testing.T, key, url string) {
	t.Helper()
	ctx := bounded(t)
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for _, b := range l.books {
		for l.attempt(ctx, t, b, url, key) != outcomeStored {
			select {
			case <-retry.C:
			case <-ctx.Done():
				t.Fatalf("%s: no %s could be stored", b.channel, key)
			}
		}
	}
}

// repeatLast publishes again what was stored last in every channel: it must be
// known.
func (l *load) repeatLast(t *testing.T, url string, most int) {
	t.Helper()
	ctx := bounded(t)
	for _, b := range l.books {
		for key, offset := range b.last(most) {
			data, err := json.Marshal(b.channel + " " + key)
			if err != nil {
				t.Fatal(err)
			}
			a, err := l.caller.publish(ctx, url, b.channel, key, json.RawMessage(data))
			if err != nil || a.status != http.StatusCreated || !a.Duplicate || a.Offset != offset {
				t.Errorf("%s: %s again: %+v, %v; want a duplicate of %d", b.channel, key, a, err, offset)
			}
		}
	}
}
