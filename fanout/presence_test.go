package fanout_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

// TestPresenceModel: whatever members, watchers and nodes do, and whatever announcements
// and answers are lost on the way, once all is quiet everybody is told the truth, within
// the time in which it is verified.
func TestPresenceModel(t *testing.T) {
	const most = 12
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			lossy, losses := true, rand.New(rand.NewPCG(seed, 2)) // used under the bus's lock
			p := newPresenceNet(t, func() bool { return lossy && losses.IntN(5) == 0 })
			defer p.end()
			small := func(c *fanout.PresenceConfig) { c.MaxMembers = most }
			for range 3 {
				p.start(small)
			}
			var guests, watchers []*guest
			alive := func() []*presenceNode {
				return slices.DeleteFunc(slices.Clone(p.nodes), func(n *presenceNode) bool { return n.stopped })
			}
			for round := range 4 {
				p.bus.mu.Lock()
				lossy = true
				p.bus.mu.Unlock()
				for range 10 + rng.IntN(40) {
					nodes := alive()
					n := nodes[rng.IntN(len(nodes))]
					switch rng.IntN(12) {
					case 0, 1, 2, 3, 4:
						guests = append(guests, p.join(n, "room:a", []string{"", "ann", "bob", "eve"}[rng.IntN(4)], false))
					case 5:
						w := p.join(n, "room:a", "watcher", true)
						guests, watchers = append(guests, w), append(watchers, w)
					case 6, 7, 8, 9:
						if len(guests) > 0 {
							i := rng.IntN(len(guests))
							guests[i].client.Close()
							watchers = slices.DeleteFunc(watchers, func(g *guest) bool { return g == guests[i] })
							guests = slices.Delete(guests, i, i+1)
						}
					case 10:
						if len(watchers) > 0 {
							watchers[rng.IntN(len(watchers))].stall(rng.IntN(2) == 0)
						}
					case 11:
						if len(nodes) > 1 && rng.IntN(4) == 0 {
							p.kill(n)
							p.start(small)
						}
					}
					pass(time.Duration(rng.IntN(800)) * time.Millisecond)
				}
				for _, n := range p.nodes {
					if n.stopped {
						p.bury(n)
					}
				}
				p.bus.mu.Lock()
				lossy = false
				p.bus.mu.Unlock()
				for _, w := range watchers {
					w.stall(false)
				}
				pass(20 * time.Second) // VerifyInterval and some
				synctest.Wait()
				guests = slices.DeleteFunc(guests, func(g *guest) bool { return g.node.stopped })
				watchers = slices.DeleteFunc(watchers, func(g *guest) bool { return g.node.stopped })
				p.check(fmt.Sprintf("seed %d, round %d", seed, round), "room:a", guests, watchers, most)
			}
		})
		if t.Failed() {
			return
		}
	}
}

// stall makes a watcher take nothing, or take again.
func (g *guest) stall(full bool) {
	g.mu.Lock()
	was := g.full
	g.full = full
	g.mu.Unlock()
	if was && !full {
		g.client.Drained()
	}
}

// pass lets the bubble's time pass.
func pass(d time.Duration) { <-time.After(d) }

func (p *presenceNet) settle() {
	pass(3 * time.Second)
	synctest.Wait()
}

// TestPresenceStorm: a crowd that joins within a moment is one push for each
// watcher and interval, of counts alone once it is large.
func TestPresenceStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const crowd, watching = 600, 50
		p := newPresenceNet(t, func() bool { return false })
		defer p.end()
		nodes := []*presenceNode{p.start(nil), p.start(nil)}
		var guests, watchers []*guest
		for i := range crowd {
			g := p.join(nodes[i%2], "room:a", fmt.Sprint(i/2), i < watching)
			guests = append(guests, g)
			if i < watching {
				watchers = append(watchers, g)
			}
			pass(5 * time.Millisecond) // 3 s in all
		}
		p.settle()
		p.check("after the storm", "room:a", guests, watchers, 100)
		pushes := 0
		for _, w := range watchers {
			pushes += len(w.at)
		}
		if most := watching * 6; pushes > most {
			t.Errorf("%d pushes to %d watchers in 3 s, want at most %d", pushes, watching, most)
		}
	})
}

// TestPresenceObserver: what happens on a node is told in order.
func TestPresenceObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &logObserver{}
		p := newPresenceNet(t, func() bool { return false })
		defer p.end()
		n := p.start(func(c *fanout.PresenceConfig) { c.Observer = o })
		other := p.start(nil)
		a := p.join(n, "room:a", "ann", false)
		synctest.Wait()
		b := p.join(n, "room:a", "bob", false)
		elsewhere := p.join(other, "room:a", "eve", false)
		quiet := p.join(n, "quiet:a", "ann", false)
		pattern := p.join(n, "room:>", "ann", false)
		p.settle()
		for _, g := range []*guest{quiet, pattern, elsewhere, a, b} {
			g.client.Close()
		}
		p.settle()
		want := []string{"occupied", "joined ann", "joined bob", "left ann", "left bob", "vacated"}
		if !slices.Equal(o.list(), want) {
			t.Errorf("got %v, want %v", o.list(), want)
		}
	})
}

type logObserver struct {
	mu    sync.Mutex
	lines []string
}

func (o *logObserver) add(line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines = append(o.lines, line)
}

func (o *logObserver) list() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.lines)
}

func (o *logObserver) Occupied(fanout.Channel) { o.add("occupied") }
func (o *logObserver) Vacated(fanout.Channel)  { o.add("vacated") }
func (o *logObserver) MemberJoined(_ fanout.Channel, m *fanout.Member) {
	o.add("joined " + m.User)
}
func (o *logObserver) MemberLeft(_ fanout.Channel, m *fanout.Member) { o.add("left " + m.User) }

// TestPresenceLostAnnouncement: the next announcement shows that one was lost, and it is
// made up for at once; where none follows, the next look does.
func TestPresenceLostAnnouncement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lose := false
		p := newPresenceNet(t, func() bool { return lose })
		defer p.end()
		here, there := p.start(nil), p.start(nil)
		w := p.join(here, "room:a", "watcher", true)
		a := p.join(there, "room:a", "ann", false)
		p.settle()
		set := func(v bool) {
			p.bus.mu.Lock()
			lose = v
			p.bus.mu.Unlock()
		}
		set(true)
		b := p.join(there, "room:a", "bob", false)
		pass(400 * time.Millisecond)
		synctest.Wait()
		set(false)
		c := p.join(there, "room:a", "eve", false)
		p.settle()
		p.check("one in the middle", "room:a", []*guest{w, a, b, c}, []*guest{w}, 100)
		if n := here.metric(t, "rivulet_fanout_presence_gaps_total"); n != 1 {
			t.Errorf("%v gaps were noticed, want 1", n)
		}
		set(true)
		a.client.Close()
		pass(400 * time.Millisecond)
		synctest.Wait()
		set(false)
		pass(17 * time.Second)
		p.check("the last one", "room:a", []*guest{w, b, c}, []*guest{w}, 100)
	})
}

func TestPresenceRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPresenceNet(t, func() bool { return false })
		defer p.end()
		n := p.start(nil)
		for name, q := range map[string]struct {
			query fanout.PresenceQuery
			want  string
		}{
			"pattern":      {fanout.PresenceQuery{Channel: mustChannel(t, "room:>"), Limit: 1}, "channel: must be a channel, not a pattern"},
			"none":         {fanout.PresenceQuery{Limit: 1}, "channel: must be a channel, not a pattern"},
			"no presence":  {fanout.PresenceQuery{Channel: mustChannel(t, "quiet:a"), Limit: 1}, fanout.ErrNoPresence.Error()},
			"limit":        {fanout.PresenceQuery{Channel: mustChannel(t, "room:a"), Limit: 1001}, "limit: is 1001, must be 1 to 1000"},
			"below":        {fanout.PresenceQuery{Channel: mustChannel(t, "room:a"), Limit: -1}, "limit: is -1, must be 1 to 1000"},
			"after":        {fanout.PresenceQuery{Channel: mustChannel(t, "room:a"), Limit: 1, After: "x"}, `after: "x" is not the next of a page`},
			"after, upper": {fanout.PresenceQuery{Channel: mustChannel(t, "room:a"), Limit: 1, After: "00000000000000AB"}, `after: "00000000000000AB" is not the next of a page`},
		} {
			if _, err := n.presence.Page(t.Context(), q.query); err == nil || err.Error() != q.want {
				t.Errorf("%s: %v, want %s", name, err, q.want)
			}
		}
		c := n.hub.NewClient(&guest{})
		if err := c.Subscribe(fanout.SubscribeRequest{Channel: mustChannel(t, "quiet:a"), Presence: true}); err != fanout.ErrNoPresence { //nolint:errorlint // as it is
			t.Error(err)
		}
		if err := c.Subscribe(fanout.SubscribeRequest{Channel: mustChannel(t, "room:>"), Presence: true}); err == nil {
			t.Error("a pattern was taken")
		}
		for _, limit := range []int{0, 1001} {
			if _, err := n.presence.Channels(t.Context(), fanout.ChannelsQuery{Limit: limit}); err == nil {
				t.Errorf("a limit of %d was taken", limit)
			}
		}
		for _, junk := range []string{"", "{", `{"channel":"room:>"}`, `{"channel":"room:a","sync":1}`} {
			n.presence.Answer([]byte(junk), func([]byte, bool) error {
				t.Errorf("%q was answered", junk)
				return nil
			})
			n.presence.Announced("x", mustChannel(t, "room:a"), []byte(junk))
		}
	})
}

// TestChannelsOfAllNodes: the listing has each channel once, with the subscribers of all
// nodes, in pages.
func TestChannelsOfAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPresenceNet(t, func() bool { return false })
		defer p.end()
		a, b := p.start(nil), p.start(nil)
		for i := range 9 {
			p.join(a, fmt.Sprintf("room:%d", i), "", false)
		}
		p.join(b, "room:3", "", false)
		p.join(b, "quiet:x", "", false)
		p.join(b, "room:>", "", false)
		p.settle()
		n, partial, err := a.presence.Clients(t.Context(), mustChannel(t, "quiet:x"))
		if n != 1 || partial || err != nil {
			t.Errorf("%d %v %v", n, partial, err)
		}
		var got []string
		for after, more := "", true; more; {
			page, err := a.presence.Channels(t.Context(), fanout.ChannelsQuery{Prefix: "room:", Limit: 4, After: after})
			if err != nil || page.Partial || len(page.Channels) == 0 {
				t.Fatalf("%+v, %v", page, err)
			}
			for _, o := range page.Channels {
				got = append(got, fmt.Sprintf("%s %d", o.Channel, o.Clients))
				after = o.Channel
			}
			more = page.More
		}
		want := []string{"room:0 1", "room:1 1", "room:2 1", "room:3 2", "room:4 1", "room:5 1", "room:6 1", "room:7 1", "room:8 1"}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// TestPresenceAnswerIsUnreadable: an answer of which a piece cannot be read is none; the
// members are asked for again and not taken for known.
func TestPresenceAnswerIsUnreadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPresenceNet(t, func() bool { return false })
		defer p.end()
		p.bus.spoil = true
		here, there := p.start(nil), p.start(nil)
		a := p.join(there, "room:a", "ann", false)
		pass(2 * time.Second)
		w := p.join(here, "room:a", "watcher", true)
		pass(5 * time.Second)
		w.mu.Lock()
		if w.last != nil && !w.last.Partial {
			t.Errorf("told %+v as if it were all", w.last)
		}
		w.mu.Unlock()
		p.bus.mu.Lock()
		p.bus.spoil = false
		p.bus.mu.Unlock()
		p.settle()
		p.check("unreadable", "room:a", []*guest{w, a}, []*guest{w}, 100)
	})
}

// TestPresenceAnswerIsOvertaken: who left while an answer that still has them was under
// way is no ghost when it comes.
func TestPresenceAnswerIsOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPresenceNet(t, func() bool { return false })
		defer p.end()
		p.bus.fixed = 200 * time.Millisecond
		here, there := p.start(nil), p.start(nil)
		a, b := p.join(there, "room:a", "ann", false), p.join(there, "room:a", "bob", false)
		p.settle()
		w := p.join(here, "room:a", "watcher", true)
		pass(80 * time.Millisecond) // the question is out, and answered
		a.client.Close()
		p.settle()
		p.check("overtaken", "room:a", []*guest{w, b}, []*guest{w}, 100)
	})
}
