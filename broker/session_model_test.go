package broker_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
)

// modelSession is what a durable session must be.
type modelSession struct {
	exists bool
	places map[string]fanout.Position
	owner  *holder // who may write; nil where nobody may
}

// holder is a connection that took the session once, and may believe that it still has it.
type holder struct {
	node *node
	rec  *fanout.SessionRecord
	name string
}

// world runs random acts on one session and on its model.
type world struct {
	t       *testing.T
	rng     *rand.Rand
	nodes   []*node
	at      []fanout.Position
	model   modelSession
	holders []*holder
	taken   int // how often
	ended   int // how often it expired
	trail   []string
}

// TestSessionModel: whatever connections, nodes that pause, crashes, operators and time
// do, the store has exactly what the owner wrote last.
func TestSessionModel(t *testing.T) {
	seed := rand.Uint64()
	if s := os.Getenv("SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	for _, c := range storeCases(false) {
		t.Run(c.String(), func(t *testing.T) {
			list := nodes(t, c, broker.SessionPolicy{})
			at := publishMany(t, list[0].Broker, "t:a", 0, 50)
			for run := range 8 {
				w := &world{t: t, rng: rand.New(rand.NewPCG(seed, uint64(run))), nodes: list, at: at}
				list[0].expired.list = nil
				for step := 0; step < 60 && !t.Failed(); step++ {
					w.step()
				}
				if t.Failed() {
					t.Fatalf("SEED=%d, run %d:\n%v", seed, run, w.trail)
				}
				if w.model.exists {
					w.delete()
				}
			}
		})
	}
}

func (w *world) note(format string, args ...any) {
	w.trail = append(w.trail, fmt.Sprintf(format, args...)+"\n")
}

func (w *world) step() {
	acts := []func(){
		w.take, w.take, w.write, w.write, w.write, w.write, w.add, w.add, w.remove, w.touch, w.release, w.crash, w.expire, w.delete, w.reset,
	}
	acts[w.rng.IntN(len(acts))]()
	w.check()
}

func (w *world) channel() string { return fmt.Sprintf("t:%d", w.rng.IntN(4)) }

func (w *world) anyNode() *node { return w.nodes[w.rng.IntN(len(w.nodes))] }

// take is a connection that comes, perhaps while another has the session: that one is
// not there to give it up.
func (w *world) take() {
	h := &holder{node: w.anyNode(), name: fmt.Sprintf("c%d", w.taken)}
	w.taken++
	w.note("%s takes on %p", h.name, h.node)
	rec, resumed, err := h.node.sessions.Take(w.t.Context(), alice, h.name)
	if err != nil || resumed != w.model.exists {
		w.t.Errorf("take: resumed %v, %v; want %v", resumed, err, w.model.exists)
		return
	}
	if h.rec = rec; !w.model.exists {
		w.model = modelSession{exists: true, places: map[string]fanout.Position{}}
	}
	w.model.owner = h
	w.holders = append(w.holders, h)
	w.compare(rec)
}

func (w *world) compare(rec *fanout.SessionRecord) {
	got := map[string]fanout.Position{}
	for _, k := range rec.Channels {
		got[k.Channel.String()] = k.Position
	}
	if !maps.Equal(got, w.model.places) {
		w.t.Errorf("the session is at %v, want %v", got, w.model.places)
	}
}

// save is any holder's, also one that has lost the session.
func (w *world) save(what string, change func(h *holder) (fanout.SessionChange, func())) {
	if len(w.holders) == 0 {
		return
	}
	h := w.holders[w.rng.IntN(len(w.holders))]
	if w.rng.IntN(3) > 0 && w.model.owner != nil {
		h = w.model.owner
	}
	c, done := change(h)
	w.note("%s %s: %+v", h.name, what, c)
	err := h.node.sessions.Save(w.t.Context(), h.rec, c)
	switch {
	case h == w.model.owner && err == nil:
		done()
	case h == w.model.owner:
		w.t.Errorf("the owner %s could not %s: %v", h.name, what, err)
	case !errors.Is(err, fanout.ErrSuperseded):
		w.t.Errorf("%s, which has lost the session, could %s: %v", h.name, what, err)
	}
}

func (w *world) write() {
	w.save("write", func(h *holder) (c fanout.SessionChange, done func()) {
		for _, k := range h.rec.Channels {
			if w.rng.IntN(2) == 0 {
				c.Moved = append(c.Moved, fanout.SessionChannel{Channel: k.Channel, Position: w.at[w.rng.IntN(len(w.at))]})
			}
		}
		return c, func() {
			for _, m := range c.Moved {
				w.model.places[m.Channel.String()] = m.Position
			}
		}
	})
}

func (w *world) add() {
	w.save("add", func(h *holder) (c fanout.SessionChange, done func()) {
		name, p := w.channel(), w.at[w.rng.IntN(len(w.at))]
		if h.rec.Find(channel(w.t, name)) != nil {
			return c, func() {}
		}
		c.Added = places(w.t, name, p)
		return c, func() { w.model.places[name] = p }
	})
}

func (w *world) remove() {
	w.save("remove", func(*holder) (c fanout.SessionChange, done func()) {
		name := w.channel()
		c.Removed = []fanout.Channel{channel(w.t, name)}
		return c, func() { delete(w.model.places, name) }
	})
}

func (w *world) touch() {
	w.save("touch", func(*holder) (c fanout.SessionChange, done func()) { return c, func() {} })
}

func (w *world) release() {
	w.save("release", func(*holder) (c fanout.SessionChange, done func()) {
		c.Release = true
		return c, func() { w.model.owner = nil }
	})
}

// crash is a node that is gone with all it held.
func (w *world) crash() {
	n := w.anyNode()
	w.note("%p crashes", n)
	w.holders = slices.DeleteFunc(w.holders, func(h *holder) bool { return h.node == n })
	if w.model.owner != nil && w.model.owner.node == n {
		w.model.owner = nil
	}
}

// expire lets the time pass.
func (w *world) expire() {
	if w.rng.IntN(3) > 0 {
		return
	}
	w.note("it expires")
	for _, n := range w.nodes {
		n.sessions.ExpireAll(w.t)
	}
	if w.model.exists {
		w.ended++
	}
	w.model = modelSession{}
}

func (w *world) delete() {
	w.note("an operator deletes it")
	err := w.anyNode().sessions.Delete(w.t.Context(), alice)
	if w.model.exists != (err == nil) || err != nil && !errors.Is(err, fanout.ErrNoSession) {
		w.t.Errorf("delete: %v, and it exists: %v", err, w.model.exists)
	}
	w.model = modelSession{}
}

func (w *world) reset() {
	name, p := w.channel(), w.at[w.rng.IntN(len(w.at))]
	w.note("an operator resets %s to %v", name, p)
	_, err := w.anyNode().sessions.Reset(w.t.Context(), alice, places(w.t, name, p))
	if w.model.exists != (err == nil) || err != nil && !errors.Is(err, fanout.ErrNoSession) {
		w.t.Errorf("reset: %v, and it exists: %v", err, w.model.exists)
	}
	if _, ok := w.model.places[name]; ok {
		w.model.places[name] = p
	}
	w.model.owner = nil
}

// check compares what is stored with the model.
func (w *world) check() {
	got, err := w.anyNode().sessions.Get(w.t.Context(), alice)
	switch {
	case err == nil && w.model.exists:
		w.compare(got)
	case w.model.exists || !errors.Is(err, fanout.ErrNoSession):
		w.t.Errorf("the session: %v, want that it exists: %v", err, w.model.exists)
	}
	if n := len(w.nodes[0].expired.told()); n != w.ended {
		w.t.Errorf("told of %d expiries, want %d", n, w.ended)
	}
}
