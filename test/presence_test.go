package test_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
)

const (
	// presenceBound is after how long the members of a killed node are gone, as
	// docs/presence.md promises.
	presenceBound = 13 * time.Second
	// presenceGrace is how long the end of a connection may go unnoticed on a busy machine.
	presenceGrace = 3 * time.Second
	// membersEnv sets the size of the crowd; the documentation's figures are of 5000.
	membersEnv  = "TEST_PRESENCE_MEMBERS"
	fewMembers  = 300
	presenceFor = 6 * time.Second // of churn
)

func crowdSize(t *testing.T) int {
	t.Helper()
	text := os.Getenv(membersEnv)
	if text == "" {
		return fewMembers
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 100 {
		t.Fatalf("%s=%s: not a number from 100 on", membersEnv, text)
	}
	return n
}

// gathering is a crowd in a large channel and a few in a small one, on two nodes.
type gathering struct {
	caller       *caller
	log          *natsProcess
	nodes        []*node
	token        string
	large, small *attendance
}

func newGathering(t *testing.T) *gathering {
	t.Helper()
	g := &gathering{caller: newCaller(t), token: memberToken(t, "", "")}
	g.log = startNATS(t, t.TempDir(), ownAddress(t))
	for range 2 {
		g.nodes = append(g.nodes, servePresence(t, g.log.url(), "127.0.0.1:0"))
	}
	g.large, g.small = newAttendance(t, "room:large"), newAttendance(t, "room:small")
	return g
}

// come has so many join, two connections per user, on both nodes.
func (g *gathering) come(t *testing.T, a *attendance, from, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*deadline)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(32)
	for i := from; i < from+n; i++ {
		user := fmt.Sprintf("user-%d", i/2)
		token := memberToken(t, user, fmt.Sprintf(`{"number":%d}`, i))
		group.Go(func() error {
			_, err := a.join(ctx, g.nodes[i%2], user, token)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// agrees reports whether a node lists exactly those who are there.
func (g *gathering) agrees(t *testing.T, n *node, a *attendance) bool {
	t.Helper()
	got := g.caller.presence(t, n.url(), g.token, a.channel, 1000)
	clients, users := a.present()
	return !got.Partial && slices.Equal(got.clients, clients) && got.Clients == len(clients) && got.Users == users
}

// observer follows a channel with the SDK.
type observer struct {
	client *rivulet.Client
	work   sync.WaitGroup

	mu      sync.Mutex // guards the following
	roster  rivulet.Roster
	updates int
	gaps    time.Duration // the shortest time between two updates
	last    time.Time
}

func (g *gathering) observe(t *testing.T, n *node, a *attendance) *observer {
	t.Helper()
	client, err := rivulet.New(n.url(), rivulet.Options{Token: memberToken(t, "observer", ""), Backoff: quick})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Connect(bounded(t)); err != nil {
		t.Fatal(err)
	}
	sub, err := client.Subscribe(bounded(t), a.channel, rivulet.SubscribeOptions{Presence: true})
	if err != nil {
		t.Fatal(err)
	}
	o := &observer{client: client, gaps: time.Hour}
	o.work.Go(func() {
		for u, err := range sub.Updates(t.Context()) {
			if err != nil {
				return
			}
			if u.Kind == rivulet.KindPresence {
				o.take(u.Presence)
			}
		}
	})
	t.Cleanup(func() {
		client.Close()
		o.work.Wait()
	})
	return o
}

func (o *observer) take(p *rivulet.Presence) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.updates++; o.updates > 1 {
		o.gaps = min(o.gaps, time.Since(o.last))
	}
	o.last = time.Now()
	o.roster.Apply(p)
}

// sees reports whether the observer's list is exactly those who are there, and so many
// observers, of one user.
func (o *observer) sees(a *attendance, observers int) bool {
	clients, users := a.present()
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.roster.Known || o.roster.Partial || o.roster.Clients != len(clients)+observers || o.roster.Users != users+1 {
		return false
	}
	var seen []string
	for _, m := range o.roster.Members() {
		if m.User != "observer" {
			seen = append(seen, m.Client)
		}
	}
	return slices.Equal(seen, clients)
}

// counts reports whether the observer was told the right numbers, and no names.
func (o *observer) counts(a *attendance, observers int) bool {
	clients, users := a.present()
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.roster.Known && !o.roster.Partial && o.roster.Clients == len(clients)+observers && o.roster.Users == users+1
}

// churn has members come and go for a while.
func (g *gathering) churn(t *testing.T, a *attendance, from int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), presenceFor)
	defer cancel()
	var work sync.WaitGroup
	for w := range 4 {
		work.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				number := from + w*100_000 + i
				user := fmt.Sprintf("user-%d", number/2)
				if _, err := a.join(t.Context(), g.nodes[number%2], user, memberToken(t, user, "")); err != nil {
					t.Error(err)
					return
				}
				for _, m := range a.anyone(1, g.nodes[(number+1)%2]) {
					a.leave(m)
				}
			}
		})
	}
	audits := 0
	for ctx.Err() == nil {
		begin := time.Now()
		got := g.caller.presence(t, g.nodes[audits%2].url(), g.token, a.channel, 1000)
		ghosts, missing := a.audit(got.clients, begin, time.Now(), presenceGrace)
		if len(ghosts) > 0 || len(missing) > 0 {
			t.Errorf("of %d listed %d are gone, and %d are missing: %v, %v", len(got.clients), len(ghosts), len(missing), ghosts, missing)
		}
		audits++
	}
	work.Wait()
	if a.mu.Lock(); audits < 3 || len(a.all) < 20 {
		t.Errorf("%d audits of %d members: the test was idle", audits, len(a.all))
	}
	a.mu.Unlock()
}

// TestPresenceAcrossNodes: two nodes say the same of a crowd's members, which is the
// truth: while they come and go, and within the stated bound after one node was killed.
func TestPresenceAcrossNodes(t *testing.T) {
	const few = 20
	size := crowdSize(t)
	g := newGathering(t)
	g.come(t, g.small, 0, few)
	small := []*observer{g.observe(t, g.nodes[0], g.small), g.observe(t, g.nodes[1], g.small)}
	large := g.observe(t, g.nodes[1], g.large)
	began := time.Now()
	g.come(t, g.large, 0, size)
	t.Logf("%d joined in %v", size, time.Since(began).Round(time.Millisecond))

	observers := g.caller.presence(t, g.nodes[0].url(), g.token, g.small.channel, 3)
	if observers.Clients != few+2 || observers.Users != few/2+1 || observers.pages != (few+2+2)/3 || !slices.IsSorted(observers.clients) {
		t.Errorf("small channel in pages of 3: %+v", observers)
	}
	if p, err := large.client.Presence(bounded(t), "room:small", rivulet.PresenceOptions{Limit: 7}); err != nil || len(p.Members) != 7 || p.Next != p.Members[6].Client || p.Clients != few+2 || p.Users != few/2+1 || p.Partial {
		t.Errorf("asked by the SDK: %+v, %v", p, err)
	} else if m := p.Members[0]; m.Since.IsZero() || m.User == "" || m.User != "observer" && m.Info == nil {
		t.Errorf("a member is %+v", m)
	}
	for _, o := range small {
		await(t, deadline, "an observer sees the small channel", func() bool { return o.sees(g.small, 2) })
	}
	took := await(t, deadline, "the observer knows the numbers of the large channel", func() bool { return large.counts(g.large, 1) })
	t.Logf("numbers right after %v", took.Round(time.Millisecond))

	g.churn(t, g.small, 1_000_000)
	g.churn(t, g.large, 2_000_000)
	for _, o := range small {
		if took := await(t, deadline, "an observer sees the small channel after churn", func() bool { return o.sees(g.small, 2) || o.counts(g.small, 2) }); took > presenceBound {
			t.Errorf("took %v", took)
		}
	}
	await(t, deadline, "the observer knows the numbers after churn", func() bool { return large.counts(g.large, 1) })

	for _, m := range g.small.anyone(1<<20, nil) { // a small one again
		if clients, _ := g.small.present(); len(clients) > few {
			g.small.leave(m)
		}
	}
	g.nodes[0].kill(t)
	killed := time.Now()
	g.small.died(g.nodes[0])
	g.large.died(g.nodes[0])
	await(t, presenceBound, "the survivor's observer sees that the killed node's members left", func() bool { return small[1].sees(g.small, 1) })
	await(t, presenceBound-time.Since(killed), "and knows the numbers", func() bool { return large.counts(g.large, 1) })
	t.Logf("members of the killed node gone after %v", time.Since(killed).Round(time.Millisecond))
	if got := g.caller.presence(t, g.nodes[1].url(), g.token, g.large.channel, 1000); got.Partial || got.Clients != func() int { c, _ := g.large.present(); return len(c) + 1 }() {
		t.Errorf("after the bound: %d clients, partial %v", got.Clients, got.Partial)
	}

	g.nodes[0] = servePresence(t, g.log.url(), "127.0.0.1:0")
	g.come(t, g.small, 500_000, few)
	await(t, deadline, "the returned node's members are seen", func() bool { return small[1].sees(g.small, 1) })
	small[1].mu.Lock()
	defer small[1].mu.Unlock()
	if small[1].gaps < 700*time.Millisecond { // less than the interval: they wait in the client and the network
		t.Errorf("two updates came within %v", small[1].gaps)
	}
}

// TestPresenceOfAStoppedNode: while a node does not answer, the others say that they do
// not know all; it is neither forgotten at once nor a reason to wait for long.
func TestPresenceOfAStoppedNode(t *testing.T) {
	g := newGathering(t)
	g.come(t, g.small, 0, 4)
	await(t, deadline, "both nodes agree", func() bool { return g.agrees(t, g.nodes[0], g.small) && g.agrees(t, g.nodes[1], g.small) })
	g.nodes[0].signal(t, syscall.SIGSTOP)
	var got listed
	var took time.Duration
	await(t, presenceBound, "an answer to be partial", func() bool { // the signal takes a moment
		began := time.Now()
		got = g.caller.presence(t, g.nodes[1].url(), g.token, g.small.channel, 100)
		took = time.Since(began)
		return got.Partial
	})
	if got.Clients != 2 || took > 5*time.Second {
		t.Errorf("%+v after %v", got, took)
	}
	var info struct {
		Data struct {
			Clients int
			Partial bool
		}
	}
	if status := g.caller.get(t, g.nodes[1].url()+"/v1/channels/room:small", g.token, &info); status != http.StatusOK || !info.Data.Partial || info.Data.Clients != 2 {
		t.Errorf("%d %+v", status, info)
	}
	g.nodes[0].signal(t, syscall.SIGCONT)
	await(t, deadline, "both nodes agree again", func() bool { return g.agrees(t, g.nodes[0], g.small) && g.agrees(t, g.nodes[1], g.small) })
}
