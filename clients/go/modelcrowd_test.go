package rivulet_test

import (
	"slices"
	"testing"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
)

// Worlds in which all happens on the beat, which is also how long the client waits for room:
// several subscribe and unsubscribe in the very moment in which others are let go of.

// modelBeat divides both times for which a client waits for room.
const modelBeat = 25 * time.Millisecond

// beat does several things at once, and waits for the next or a later beat.
func (w *modelWorld) beat(k modelKind) {
	r := w.rng
	for range 1 + r.IntN(3) {
		w.publish(modelChannels[r.IntN(len(modelChannels))], 1+r.IntN(4))
	}
	for range r.IntN(4) {
		name := k.names[r.IntN(len(k.names))]
		opts := rivulet.SubscribeOptions{Buffer: 1 + r.IntN(2), Last: r.IntN(k.last + 1)}
		slow := []time.Duration{0, modelBeat, 2 * modelBeat, 10 * time.Second}[r.IntN(4)]
		if k.ends && r.IntN(2) == 0 {
			w.wg.Go(func() { w.unsubscribe(name) })
		} else {
			w.wg.Go(func() { w.subscribe(name, opts, slow) })
		}
	}
	w.node.delay(time.Duration(r.IntN(6)) * modelBeat)
	switch r.IntN(60) { // seldom: what is stuck does not outlive its connection
	case 0:
		w.node.cut()
	case 1:
		w.node.refuseNext(1 + r.IntN(3))
	case 2:
		pass(10 * time.Second)
	}
	pass(modelBeat * time.Duration(1+r.IntN(3)))
}

// delay has commands wait from now on.
func (n *modelNode) delay(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lag = d
}

// wait is the delay of a command.
func (n *modelNode) wait() {
	n.mu.Lock()
	lag := n.lag
	n.mu.Unlock()
	if lag > 0 {
		pass(lag)
	}
}

// subscriptions are the names that the node knows.
func (n *modelNode) subscriptions() (names []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		for _, s := range c.subs {
			if !s.brought {
				names = append(names, s.channel)
			}
		}
	}
	slices.Sort(names)
	return names
}

func TestModelOfCrowds(t *testing.T) {
	play(t, modelKind{names: modelNames, crowd: true}, func(w *modelWorld) []string {
		return w.complete(true, false)
	})
}

func TestModelOfCrowdsWithHistory(t *testing.T) {
	play(t, modelKind{names: modelNames, crowd: true, last: 5}, func(w *modelWorld) []string {
		return w.complete(false, false)
	})
}

// Of few names, as it takes that some meet.
func TestModelOfCrowdsThatEnd(t *testing.T) {
	play(t, modelKind{names: []string{"t:a.1", "t:a.2", "t:>"}, crowd: true, ends: true, last: 5}, func(*modelWorld) []string { return nil })
}
