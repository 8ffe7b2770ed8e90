package rivulet_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/protocol"
)

// A node that cannot let a member go for a while takes it for one, and goes on to give it
// jobs that nobody works on: the client asks again, and frees the channel no sooner.
func TestLeavingAGroupThatIsRefusedForNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := bubbled(t, func(p *peer) {
			p.greet()
			p.subscribed(crew(time.Minute))
			p.refuse(p.receive(), 5*time.Second)
			p.job(1, 1) // nobody's
			p.letGo()
			p.subscribed(crew(time.Minute))
			p.job(1, 2)
			p.idle()
		})
		c := connect(t, opts)
		began := time.Now()
		if err := joinGroup(t, c).Leave(limit(t)); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d < 5*time.Second {
			t.Errorf("left after %v, the node did not let go before 5 s", d)
		}
		wantJob(t, joinGroup(t, c), 1, 2)
	})
}

// One whose node does not answer says so, and goes on in the background.
func TestLeavingAGroupUnanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan struct{})
		opts := bubbled(t, func(p *peer) {
			p.greet()
			p.subscribed(crew(time.Minute))
			c := p.receive()
			<-answer
			p.gone(c)
			p.subscribed(crew(time.Minute))
			p.idle()
		})
		c := connect(t, opts)
		g := joinGroup(t, c)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.Leave(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Leave: %v", err)
		}
		if _, err := c.Join(t.Context(), "a", "g", rivulet.GroupOptions{}); !errors.Is(err, rivulet.ErrAlreadySubscribed) {
			t.Errorf("joined before the node has let go: %v", err)
		}
		close(answer)
		synctest.Wait()
		joinGroup(t, c)
	})
}

// A membership that begins after nobody waits for it any more is left.
func TestJoiningAGroupGivesUpWithItsContext(t *testing.T) {
	asked, answer, gone := make(chan struct{}), make(chan struct{}), make(chan string, 1)
	c := open(t, scripted(t, func(p *peer) {
		p.greet()
		c := p.receive()
		close(asked)
		await(t, answer)
		e := crew(time.Minute)
		p.send(protocol.Event{ID: c.ID, Subscribed: &e})
		gone <- p.letGo()
		p.idle()
	}), quick())
	ctx, cancel := context.WithCancel(limit(t))
	go func() { <-asked; cancel() }()
	if _, err := c.Join(ctx, "a", "g", rivulet.GroupOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	close(answer)
	if name := await(t, gone); name != "default:a" {
		t.Errorf("left %s", name)
	}
}

// A group's messages are not those of a pattern that matches: not after it was left either.
func TestGroupBesideAPattern(t *testing.T) {
	url := scripted(t, func(p *peer) {
		p.greet()
		if p.n == 2 {
			if c := p.begin("", 2); !slices.Equal(c.Positions, []string{at(2)}) {
				p.t.Errorf("goes on from %v", c.Positions)
			}
			p.message("default:a", 3)
			p.idle()
		}
		p.begin("default:>", 0)
		p.subscribed(crew(time.Minute))
		p.job(9, 1)
		p.message("default:a", 1)
		p.send(protocol.Event{Gap: &protocol.GapEvent{Channel: "default:a", Position: at(8), Reason: protocol.ReasonRetention}}) // the group's
		p.send(protocol.Event{Gap: &protocol.GapEvent{Channel: "default:a", Position: at(8), Reason: protocol.ReasonPurged}})    // one's or the other's
		p.letGo()
		p.job(9, 2) // too late
		p.message("default:a", 2)
		p.cutOff()
	})
	c := open(t, url, quick())
	s := subscribe(t, c, ">", rivulet.SubscribeOptions{})
	g := joinGroup(t, c)
	var reasons []string // of the gaps, which go before jobs
	for range 3 {
		j, err := nextJob(t, g)
		if gap, ok := errors.AsType[*rivulet.GapError](err); ok {
			reasons = append(reasons, gap.Reason)
		} else if err != nil || j.Offset != 9 {
			t.Errorf("got %+v, %v", j, err)
		}
	}
	if want := []string{protocol.ReasonRetention, protocol.ReasonPurged}; !slices.Equal(reasons, want) {
		t.Errorf("the group has gaps for %v, want %v", reasons, want)
	}
	if err := g.Leave(limit(t)); err != nil {
		t.Fatal(err)
	}
	want := []string{"default:a@1", "gap default:a purged", "default:a@2", "subscribed resumed=true recovered=true", "default:a@3"}
	if got := take(t, s, 6); !slices.Equal(got[1:], want) {
		t.Errorf("the pattern got %q", got)
	}
}
