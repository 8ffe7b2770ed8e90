package fanout_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/fanout"
)

// memBus joins the nodes of a test. What a node says reaches the others late, in the
// order of each sender, or is lost.
type memBus struct {
	mu    sync.Mutex // guards the following
	nodes map[string]*memBusNode
	lose  func() bool
	slow  *rand.Rand
	fixed time.Duration // that answers are under way, if not 0
	spoil bool          // pieces of answers cannot be read
}

// wait is how long an answer is under way.
func (b *memBus) wait() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fixed != 0 {
		return b.fixed
	}
	return time.Duration(b.slow.IntN(150)) * time.Millisecond
}

type memBusNode struct {
	bus      *memBus
	name     string
	presence *fanout.Presence
	inbox    chan func()
	stopped  bool // it neither hears nor answers, as if it were killed
	follows  map[fanout.Channel]bool
}

// Ask implements fanout.Bus.
func (n *memBusNode) Ask(ctx context.Context, topic string, question []byte, take func(node string, piece []byte)) (missing []string, err error) {
	n.bus.mu.Lock()
	others := maps.Clone(n.bus.nodes)
	n.bus.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(others)) {
		o := others[name]
		if o == n {
			continue
		}
		n.bus.mu.Lock()
		lost := n.bus.lose() || o.stopped
		n.bus.mu.Unlock()
		ended := false
		if !lost {
			answer := o.presence.Answer
			if topic == fanout.TopicChannels {
				answer = o.presence.AnswerChannels
			}
			var pieces [][]byte
			answer(question, func(piece []byte, last bool) error {
				pieces, ended = append(pieces, piece), last
				return nil
			})
			pass(n.bus.wait()) // announcements may overtake it
			n.bus.mu.Lock()
			spoil := n.bus.spoil
			n.bus.mu.Unlock()
			for _, piece := range pieces {
				if spoil {
					piece = bytes.ReplaceAll(piece, []byte(`"c":"0`), []byte(`"c":"x`))
				}
				take(name, piece)
			}
		}
		if !ended {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		<-ctx.Done()
	}
	return missing, nil
}

// Announce implements fanout.Bus.
func (n *memBusNode) Announce(c fanout.Channel, news []byte) error {
	n.bus.mu.Lock()
	defer n.bus.mu.Unlock()
	for _, o := range n.bus.nodes {
		if o != n && o.follows[c] && !o.stopped && !n.stopped && !n.bus.lose() {
			o.inbox <- func() { o.presence.Announced(n.name, c, news) }
		}
	}
	return nil
}

// Follow implements fanout.Bus.
func (n *memBusNode) Follow(c fanout.Channel) error {
	n.bus.mu.Lock()
	defer n.bus.mu.Unlock()
	n.follows[c] = true
	return nil
}

// Unfollow implements fanout.Bus.
func (n *memBusNode) Unfollow(c fanout.Channel) {
	n.bus.mu.Lock()
	defer n.bus.mu.Unlock()
	delete(n.follows, c)
}

// presenceNode is a hub with presence.
type presenceNode struct {
	*memBusNode
	hub *fanout.Hub
	reg *prometheus.Registry
}

func (n *presenceNode) metric(t *testing.T, name string) float64 {
	t.Helper()
	families, err := n.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// presenceNet is some nodes and the truth about their members.
type presenceNet struct {
	t     *testing.T
	bus   *memBus
	log   *memLog
	nodes []*presenceNode
	next  fanout.ClientID
	work  sync.WaitGroup
}

func newPresenceNet(t *testing.T, lose func() bool) *presenceNet {
	t.Helper()
	net := &presenceNet{t: t, bus: &memBus{nodes: map[string]*memBusNode{}, lose: lose, slow: rand.New(rand.NewPCG(1, 2))}, log: calm(0, 1)}
	return net
}

// end stops everything; a bubble wants it before its function returns.
func (p *presenceNet) end() {
	for _, n := range p.nodes {
		if err := n.hub.Stop(p.t.Context()); err != nil {
			p.t.Error(err)
		}
		n.bus.mu.Lock()
		close(n.inbox)
		n.bus.mu.Unlock()
	}
	p.work.Wait()
}

func (p *presenceNet) start(change func(*fanout.PresenceConfig)) *presenceNode {
	name := fmt.Sprintf("node-%d", len(p.nodes))
	n := &presenceNode{reg: prometheus.NewRegistry()}
	n.memBusNode = &memBusNode{bus: p.bus, name: name, inbox: make(chan func(), 4096), follows: map[fanout.Channel]bool{}}
	cfg := fanout.DefaultHubConfig()
	cfg.Shards = 2
	n.hub = fanout.NewHub(cfg, p.log, p.log.newFeed(true), p.log, slog.New(slog.DiscardHandler), n.reg)
	pcfg := fanout.DefaultPresenceConfig()
	pcfg.Node = name
	pcfg.Enabled = func(ns string) bool { return ns != "quiet" }
	if change != nil {
		change(&pcfg)
	}
	n.presence = n.hub.StartPresence(pcfg, n.memBusNode, slog.New(slog.DiscardHandler), n.reg)
	p.work.Go(func() {
		for f := range n.inbox {
			f()
		}
	})
	p.bus.mu.Lock()
	p.bus.nodes[name] = n.memBusNode
	p.bus.mu.Unlock()
	p.nodes = append(p.nodes, n)
	p.tellNodes()
	return n
}

func (p *presenceNet) tellNodes() {
	p.bus.mu.Lock()
	names := slices.Sorted(maps.Keys(p.bus.nodes))
	list := slices.Collect(maps.Values(p.bus.nodes))
	p.bus.mu.Unlock()
	for _, n := range list {
		if !n.stopped {
			n.presence.Nodes(slices.DeleteFunc(slices.Clone(names), func(o string) bool { return o == n.name }))
		}
	}
}

// kill stops a node; the others learn of it later, by bury.
func (p *presenceNet) kill(n *presenceNode) {
	p.bus.mu.Lock()
	n.stopped = true
	p.bus.mu.Unlock()
}

func (p *presenceNet) bury(n *presenceNode) {
	p.bus.mu.Lock()
	delete(p.bus.nodes, n.name)
	p.bus.mu.Unlock()
	p.tellNodes()
}

// guest is a connection that may watch, and keeps a list by what it is told.
type guest struct {
	net    *presenceNet
	node   *presenceNode
	who    fanout.Identity
	client *fanout.Client

	mu       sync.Mutex // guards the following
	full     bool       // it takes no notices
	list     map[fanout.ClientID]string
	known    bool
	last     *fanout.PresenceNews
	at       []time.Time
	problems []string
	began    bool
}

// Identity implements fanout.Identified.
func (g *guest) Identity() fanout.Identity { return g.who }

// Deliver implements fanout.Sink.
func (g *guest) Deliver(*fanout.Message) bool { return true }

// Notify implements fanout.Sink.
func (g *guest) Notify(n fanout.Notice) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case n.Kind == fanout.NoticeSubscribed:
		g.began = true
	case n.Kind == fanout.NoticePresence && g.full:
		return false
	case n.Kind == fanout.NoticePresence:
		g.take(n.Presence)
	}
	return true
}

func (g *guest) bad(format string, args ...any) {
	g.problems = append(g.problems, fmt.Sprintf(format, args...))
}

// take applies news as a client does, and checks that they make sense.
func (g *guest) take(n *fanout.PresenceNews) {
	if !g.began {
		g.bad("news before subscribed")
	}
	if len(g.at) > 0 && time.Since(g.at[len(g.at)-1]) < time.Second {
		g.bad("two pushes within %v", time.Since(g.at[len(g.at)-1]))
	}
	g.at, g.last = append(g.at, time.Now()), n
	switch {
	case n.Members != nil:
		g.list, g.known = map[fanout.ClientID]string{}, true
		for _, m := range n.Members {
			g.list[m.Client] = m.User
		}
	case len(n.Joined)+len(n.Left) == 0:
		g.list, g.known = nil, false
		return
	case !g.known:
		g.bad("changes of an unknown list")
		return
	}
	for _, m := range n.Left {
		if _, there := g.list[m.Client]; !there {
			g.bad("%v left and was not there", m.Client)
		}
		delete(g.list, m.Client)
	}
	for _, m := range n.Joined {
		if _, there := g.list[m.Client]; there {
			g.bad("%v joined twice", m.Client)
		}
		g.list[m.Client] = m.User
	}
	if len(g.list) != n.Clients {
		g.bad("%d clients, and the list has %d", n.Clients, len(g.list))
	}
}

func (p *presenceNet) join(n *presenceNode, channel, user string, watch bool) *guest {
	p.t.Helper()
	p.next++
	g := &guest{net: p, node: n, who: fanout.Identity{Client: p.next, User: user, Info: []byte(`{"a":1}`)}}
	g.client = n.hub.NewClient(g)
	if err := g.client.Subscribe(fanout.SubscribeRequest{Token: 1, Channel: mustChannel(p.t, channel), Presence: watch}); err != nil {
		p.t.Fatal(err)
	}
	return g
}

// check compares all that a watcher and a page say with the truth.
func (p *presenceNet) check(step string, channel string, guests []*guest, watchers []*guest, most int) {
	p.t.Helper()
	want, users := map[fanout.ClientID]string{}, map[string]bool{}
	for _, g := range guests {
		if !g.node.stopped {
			want[g.who.Client] = g.who.User
			users[g.who.User] = true
		}
	}
	delete(users, "")
	for _, w := range watchers {
		w.mu.Lock()
		switch {
		case w.last == nil:
			p.t.Errorf("%s: a watcher on %s was told nothing", step, w.node.name)
		case w.last.Partial || w.last.Clients != len(want) || w.last.Users != len(users):
			p.t.Errorf("%s: a watcher on %s was told %d clients, %d users, partial %v; want %d and %d",
				step, w.node.name, w.last.Clients, w.last.Users, w.last.Partial, len(want), len(users))
		case w.known != (len(want) <= most) && (len(want) > most || len(want) <= most-most/4):
			p.t.Errorf("%s: a watcher on %s knows the list: %v, of %d", step, w.node.name, w.known, len(want))
		case w.known && !maps.Equal(w.list, want):
			p.t.Errorf("%s: a watcher on %s has %v, want %v", step, w.node.name, w.list, want)
		}
		for _, problem := range w.problems {
			p.t.Errorf("%s: a watcher on %s: %s", step, w.node.name, problem)
		}
		w.problems = nil
		w.mu.Unlock()
	}
	for _, n := range p.nodes {
		if n.stopped {
			continue
		}
		var got []fanout.ClientID
		for after := ""; ; {
			page, err := n.presence.Page(p.t.Context(), fanout.PresenceQuery{Channel: mustChannel(p.t, channel), Limit: 7, After: after})
			if err != nil || page.Partial || page.Clients != len(want) || page.Users != len(users) {
				p.t.Fatalf("%s: %s says %+v, %v; want %d clients, %d users", step, n.name, page, err, len(want), len(users))
			}
			for _, m := range page.Members {
				got = append(got, m.Client)
				if m.User != want[m.Client] || string(m.Info) != `{"a":1}` || m.Since == 0 {
					p.t.Errorf("%s: member %+v", step, m)
				}
			}
			if after = page.Next; after == "" {
				break
			}
		}
		if !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
			p.t.Errorf("%s: the pages of %s have %v", step, n.name, got)
		}
	}
}
