package test_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
)

// quick is a backoff for tests: many attempts, and none in step with another.
var quick = rivulet.Backoff{Base: 20 * time.Millisecond, Max: 200 * time.Millisecond}

// watcher is a subscriber to one channel that keeps what it gets.
type watcher struct {
	// Static.
	client *rivulet.Client
	sub    *rivulet.Subscription
	line   *line

	mu      sync.Mutex // guards the following
	got     []entry
	begun   int      // `subscribed` events
	faults  []string // what must never happen
	changes []rivulet.StateChange
	grown   chan struct{} // size 1
}

// watch subscribes a client of its own, which tries the nodes in the given order.
func watch(t *testing.T, channel string, opts rivulet.SubscribeOptions, urls ...string) *watcher {
	t.Helper()
	w, err := newWatcher(bounded(t), channel, opts, urls)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	return w
}

func newWatcher(ctx context.Context, channel string, opts rivulet.SubscribeOptions, urls []string) (*watcher, error) {
	w := &watcher{line: &line{}, grown: make(chan struct{}, 1)}
	var err error
	w.client, err = rivulet.New(urls[0], rivulet.Options{
		URLs: urls[1:], Backoff: quick, Dial: w.line.dial,
		OnState: func(c rivulet.StateChange) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.changes = append(w.changes, c)
		},
	})
	if err != nil {
		return nil, err
	}
	if err = w.client.Connect(ctx); err == nil {
		w.sub, err = w.client.Subscribe(ctx, channel, opts)
	}
	if err != nil {
		w.client.Close()
		return nil, err
	}
	return w, nil
}

// follow keeps what comes until the message with the key, or ctx's end.
func (w *watcher) follow(ctx context.Context, until string) {
	for u, err := range w.sub.Updates(ctx) {
		if err != nil {
			w.fault(fmt.Sprintf("ended: %v", err))
			return
		}
		if w.take(u) == until {
			return
		}
	}
	w.fault("ended")
}

// take notes an update and returns the key of a message.
func (w *watcher) take(u rivulet.Update) (key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if u.Kind == rivulet.KindSubscribed {
		w.begun++
	}
	if gap := u.Gap(); gap != nil {
		w.faults = append(w.faults, fmt.Sprintf("after %d messages: %v", len(w.got), gap))
	}
	if u.Message == nil {
		return ""
	}
	w.got = append(w.got, entry{u.Message.Offset, u.Message.ID, sum(u.Message.Data)})
	select {
	case w.grown <- struct{}{}:
	default:
	}
	return u.Message.ID
}

func (w *watcher) fault(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, fmt.Sprintf("after %d messages: %s", len(w.got), text))
}

// count is how many messages came.
func (w *watcher) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.got)
}

// resumes is how often the subscription was taken up again.
func (w *watcher) resumes() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.begun - 1
}

// check reports everything that the watcher did not get exactly as the log has it.
func (w *watcher) check(t *testing.T, log []entry) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	name := w.sub.Channel()
	for _, f := range w.faults {
		t.Errorf("subscriber of %s: %s", name, f)
	}
	if slices.Equal(w.got, log) {
		return
	}
	for i := range max(len(w.got), len(log)) {
		switch {
		case i >= len(w.got):
			state, reason := w.client.State()
			t.Errorf("subscriber of %s: %d of %d messages came, next would be %s at %d; it is %v (%v)", name, i, len(log), log[i].key, log[i].offset, state, reason)
		case i >= len(log):
			t.Errorf("subscriber of %s: after all, %s at %d came", name, w.got[i].key, w.got[i].offset)
		case w.got[i] != log[i]:
			t.Errorf("subscriber of %s: message %d is %s at %d, want %s at %d", name, i, w.got[i].key, w.got[i].offset, log[i].key, log[i].offset)
		default:
			continue
		}
		return
	}
}

// line is the network connection of a client, which can be cut.
type line struct {
	mu   sync.Mutex // guards the following
	conn *net.TCPConn
}

func (l *line) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = conn.(*net.TCPConn) // of network tcp
	return conn, nil
}

// cut resets the connection: what is under way either way is lost. It reports
// whether there was one that had not been cut.
func (l *line) cut() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		return false
	}
	conn := l.conn
	l.conn = nil
	_ = conn.SetLinger(0) // fails where the client has closed it
	return conn.Close() == nil
}

// cutAll resets one connection of the watchers at a time, each once in every mean
// on average, until ctx ends, and returns how many it did.
func cutAll(ctx context.Context, watchers []*watcher, mean time.Duration) (cuts int) {
	tick := time.NewTicker(mean / time.Duration(len(watchers)))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return cuts
		case <-tick.C:
			if watchers[rand.IntN(len(watchers))].line.cut() {
				cuts++
			}
		}
	}
}
