package test_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
)

// TestPartitionFromTheLog: one of two nodes loses its log, in every way that a
// network has, and then the log itself is killed. Publishers are told the truth,
// clients stay connected, and everybody ends with the log as it is.
func TestPartitionFromTheLog(t *testing.T) {
	t.Parallel()
	store, address := t.TempDir(), ownAddress(t)
	log := startNATS(t, store, address)
	network := startProxy(t, address)
	far, near := serveOn(t, network.url(), "127.0.0.1:0"), serveOn(t, log.url(), "127.0.0.1:0")
	there := newLoad(t, 5*time.Millisecond, "part:a", "part:b", "part:c")
	here := there.beside("near-")

	var work sync.WaitGroup
	defer work.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 4*deadline)
	defer cancel()
	var staying, cut []*watcher
	for _, b := range there.books {
		staying = append(staying, watch(t, b.channel, rivulet.SubscribeOptions{}, far.url()), watch(t, b.channel, rivulet.SubscribeOptions{}, near.url()))
		cut = append(cut, watch(t, b.channel, rivulet.SubscribeOptions{}, far.url()), watch(t, b.channel, rivulet.SubscribeOptions{}, near.url(), far.url()))
	}
	for _, w := range append(slices.Clip(staying), cut...) {
		work.Go(func() { w.follow(ctx, "end-2") })
	}
	cutting, calm := context.WithCancel(ctx)
	defer calm()
	cuts := make(chan int, 1)
	work.Go(func() { cuts <- cutAll(cutting, cut, 500*time.Millisecond) })
	var publishing sync.WaitGroup
	for i := range 6 {
		publishing.Go(func() { there.publish(ctx, t, i%2 == 0, far.url()) })
	}
	for range 2 {
		publishing.Go(func() { here.publish(ctx, t, true, near.url()) })
	}
	healed := func() {
		t.Helper()
		there.await(t, outcomeStored, 100)
		here.await(t, outcomeStored, 50)
	}
	healed()

	network.hold() // shorter than an acknowledgement is awaited
	here.await(t, outcomeStored, 50)
	network.flow()
	healed()

	network.hold() // so long that publishers are told that nobody knows
	there.await(t, outcomeUnknown, 3)
	network.flow() // now what they sent arrives
	healed()

	network.hold() // so long that the node gives its connections up
	there.await(t, outcomeRefused, 10)
	network.flow()
	healed()

	resets := 0
	for range 5 {
		resets += network.reset()
		healed()
	}

	network.refuse()
	there.await(t, outcomeRefused, 20)
	here.await(t, outcomeStored, 100)
	network.flow()
	healed()

	log.kill(t)
	there.await(t, outcomeRefused, 10)
	here.await(t, outcomeRefused, 1)
	startNATS(t, store, address)
	healed()

	close(there.quit)
	publishing.Wait()
	calm()
	there.mark(t, "end-1", far.url())
	there.mark(t, "end-2", near.url()) // had anything come again after the end, it would be before this
	work.Wait()

	opened, expected, resumes := 0, 0, 0
	logs := map[string][]entry{}
	for _, b := range there.books {
		logs[b.channel] = there.caller.history(t, far.url(), b.channel)
		opened += b.audit(t, logs[b.channel])
		expected += len(logs[b.channel])
	}
	for _, w := range staying {
		w.check(t, logs[w.sub.Channel()])
		if n := w.resumes(); n != 0 {
			t.Errorf("a subscriber of %s had to come back %d times, though nothing cut it off", w.sub.Channel(), n)
		}
	}
	for _, w := range cut {
		w.check(t, logs[w.sub.Channel()])
		resumes += w.resumes()
	}
	t.Logf("stored %d, of these %d without an answer; open %d, refused %d; resets %d, cuts %d, resumes %d, duplicates suppressed %d",
		expected, opened, there.count(outcomeUnknown)+here.count(outcomeUnknown), there.count(outcomeRefused)+here.count(outcomeRefused),
		resets, <-cuts, resumes, there.duplicates.Load()+here.duplicates.Load())
	if resets == 0 || resumes == 0 {
		t.Error("the test was idle")
	}
}
