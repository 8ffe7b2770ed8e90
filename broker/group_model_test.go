package broker_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
)

// crew is a group whose members do things at random, and what must be true of it.
type crew struct {
	t        *testing.T
	b        *broker.Broker
	r        *rand.Rand
	members  []*worker
	read     map[*worker]int    // of what each got
	holds    map[uint64]*worker // who has a message
	jobs     map[uint64]fanout.GroupMessage
	attempts map[uint64]int
	acked    map[uint64]bool
	buried   map[uint64]bool
	stored   int
}

const crewDeliver = 4

// TestGroupModel: whatever members do, a message is with one of them at a time, its
// attempts count from 1 without a gap, and in the end it is acknowledged once or, after
// the last attempt, a dead letter once.
func TestGroupModel(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			b := open(t, groupsConfig(t, broker.GroupConfig{AckWait: time.Hour, MaxDeliver: crewDeliver, Backoff: []time.Duration{0}}))
			started(t, b)
			c := &crew{
				t: t, b: b, r: rand.New(rand.NewPCG(seed, 1)), read: map[*worker]int{}, holds: map[uint64]*worker{},
				jobs: map[uint64]fanout.GroupMessage{}, attempts: map[uint64]int{}, acked: map[uint64]bool{}, buried: map[uint64]bool{},
			}
			c.hire()
			for range 150 {
				c.step()
			}
			for len(c.acked)+len(c.buried) < c.stored {
				c.finish()
			}
			c.audit()
		})
	}
}

func (c *crew) step() {
	c.look()
	switch n := c.r.IntN(10); {
	case n < 3:
		publish(c.t, c.b, "t:jobs", fmt.Sprint(c.stored))
		c.stored++
	case n == 3 && len(c.members) < 4:
		c.hire()
	case n == 4 && len(c.members) > 1:
		c.fire()
	default:
		c.settle(c.r.IntN(3) > 0)
	}
}

// finish acknowledges what there is, until nothing waits.
func (c *crew) finish() {
	eventually(c.t, "a message for somebody", func() bool { c.look(); return len(c.holds) > 0 })
	c.settle(true)
}

func (c *crew) hire() {
	w, _ := join(c.t, c.b, "t:jobs", "crew", 1+c.r.IntN(4), fanout.Start{})
	c.members = append(c.members, w)
}

// fire has a member leave: what it has is given back.
func (c *crew) fire() {
	i := c.r.IntN(len(c.members))
	w := c.members[i]
	c.members = append(c.members[:i], c.members[i+1:]...)
	w.Leave()
	c.lookAt(w) // what came until then
	for offset, by := range c.holds {
		if by == w {
			delete(c.holds, offset)
			if c.attempts[offset] == crewDeliver {
				c.buried[offset] = true // there is no further attempt
			}
		}
	}
}

func (c *crew) settle(done bool) {
	for offset, w := range c.holds { // in no order
		delete(c.holds, offset)
		token := c.jobs[offset].Token
		if done {
			c.acked[offset] = true
			if err := ack(c.t, w, token); err != nil {
				c.t.Fatal(err)
			}
			return
		}
		c.buried[offset] = c.attempts[offset] == crewDeliver
		if !c.buried[offset] {
			delete(c.buried, offset)
		}
		if err := settled(c.t, func(done func(error)) { w.Nak(token, -1, "no", done) }); err != nil {
			c.t.Fatal(err)
		}
		return
	}
}

func (c *crew) look() {
	for _, w := range c.members {
		c.lookAt(w)
	}
}

func (c *crew) lookAt(w *worker) {
	list := w.messages()
	for _, m := range list[c.read[w]:] {
		offset := m.Offset()
		switch {
		case c.acked[offset] || c.buried[offset]:
			c.t.Fatalf("message %d came again after its end", offset)
		case c.holds[offset] != nil:
			c.t.Fatalf("message %d came to a second member", offset)
		case m.Attempt != c.attempts[offset]+1:
			c.t.Fatalf("message %d: attempt %d came after %d", offset, m.Attempt, c.attempts[offset])
		}
		c.attempts[offset], c.holds[offset], c.jobs[offset] = m.Attempt, w, m
	}
	c.read[w] = len(list)
}

func (c *crew) audit() {
	dead := source(c.t, c.b, "t:dead-letters.crew")
	eventually(c.t, "all dead letters", func() bool { return len(readAll(c.t, c.b, dead)) >= len(c.buried) })
	letters := map[string]int{}
	for _, m := range readAll(c.t, c.b, dead) {
		letters[m.Headers["Rivulet-Dead-Offset"]]++
	}
	for offset := range c.buried {
		if letters[fmt.Sprint(offset)] != 1 {
			c.t.Errorf("message %d became %d dead letters", offset, letters[fmt.Sprint(offset)])
		}
	}
	if len(letters) != len(c.buried) || len(c.acked)+len(c.buried) != c.stored {
		c.t.Errorf("%d dead letters of %d, %d acknowledged, %d stored", len(letters), len(c.buried), len(c.acked), c.stored)
	}
}

func readAll(t *testing.T, b *broker.Broker, src fanout.Source) (list []*fanout.Message) {
	t.Helper()
	after := uint64(0)
	for {
		page := read(t, b, fanout.Query{Source: src, After: after, Limit: 100})
		if len(page.Messages) == 0 {
			return list
		}
		list = append(list, page.Messages...)
		after = page.Messages[len(page.Messages)-1].Offset()
	}
}
