package rivulet_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/protocol"
)

// job sends a message of the group "g".
func (p *peer) job(offset uint64, attempt int) {
	p.send(protocol.Event{Message: &protocol.MessageEvent{
		Channel: "a", Offset: offset, Position: at(offset), Time: 1, Data: fmt.Appendf(nil, "%d", offset),
		Group: "g", Attempt: attempt, AckToken: fmt.Sprintf("%d-%d", offset, attempt),
	}})
}

func (p *peer) noted(c *protocol.Command, token string) {
	p.send(protocol.Event{ID: c.ID, Acked: &protocol.AckedEvent{Channel: "a", Token: token}})
}

// crew is the answer to a member whose namespace waits so long.
func crew(wait time.Duration) protocol.SubscribedEvent {
	return protocol.SubscribedEvent{Recovered: true, Group: "g", AckWaitMS: wait.Milliseconds()}
}

func joinGroup(t testing.TB, c *rivulet.Client) *rivulet.Group {
	t.Helper()
	g, err := c.Join(t.Context(), "a", "g", rivulet.GroupOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// nextJob returns what the group yields next.
func nextJob(t testing.TB, g *rivulet.Group) (*rivulet.Job, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for j, err := range g.Jobs(ctx) {
		return j, err
	}
	return nil, errors.New("the range has ended")
}

func wantJob(t testing.TB, g *rivulet.Group, offset uint64, attempt int) *rivulet.Job {
	t.Helper()
	j, err := nextJob(t, g)
	if err != nil {
		t.Fatalf("instead of job %d: %v", offset, err)
	}
	if j.Offset != offset || j.Attempt != attempt {
		t.Fatalf("job %d, attempt %d; want %d, %d", j.Offset, j.Attempt, offset, attempt)
	}
	return j
}

// pass lets time pass in a bubble.
func pass(d time.Duration) { <-time.After(d) }

// A job that waits in the client is kept until the application takes it, and not after.
func TestGroupKeepsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const wait = 3 * time.Second
		var kept []string
		opts := bubbled(t, func(p *peer) {
			p.greet()
			p.subscribed(crew(wait))
			p.job(1, 1)
			p.job(2, 1)
			for {
				switch c := p.receive(); {
				case c.InProgress != nil:
					kept = append(kept, c.InProgress.Token)
					p.noted(c, c.InProgress.Token)
				case c.Ack != nil:
					p.noted(c, c.Ack.Token)
				}
			}
		})
		g := joinGroup(t, connect(t, opts))
		first := wantJob(t, g, 1, 1)
		for range 4 { // the application works, and shows it
			pass(wait / 2)
			if err := first.InProgress(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := first.Ack(t.Context()); err != nil {
			t.Fatal(err)
		}
		second := wantJob(t, g, 2, 1)
		synctest.Wait()
		renewals := 0
		for _, token := range kept {
			if token == "2-1" {
				renewals++
			}
		}
		if renewals < 4 || renewals > 7 {
			t.Errorf("%d renewals of the job that waited for twice the time: %v", renewals, kept)
		}
		before := len(kept)
		pass(wait - time.Millisecond)
		synctest.Wait()
		if len(kept) > before {
			t.Errorf("the job that was handed out is kept: %v", kept[before:])
		}
		if err := second.Ack(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// A job whose time is up, or that the node took back, is not handed out.
func TestGroupDropsWhatIsNotItsOwn(t *testing.T) {
	const wait = 3 * time.Second
	for name, answer := range map[string]func(p *peer, c *protocol.Command){
		"the node is silent": func(*peer, *protocol.Command) {},
		"it took the job back": func(p *peer, c *protocol.Command) {
			p.send(protocol.Event{ID: c.ID, Error: &protocol.ErrorEvent{Code: protocol.ErrorNotFound, Field: "token"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opts := bubbled(t, func(p *peer) {
					p.greet()
					p.subscribed(crew(wait))
					p.job(1, 1)
					c := p.receive()
					for c.InProgress == nil {
						c = p.receive()
					}
					answer(p, c)
					pass(wait)
					p.job(2, 1)
					p.idle()
				})
				g := joinGroup(t, connect(t, opts))
				pass(2 * wait)
				wantJob(t, g, 2, 1)
			})
		})
	}
}

// An application that stands still keeps nothing from others for longer than the time.
func TestGroupThatStandsStillKeepsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const wait = 3 * time.Second
		var last time.Time
		opts := bubbled(t, func(p *peer) {
			p.greet()
			p.subscribed(crew(wait))
			p.job(1, 1)
			for {
				if c := p.receive(); c.InProgress != nil {
					last = time.Now()
					p.noted(c, c.InProgress.Token)
				}
			}
		})
		begin := time.Now()
		joinGroup(t, connect(t, opts))
		pass(10 * wait)
		synctest.Wait()
		if kept := last.Sub(begin); kept <= 0 || kept > wait {
			t.Errorf("kept for %v by an application that never took it", kept)
		}
	})
}

// After a lost connection the group goes on; what waited is other members' now, and a
// group that had to begin anew is told of as a gap.
func TestGroupAfterLostConnection(t *testing.T) {
	for name, resumed := range map[string]bool{"it goes on": true, "it begins anew": false} {
		t.Run(name, func(t *testing.T) {
			old := make(chan struct{})
			url := scripted(t, func(p *peer) {
				p.greet()
				answer := crew(time.Minute)
				answer.Resumed = p.n > 1 && resumed
				if c := p.subscribed(answer); c.Group != "g" || c.MaxInFlight != 0 {
					t.Errorf("subscribe %+v", c)
				}
				if p.n == 1 {
					p.job(1, 1)
					p.job(2, 1)
					<-old
					p.cutOff()
					return
				}
				p.job(2, 2)
				for {
					if c := p.receive(); c.Ack != nil {
						p.noted(c, c.Ack.Token)
					}
				}
			})
			g := joinGroup(t, open(t, url, quick()))
			first := wantJob(t, g, 1, 1)
			close(old)
			j, err := nextJob(t, g)
			for err == nil && j.Attempt == 1 { // taken before the loss was noticed
				j, err = nextJob(t, g)
			}
			gap, told := errors.AsType[*rivulet.GapError](err)
			switch {
			case told == resumed:
				t.Fatalf("got %+v, %v", j, err)
			case told && gap.Reason != protocol.ReasonLogChanged:
				t.Errorf("gap %+v", gap)
			case told:
				j = wantJob(t, g, 2, 2)
			}
			if j.Offset != 2 || j.Attempt != 2 {
				t.Fatalf("job %d, attempt %d", j.Offset, j.Attempt)
			}
			if err := j.Ack(limit(t)); err != nil {
				t.Error(err)
			}
			if err := first.Ack(limit(t)); err == nil {
				t.Error("a job of a lost connection was acknowledged")
			}
		})
	}
}

// Messages that are gone from the log are told of, at the beginning and later.
func TestGroupTellsOfGaps(t *testing.T) {
	url := scripted(t, func(p *peer) {
		p.greet()
		p.subscribed(protocol.SubscribedEvent{Group: "g", Reason: protocol.ReasonRetention})
		p.send(protocol.Event{Gap: &protocol.GapEvent{Channel: "a", Position: at(7), Reason: protocol.ReasonPurged}})
		p.job(8, 1)
		p.idle()
	})
	g := joinGroup(t, open(t, url, quick()))
	for _, reason := range []string{protocol.ReasonRetention, protocol.ReasonPurged} {
		_, err := nextJob(t, g)
		if gap, ok := errors.AsType[*rivulet.GapError](err); !ok || gap.Reason != reason {
			t.Fatalf("%v, want a gap for %s", err, reason)
		}
	}
	wantJob(t, g, 8, 1)
}

// What the node ends is taken up again if it may be, else it is over.
func TestGroupIsEnded(t *testing.T) {
	url := scripted(t, func(p *peer) {
		p.greet()
		p.subscribed(crew(time.Minute))
		p.send(protocol.Event{Unsubscribed: &protocol.UnsubscribedEvent{Channel: "a", Code: protocol.ErrorResubscribe, Reason: "the group was deleted"}})
		p.subscribed(crew(time.Minute))
		p.job(1, 1)
		c := p.receive()
		if c.Ack == nil {
			t.Errorf("%+v", c)
		}
		p.noted(c, "1-1")
		p.send(protocol.Event{Unsubscribed: &protocol.UnsubscribedEvent{Channel: "a", Code: protocol.ErrorRevoked}})
		p.idle()
	})
	g := joinGroup(t, open(t, url, quick()))
	var gap, end error
	for j, err := range g.Jobs(limit(t)) {
		if _, ok := errors.AsType[*rivulet.GapError](err); ok {
			gap = err
		} else if err != nil {
			end = err
		} else if err := j.Ack(limit(t)); err != nil {
			t.Error(err)
		}
	}
	if gap == nil {
		t.Error("no word that the group began anew")
	}
	if e, ok := errors.AsType[*rivulet.Error](end); !ok || e.Code != protocol.ErrorRevoked {
		t.Errorf("ended with %v", end)
	}
}

// What a job is settled with goes out as it is meant.
func TestGroupSettles(t *testing.T) {
	url := scripted(t, func(p *peer) {
		p.greet()
		p.subscribed(crew(time.Minute))
		for offset := range uint64(3) {
			p.job(offset+1, 1)
		}
		c := p.receive()
		if c.Ack == nil || c.Ack.Token != "1-1" || c.Ack.Channel != "default:a" {
			t.Errorf("%+v", c)
		}
		p.noted(c, "1-1")
		c = p.receive()
		if n := c.Nak; n == nil || n.Token != "2-1" || n.Delay != 1500 || n.Reason != "no" {
			t.Errorf("%+v", c)
		}
		p.noted(c, "2-1")
		c = p.receive()
		if c.InProgress == nil || c.InProgress.Token != "3-1" {
			t.Errorf("%+v", c)
		}
		p.send(protocol.Event{ID: c.ID, Error: &protocol.ErrorEvent{Code: protocol.ErrorNotFound, Field: "token"}})
		c = p.receive()
		if c.Unsubscribe == nil || c.Unsubscribe.Channel != "default:a" {
			t.Errorf("%+v", c)
		}
		p.send(protocol.Event{ID: c.ID, Unsubscribed: &protocol.UnsubscribedEvent{Channel: "a"}})
		p.idle()
	})
	g := joinGroup(t, open(t, url, quick()))
	if err := wantJob(t, g, 1, 1).Ack(limit(t)); err != nil {
		t.Error(err)
	}
	if err := wantJob(t, g, 2, 1).Nak(limit(t), 1500*time.Millisecond, "no"); err != nil {
		t.Error(err)
	}
	err := wantJob(t, g, 3, 1).InProgress(limit(t))
	if e, ok := errors.AsType[*rivulet.Error](err); !ok || e.Code != protocol.ErrorNotFound {
		t.Errorf("%v", err)
	}
	if err := g.Leave(limit(t)); err != nil || g.Err() != nil {
		t.Errorf("%v, %v", err, g.Err())
	}
}
