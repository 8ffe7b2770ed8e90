package test_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
)

var groupMessages = flag.Int("group-messages", 3000, "messages of TestGroupsLoseNothing")

// office is a group's work, as its workers see it.
type office struct {
	mu    sync.Mutex
	acked map[int]int  // by message, acknowledgements that the node took
	maybe map[int]bool // acknowledged, and the answer was lost with the connection
	tries map[int]int
}

func (o *office) begin(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tries[n]++
}

func (o *office) done(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.acked[n]++
}

func (o *office) settled() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(o.acked)
	for m := range o.maybe {
		if o.acked[m] == 0 {
			n++
		}
	}
	return n
}

// unsure notes an acknowledgement that was not answered: the log may have it, and then
// the message does not come again.
func (o *office) unsure(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.maybe[n] = true
}

// TestGroupsLoseNothing: workers of a group come and go, are slow, refuse, vanish in
// the middle of a job, while nodes and their broker are killed. Every message is
// acknowledged by somebody, but those that nobody can do, which are dead letters, each
// once.
func TestGroupsLoseNothing(t *testing.T) {
	t.Parallel()
	total, bad := *groupMessages, func(n int) bool { return n%97 == 13 }
	store := t.TempDir()
	broker := startNATS(t, store, ownAddress(t))
	config := `namespaces={jobs: {group_ack_wait: 2s, group_max_deliver: 10, group_backoff: [10ms]}}`
	addresses := []string{ownAddress(t), ownAddress(t)}
	serveAt := func(address string) *node { return serveOn(t, broker.url(), address, "--set", config) }
	nodes := []*node{serveAt(addresses[0]), serveAt(addresses[1])}
	urls := []string{"http://" + addresses[0], "http://" + addresses[1]}

	ctx, cancel := context.WithTimeout(t.Context(), 3*deadline)
	defer cancel()
	o := &office{acked: map[int]int{}, maybe: map[int]bool{}, tries: map[int]int{}}
	var work sync.WaitGroup
	defer work.Wait()
	stop, quit := context.WithCancel(ctx)
	defer quit()
	join1, err := employ(ctx, urls, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		work.Go(func() {
			r := rand.New(rand.NewPCG(7, uint64(i)))
			for stop.Err() == nil {
				o.shift(stop, urls, i, r, bad)
			}
		})
	}
	work.Go(func() { post(stop, t, urls, total) })
	work.Go(func() {
		r := rand.New(rand.NewPCG(8, 8))
		for round := 0; round < 3 && stop.Err() == nil; round++ {
			wait(stop, time.Duration(500+r.IntN(1500))*time.Millisecond)
			victim := round % 2
			nodes[victim].kill(t)
			nodes[victim] = serveAt(addresses[victim])
		}
	})
	join1.Close()

	doable := 0
	for n := range total {
		if !bad(n) {
			doable++
		}
	}
	for o.settled() < doable && ctx.Err() == nil {
		wait(ctx, 50*time.Millisecond)
	}
	dead := deadLetters(ctx, t, urls, total-doable)
	quit()
	work.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	missing := 0
	for n := range total {
		switch {
		case !bad(n) && o.acked[n] == 0 && !o.maybe[n]:
			missing++
		case bad(n) && dead[n] != 1:
			t.Errorf("message %d, which nobody can do, became %d dead letters", n, dead[n])
		case !bad(n) && dead[n] != 0:
			t.Errorf("message %d became a dead letter after %d tries", n, o.tries[n])
		}
	}
	if missing > 0 {
		t.Errorf("%d of %d messages were never acknowledged", missing, doable)
	}
	again := 0
	for _, times := range o.acked {
		if times > 1 {
			again++
		}
	}
	for _, n := range nodes { // else it is not the groups whose speed is seen
		if told := tooMuch(metricsOf(t, n)); told != "" {
			t.Errorf("%s: what the workers and the publisher do at full speed was too much:\n%s", n.url(), told)
		}
	}
	t.Logf("%d messages, %d dead letters, %d were done more than once, %d acknowledgements were not answered", total, len(dead), again, len(o.maybe))
}

// tooMuch are the limits that refused something, by a node's metrics.
func tooMuch(metrics string) (told string) {
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, "rivulet_limit_refused_total{") && !strings.HasSuffix(line, " 0\n") {
			told += line
		}
	}
	return told
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func employ(ctx context.Context, urls []string, i int) (*rivulet.Client, error) {
	c, err := rivulet.New(urls[i%2], rivulet.Options{URLs: []string{urls[(i+1)%2]}, Backoff: rivulet.Backoff{Max: 200 * time.Millisecond}})
	if err != nil {
		return nil, err
	}
	if err := c.Connect(ctx); err != nil {
		c.Close()
		return nil, err
	}
	if _, err := c.Join(ctx, "jobs:todo", "crew", rivulet.GroupOptions{MaxInFlight: 4}); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// shift is one worker's time until it goes, without a word, in the middle of a job.
func (o *office) shift(ctx context.Context, urls []string, i int, r *rand.Rand, bad func(int) bool) {
	c, err := rivulet.New(urls[i%2], rivulet.Options{URLs: []string{urls[(i+1)%2]}, Backoff: rivulet.Backoff{Max: 200 * time.Millisecond}})
	if err != nil || c.Connect(ctx) != nil {
		return
	}
	defer c.Close()
	g, err := c.Join(ctx, "jobs:todo", "crew", rivulet.GroupOptions{MaxInFlight: 1 + r.IntN(8)})
	if err != nil {
		return
	}
	jobs := 50 + r.IntN(400)
	for j, err := range g.Jobs(ctx) {
		if _, gap := errors.AsType[*rivulet.GapError](err); gap {
			continue
		}
		if err != nil {
			return
		}
		if jobs--; jobs == 0 {
			return
		}
		var n int
		if j.Decode(&n) != nil {
			return
		}
		o.begin(n)
		switch {
		case bad(n):
			_ = j.Nak(ctx, 0, fmt.Sprintf("message %d cannot be done", n))
		case r.IntN(20) == 0 && j.Attempt < 2:
			_ = j.Nak(ctx, time.Millisecond, "not today")
		default:
			o.end(n, j.Ack(ctx))
		}
	}
}

// end notes how an acknowledgement ended.
func (o *office) end(n int, err error) {
	_, refused := errors.AsType[*rivulet.Error](err)
	switch {
	case err == nil:
		o.done(n)
	case !refused:
		o.unsure(n)
	}
}

// post publishes the messages, each until it is stored.
func post(ctx context.Context, t *testing.T, urls []string, total int) {
	t.Helper()
	c, err := rivulet.New(urls[0], rivulet.Options{URLs: urls[1:], Backoff: rivulet.Backoff{Max: 200 * time.Millisecond}})
	if err != nil || c.Connect(ctx) != nil {
		t.Error("the publisher cannot connect")
		return
	}
	defer c.Close()
	for n := range total {
		for ctx.Err() == nil {
			if _, err := c.Publish(ctx, "jobs:todo", n, rivulet.PublishOptions{IdempotencyKey: fmt.Sprint("job-", n)}); err == nil {
				break
			}
		}
	}
}

// deadLetters waits for so many and returns how often each message became one.
func deadLetters(ctx context.Context, t *testing.T, urls []string, want int) map[int]int {
	t.Helper()
	dead := map[int]int{}
	c, err := rivulet.New(urls[0], rivulet.Options{URLs: urls[1:], Backoff: rivulet.Backoff{Max: 200 * time.Millisecond}})
	if err != nil || c.Connect(ctx) != nil {
		t.Error("cannot connect")
		return dead
	}
	defer c.Close()
	for ctx.Err() == nil {
		clear(dead)
		for after, more := "", true; more && ctx.Err() == nil; {
			page, err := c.History(ctx, "jobs:dead-letters.crew", rivulet.HistoryOptions{After: after, Limit: 1000})
			if err != nil {
				break
			}
			for _, m := range page.Messages {
				var n int
				if json.Unmarshal(m.Data, &n) == nil {
					dead[n]++
				}
			}
			after, more = page.Position, page.More
		}
		if len(dead) >= want {
			break
		}
		wait(ctx, 100*time.Millisecond)
	}
	return dead
}

// TestGroupsPatientWorker: what waits in the client of one slow worker for longer than
// the time for a message costs it no attempts, and becomes no dead letter.
func TestGroupsPatientWorker(t *testing.T) {
	t.Parallel()
	n := serve(t, t.TempDir(), "127.0.0.1:0", "--set", `namespaces={jobs: {group_ack_wait: 1s, group_max_deliver: 3, group_backoff: [10ms]}}`)
	ctx, cancel := context.WithTimeout(t.Context(), 3*deadline)
	defer cancel()
	c, err := rivulet.New(n.url(), rivulet.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	g, err := c.Join(ctx, "jobs:slow", "crew", rivulet.GroupOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const total = 24
	for n := range total {
		if _, err := c.Publish(ctx, "jobs:slow", n, rivulet.PublishOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	done := 0
	for j, err := range g.Jobs(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if j.Attempt != 1 {
			t.Errorf("message %d: attempt %d", j.Offset, j.Attempt)
		}
		wait(ctx, 200*time.Millisecond) // the work
		if err := j.Ack(ctx); err != nil {
			t.Errorf("message %d, after the work was done: %v", j.Offset, err)
		}
		if done++; done == total {
			break
		}
	}
	page, err := c.History(ctx, "jobs:dead-letters.crew", rivulet.HistoryOptions{})
	if err != nil || len(page.Messages) > 0 {
		t.Errorf("%d dead letters of work that went well, %v", len(page.Messages), err)
	}
}
