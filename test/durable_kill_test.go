package test_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
)

// The size of the test of durable sessions whose node is killed; the full one is
// -sessions.messages 50000 -sessions.clients 200 -sessions.kills 8.
var (
	killMessages = flag.Int("sessions.messages", 8000, "messages that TestDurableSessionsSurviveKill9 delivers, over all sessions")
	killClients  = flag.Int("sessions.clients", 40, "durable sessions of TestDurableSessionsSurviveKill9")
	killNodes    = flag.Int("sessions.kills", 3, "how often TestDurableSessionsSurviveKill9 kills a node")
)

// application is one that works off a channel: it has a durable session, may be
// restarted at any moment, and remembers what it has seen.
type application struct {
	t       *testing.T
	url     string
	session string
	channel string
	most    int

	next    int          // the message that it expects; its own
	seen    atomic.Int64 // next, for others
	repeats int          // of what an earlier run of it had not acknowledged
	runs    int
}

// run works until everything is done. The process of an application dies now and then,
// which is here a client that is closed without a word between two messages.
func (a *application) run(ctx context.Context) error {
	for a.next < a.most && ctx.Err() == nil {
		if err := a.live(ctx); err != nil {
			return err
		}
		a.runs++
	}
	return ctx.Err()
}

// live is one life of the process.
func (a *application) live(ctx context.Context) error {
	client, err := rivulet.New(a.url, rivulet.Options{
		Session: a.session, Backoff: rivulet.Backoff{Base: 20 * time.Millisecond, Max: 300 * time.Millisecond},
	})
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Connect(ctx); err != nil {
		return err
	}
	sub, err := client.Subscribe(ctx, a.channel, rivulet.SubscribeOptions{Durable: true, Last: 1000})
	if err != nil {
		return err
	}
	dies := a.next + 1 + rand.IntN(a.most) // often it lives to the end
	fresh := false
	for m, err := range sub.Messages(ctx) {
		if err != nil {
			return fmt.Errorf("%s, after %d messages: %w", a.session, a.next, err)
		}
		n, err := strconv.Atoi(string(m.Data))
		switch {
		case err != nil:
			return err
		case n < a.next && !fresh:
			a.repeats++ // of before this life: the SDK of this process cannot know it
			continue
		case n != a.next:
			return fmt.Errorf("%s: got message %d, expected %d", a.session, n, a.next)
		}
		fresh = true // from now on, nothing comes twice
		a.next++
		a.seen.Store(int64(a.next))
		if a.next == a.most || a.next == dies {
			return sub.Ack(m) // and perhaps the node never hears of it
		}
	}
	return ctx.Err()
}

// TestDurableSessionsSurviveKill9: nodes are killed at random while messages go to
// many durable sessions. Each application sees each message once and in order, but for
// what an earlier life of it had not acknowledged.
func TestDurableSessionsSurviveKill9(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		data := t.TempDir()
		for _, store := range []string{"consumer", "kv"} {
			t.Run(store, func(t *testing.T) {
				start := func(listen string) *node {
					return serveSessions(t, listen, store, "--data", data, "--disk-budget", "4GiB")
				}
				survive(t, start, store)
			})
		}
	})
	t.Run("nats", func(t *testing.T) {
		for _, store := range []string{"consumer", "kv"} {
			t.Run(store, func(t *testing.T) {
				log := startNATS(t, t.TempDir(), ownAddress(t))
				start := func(listen string) *node { return serveSessions(t, listen, store, "--nats-url", log.url()) }
				survive(t, start, store)
			})
		}
	})
}

func serveSessions(t *testing.T, listen, store string, args ...string) *node {
	t.Helper()
	environ := []string{fmt.Sprintf("RIVULET_NAMESPACES={\"%s\": {\"session_store\": %q, \"max_bytes\": \"256MiB\", \"partitions\": 4}}", "s"+store, store)}
	return started(t, start(t, environ, binary(t), append([]string{"serve", "--dev", "--listen", listen}, args...)...))
}

func survive(t *testing.T, startNode func(listen string) *node, store string) {
	t.Helper()
	clients := *killClients
	each := *killMessages / clients
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	n := startNode(ownAddress(t))
	var wg sync.WaitGroup
	defer wg.Wait()
	apps := make([]*application, clients)
	for i := range apps {
		apps[i] = &application{
			t: t, url: n.url(), session: fmt.Sprintf("app-%d", i), most: each,
			channel: fmt.Sprintf("s%s:%d", store, i),
		}
		wg.Go(func() {
			if err := apps[i].run(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
				cancel()
			}
		})
	}
	var published atomic.Int64
	wg.Go(func() {
		if err := publishTo(ctx, n.url(), apps, each, &published); err != nil {
			if ctx.Err() == nil {
				t.Errorf("publish: %v", err)
			}
			cancel()
		}
	})
	for kill := range *killNodes {
		part := int64(*killMessages * (kill + 1) / (*killNodes + 2))
		until(ctx, func() bool { return published.Load() > part+rand.Int64N(part+1)/4 })
		if ctx.Err() != nil {
			break
		}
		n.kill(t)
		n = startNode(n.address)
	}
	wg.Wait()
	repeats, lives := 0, 0
	for _, a := range apps {
		if a.next != each && !t.Failed() {
			t.Errorf("%s has seen %d of %d", a.session, a.next, each)
		}
		repeats += a.repeats
		lives += a.runs
	}
	t.Logf("%d messages to %d sessions in %d lives; %d came again in a later one", published.Load(), clients, lives, repeats)
}

// until polls until it is so or ctx ends.
func until(ctx context.Context, so func() bool) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// publishTo stores the numbers from 0 in every application's channel, a batch of one for
// each at a time.
func publishTo(ctx context.Context, url string, apps []*application, each int, published *atomic.Int64) error {
	transport := &http.Transport{DialContext: (&net.Dialer{}).DialContext}
	defer transport.CloseIdleConnections()
	p, err := rivulet.NewPublisher(url, rivulet.PublisherOptions{
		Client:  &http.Client{Transport: transport, Timeout: deadline},
		Backoff: rivulet.Backoff{Base: 20 * time.Millisecond, Max: 300 * time.Millisecond},
	})
	if err != nil {
		return err
	}
	for n := range each {
		// Nobody may fall so far behind that a life that begins anew misses the first.
		list := make([]rivulet.Outgoing, len(apps))
		for i, a := range apps {
			list[i] = rivulet.Outgoing{Channel: a.channel, Data: n}
		}
		results, err := p.PublishBatch(ctx, list)
		if err != nil {
			return err
		}
		for _, r := range results {
			if r.Err != nil {
				return r.Err
			}
		}
		published.Add(int64(len(apps)))
	}
	return nil
}
