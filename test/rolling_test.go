package test_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/protocol"
)

// TestRollingRestart: two nodes are stopped and started in turn, as an upgrade
// does, under publishers and subscribers: clients are told to come back, nothing
// that was stored is lost, and nobody is told that it was.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	const rounds, crowd = 2, 60
	log := startNATS(t, t.TempDir(), ownAddress(t))
	addresses := []string{ownAddress(t), ownAddress(t)}
	var urls []string
	nodes := make([]*node, len(addresses))
	restart := func(i int) {
		nodes[i] = serveOn(t, log.url(), addresses[i], "--set", "session.drain_window=500ms")
	}
	for i := range nodes {
		restart(i)
		urls = append(urls, nodes[i].url())
	}
	l := newLoad(t, 5*time.Millisecond, "roll:a", "roll:b", "roll:c")

	var work sync.WaitGroup
	defer work.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 4*deadline)
	defer cancel()
	watchers := make([]*watcher, crowd)
	for i := range watchers {
		first := i / len(l.books) % len(urls)
		watchers[i] = watch(t, l.books[i%len(l.books)].channel, rivulet.SubscribeOptions{}, urls[first], urls[1-first])
		work.Go(func() { watchers[i].follow(ctx, "end-2") })
	}
	var publishing sync.WaitGroup
	for range 4 {
		publishing.Go(func() { l.publish(ctx, t, true, urls...) })
	}
	stops := 0
	for range rounds {
		for i := range nodes {
			l.await(t, outcomeStored, 200)
			witness := newWitness(t, urls[i])
			work.Go(func() { witness.check(t) })
			nodes[i].stop(t)
			l.await(t, outcomeStored, 100) // the other one takes it all
			restart(i)
			stops++
		}
	}
	l.await(t, outcomeStored, 100)
	close(l.quit)
	publishing.Wait()
	l.mark(t, "end-1", urls[0])
	l.mark(t, "end-2", urls[1]) // had anything come again after the end, it would be before this
	work.Wait()

	resumes, told, expected := 0, 0, 0
	logs := map[string][]entry{}
	for _, b := range l.books {
		logs[b.channel] = l.caller.history(t, urls[0], b.channel)
		b.audit(t, logs[b.channel])
		expected += len(logs[b.channel])
	}
	for _, w := range watchers {
		w.check(t, logs[w.sub.Channel()])
		resumes += w.resumes()
		told += w.toldToReturn(t)
	}
	t.Logf("stored %d, stops %d, subscribers %d, resumes %d, told to reconnect %d, refused %d, duplicates suppressed %d",
		expected, stops, crowd, resumes, told, l.count(outcomeRefused), l.duplicates.Load())
	if resumes < crowd {
		t.Errorf("%d subscribers resumed %d times over %d stops: the test was idle", crowd, resumes, stops)
	}
}

// toldToReturn is how often a node sent the watcher away for its shutdown. It
// must not have lost a connection in any other way.
func (w *watcher) toldToReturn(t *testing.T) (times int) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	connected := false
	for _, c := range w.changes {
		if c.State == rivulet.StateRetrying && connected {
			if e, ok := errors.AsType[*rivulet.Error](c.Reason); ok && e.Code == protocol.CloseDraining && e.Temporary {
				times++
			} else {
				t.Errorf("subscriber of %s lost its connection: %v", w.sub.Channel(), c.Reason)
			}
		}
		connected = c.State == rivulet.StateConnected
	}
	return times
}

// witness is a connection that sees what a node says at its end.
type witness struct{ conn *websocket.Conn }

func newWitness(t *testing.T, url string) *witness {
	t.Helper()
	conn, resp, err := websocket.DefaultDialer.DialContext(bounded(t), "ws"+strings.TrimPrefix(url, "http")+"/v1/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = conn.Close() })
	for _, command := range []string{`{"id":1,"connect":{}}`, `{"id":2,"subscribe":{"channel":"roll:a"}}`} {
		if err := conn.WriteMessage(websocket.TextMessage, []byte(command)); err != nil {
			t.Fatal(err)
		}
	}
	w := &witness{conn}
	for {
		if e, err := w.next(); err != nil || e.Error != nil {
			t.Fatalf("%+v: %v", e, err)
		} else if e.Subscribed != nil {
			return w
		}
	}
}

// said is an event of the wire, as far as a witness reads it.
type said struct {
	Subscribed, Error *struct{}
	Disconnect        *struct {
		Code         int   `json:"code"`
		Reconnect    bool  `json:"reconnect"`
		RetryAfterMS int64 `json:"retry_after_ms"`
	}
}

func (w *witness) next() (e said, err error) {
	if err := w.conn.SetReadDeadline(time.Now().Add(deadline)); err != nil {
		return e, err
	}
	_, frame, err := w.conn.ReadMessage()
	if err == nil {
		err = json.Unmarshal(frame, &e)
	}
	return e, err
}

// check reads on to the end: a disconnect that says to come back within the
// window, and a close frame with its code.
func (w *witness) check(t *testing.T) {
	t.Helper()
	var last said
	for {
		e, err := w.next()
		if err == nil {
			last = e
			continue
		}
		d := last.Disconnect
		if d == nil || !d.Reconnect || d.Code != int(protocol.CloseDraining) || d.RetryAfterMS <= 0 || d.RetryAfterMS > 500 {
			t.Errorf("the last event before the end was %+v, want a disconnect with reconnect, %d and a wait of at most the window", d, protocol.CloseDraining)
		}
		if !websocket.IsCloseError(err, int(protocol.CloseDraining)) {
			t.Errorf("the connection ended with %v, want a close frame with %d", err, protocol.CloseDraining)
		}
		return
	}
}
