package test_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/protocol"
)

// TestStoredMeansStored: a node with its own log is killed again and again while
// several connections publish. What got a 2xx is there afterwards, where it was
// said to be; what was repeated under its key is there once; subscribers see the
// log as it is.
func TestStoredMeansStored(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"interval", "always"} {
		t.Run("sync "+level, func(t *testing.T) {
			t.Parallel()
			killAndRestart(t, level)
		})
	}
}

func killAndRestart(t *testing.T, level string) {
	t.Helper()
	const rounds, acks, connections = 4, 700, 16
	data, address := t.TempDir(), ownAddress(t)
	restart := func() *node {
		return started(t, start(t, nil, binary(t), "serve", "--dev", "--listen", address, "--data", data, "--disk-budget", "4GiB", "--sync", level))
	}
	n := restart()
	l := newLoad(t, 200*time.Microsecond, "rooms:a", "rooms:b", "rooms:c.d")

	var work sync.WaitGroup
	defer work.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 3*deadline)
	defer cancel()
	var watchers []*watcher
	follow := func(channel string, opts rivulet.SubscribeOptions) *watcher {
		w := watch(t, channel, opts, n.url())
		work.Go(func() { w.follow(ctx, "end-2") })
		return w
	}
	for _, b := range l.books {
		watchers = append(watchers, follow(b.channel, rivulet.SubscribeOptions{}), follow(b.channel, rivulet.SubscribeOptions{}))
	}
	var publishing sync.WaitGroup
	for i := range connections {
		publishing.Go(func() { l.publish(ctx, t, i%4 != 0, n.url()) })
	}
	client, publisher := publishers(t, n.url())
	publishing.Go(func() { l.insist(ctx, t, 1, one(client.Publish)) })
	publishing.Go(func() { l.insist(ctx, t, 20, publisher.PublishBatch) })
	returned := map[*watcher]uint64{} // with the offset after which it came back
	for range rounds {
		l.await(t, outcomeStored, acks)
		positions := positionsOf(t, watchers)
		n.kill(t)
		n = restart()
		l.repeatLast(t, n.url(), 5)
		for channel, p := range positions {
			returned[follow(channel, rivulet.SubscribeOptions{Position: p})] = offsetOf(t, p)
		}
	}
	l.await(t, outcomeStored, acks)
	close(l.quit)
	publishing.Wait()
	l.mark(t, "end-1", n.url())
	l.mark(t, "end-2", n.url()) // had anything come again after the end, it would be before this
	work.Wait()

	opened, expected := 0, 0
	logs := map[string][]entry{}
	for _, b := range l.books {
		logs[b.channel] = l.caller.history(t, n.url(), b.channel)
		opened += b.audit(t, logs[b.channel])
		expected += len(logs[b.channel])
	}
	resumes := 0
	for _, w := range watchers {
		w.check(t, logs[w.sub.Channel()])
		resumes += w.resumes()
	}
	for w, after := range returned {
		log := logs[w.sub.Channel()]
		w.check(t, slices.DeleteFunc(slices.Clone(log), func(e entry) bool { return e.offset <= after }))
	}
	t.Logf("stored %d, of these %d without an answer; refused %d, duplicates suppressed %d, kills %d, resumes %d, returned %d",
		expected, opened, l.count(outcomeRefused), l.duplicates.Load(), rounds, resumes, len(returned))
	if l.count(outcomeUnknown) == 0 {
		t.Error("no publish was interrupted: the test was idle")
	}
	if resumes < rounds*len(watchers) {
		t.Errorf("%d subscribers resumed %d times over %d kills", len(watchers), resumes, rounds)
	}
}

// publishers are the SDK's two: over a WebSocket and over HTTP.
func publishers(t *testing.T, url string) (*rivulet.Client, *rivulet.Publisher) {
	t.Helper()
	client, err := rivulet.New(url, rivulet.Options{Backoff: quick})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if err := client.Connect(bounded(t)); err != nil {
		t.Fatal(err)
	}
	publisher, err := rivulet.NewPublisher(url, rivulet.PublisherOptions{Backoff: quick, Client: newCaller(t).http})
	if err != nil {
		t.Fatal(err)
	}
	return client, publisher
}

// positionsOf returns how far a subscriber of each channel has come.
func positionsOf(t *testing.T, watchers []*watcher) map[string]string {
	t.Helper()
	ctx := bounded(t)
	at := map[string]string{}
	for _, w := range watchers {
		for w.count() == 0 {
			select {
			case <-w.grown:
			case <-ctx.Done():
				t.Fatalf("%s: no message comes", w.sub.Channel())
			}
		}
		at[w.sub.Channel()] = w.sub.Position()
	}
	return at
}

// offsetOf is the offset of a position.
func offsetOf(t *testing.T, position string) uint64 {
	t.Helper()
	offset, ok := protocol.PositionOffset(position)
	if !ok {
		t.Fatalf("%q is not a position", position)
	}
	return offset
}
