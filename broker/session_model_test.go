package broker_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
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
	nodes   []*node
	at      []fanout.Position
	model   modelSession
	holders []*holder
	paused  []*holder
	taken   int // how often
	ended   int // how often it expired

	mu     sync.Mutex // guards the following
	rng    *rand.Rand
	losing bool
	trail  []string
}

// TestSessionModel: whatever connections, nodes that pause, crashes, operators and time
// do, the store has exactly what the owner wrote last; of a write without an answer any
// part that lies outside the record, and all of that or nothing.
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
				w.deaf()
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

// deaf has the nodes not hear every answer while an act says so.
func (w *world) deaf() {
	for _, n := range w.nodes {
		n.losses.set(func(what string) bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			lost := w.losing && w.rng.IntN(12) == 0
			if lost {
				w.trail = append(w.trail, "  no answer to "+what+"\n")
			}
			return lost
		})
	}
}

// losingly does what may lose answers.
func (w *world) losingly(act func() error) error {
	w.lose(true)
	defer w.lose(false)
	return act()
}

func (w *world) lose(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.losing = on
}

// adopt takes over what is stored after an act whose outcome nobody knows: want says what
// it may be, beside what it was.
func (w *world) adopt(want modelSession) {
	got, err := w.anyNode().sessions.Get(w.t.Context(), alice)
	if errors.Is(err, fanout.ErrNoSession) && (!w.model.exists || !want.exists) {
		w.model = modelSession{}
		return
	}
	if err != nil || !w.model.exists && !want.exists {
		w.t.Errorf("after an act without an answer: %v", err)
		return
	}
	next := modelSession{exists: true, places: map[string]fanout.Position{}}
	for _, k := range got.Channels {
		name := k.Channel.String()
		was, before := w.model.places[name]
		to, after := want.places[name]
		if (!before || k.Position != was) && (!after || k.Position != to) {
			w.t.Errorf("%s is at %v, want %v or %v", name, k.Position, was, to)
		}
		next.places[name] = k.Position
	}
	for name := range w.model.places {
		if _, after := want.places[name]; after && got.Find(channel(w.t, name)) == nil && w.model.exists {
			w.t.Errorf("%s is gone", name)
		}
	}
	for _, o := range []*holder{w.model.owner, want.owner} {
		if o != nil && o.name == got.Client {
			next.owner = o
		}
	}
	if next.owner == nil && got.Client != "" && w.model.owner != nil && want.owner != nil {
		w.t.Errorf("the session is of %q", got.Client)
	}
	w.model = next
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trail = append(w.trail, fmt.Sprintf(format, args...)+"\n")
}

func (w *world) step() {
	acts := []func(){
		w.take, w.take, w.write, w.write, w.write, w.write, w.add, w.add, w.remove, w.touch, w.release, w.crash, w.expire, w.delete, w.reset,
	}
	acts[w.random(len(acts))]()
	w.check()
}

func (w *world) random(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(n)
}

func (w *world) channel() string { return fmt.Sprintf("t:%d", w.random(4)) }

func (w *world) anyNode() *node { return w.nodes[w.random(len(w.nodes))] }

// take is a connection that comes, perhaps while another has the session: that one is
// not there to give it up.
func (w *world) take() {
	h := &holder{node: w.anyNode(), name: fmt.Sprintf("c%d", w.taken)}
	w.taken++
	w.note("%s takes on %p", h.name, h.node)
	var rec *fanout.SessionRecord
	var resumed bool
	err := w.losingly(func() (err error) {
		rec, resumed, err = h.node.sessions.Take(w.t.Context(), alice, h.name)
		return err
	})
	if errors.Is(err, fanout.ErrUnavailable) {
		w.adopt(modelSession{exists: true, places: w.model.places})
		return
	}
	if err != nil || resumed != w.model.exists {
		w.t.Errorf("take: resumed %v, %v; want %v", resumed, err, w.model.exists)
		return
	}
	if h.rec = rec; !w.model.exists {
		w.model = modelSession{exists: true, places: map[string]fanout.Position{}}
	}
	w.model.owner = h
	w.holders = append(append(w.holders, h), w.paused...)
	w.paused = nil
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
	h := w.holders[w.random(len(w.holders))]
	if w.random(3) > 0 && w.model.owner != nil {
		h = w.model.owner
	}
	c, done := change(h)
	w.note("%s %s: %+v", h.name, what, c)
	err := w.losingly(func() error { return h.node.sessions.Save(w.t.Context(), h.rec, c) })
	switch {
	case h == w.model.owner && err == nil:
		done()
	case errors.Is(err, fanout.ErrUnavailable) && h == w.model.owner:
		was := w.model
		w.model.places = maps.Clone(was.places)
		done()
		want := w.model
		w.model = was
		if w.random(2) == 0 {
			w.again(h, c, want)
			return
		}
		w.adopt(want)
		w.pause(h)
	case errors.Is(err, fanout.ErrUnavailable): // it has lost the session, and will be told another time
	case h == w.model.owner:
		w.t.Errorf("the owner %s could not %s: %v", h.name, what, err)
	case !errors.Is(err, fanout.ErrSuperseded):
		w.t.Errorf("%s, which has lost the session, could %s: %v", h.name, what, err)
	}
}

// again makes the change anew whose answer was lost.
func (w *world) again(h *holder, c fanout.SessionChange, want modelSession) {
	w.note("%s does it again", h.name)
	err := h.node.sessions.Save(w.t.Context(), h.rec, c)
	if err != nil && (!c.Release || !errors.Is(err, fanout.ErrSuperseded)) {
		w.t.Errorf("again: %v", err)
	}
	w.model = want
}

// pause keeps a holder that does not know what it has written, until another takes the
// session: then it goes on.
func (w *world) pause(h *holder) {
	w.model.owner = nil
	w.holders = slices.DeleteFunc(w.holders, func(o *holder) bool { return o == h })
	w.paused = append(w.paused, h)
}

func (w *world) write() {
	w.save("write", func(h *holder) (c fanout.SessionChange, done func()) {
		for _, k := range h.rec.Channels {
			if w.random(2) == 0 {
				c.Moved = append(c.Moved, fanout.SessionChannel{Channel: k.Channel, Position: w.at[w.random(len(w.at))]})
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
		name, p := w.channel(), w.at[w.random(len(w.at))]
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
	gone := func(h *holder) bool { return h.node == n }
	w.holders, w.paused = slices.DeleteFunc(w.holders, gone), slices.DeleteFunc(w.paused, gone)
	if w.model.owner != nil && w.model.owner.node == n {
		w.model.owner = nil
	}
}

// expire lets the time pass.
func (w *world) expire() {
	if w.random(3) > 0 {
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
	n := w.anyNode()
	err := w.losingly(func() error { return n.sessions.Delete(w.t.Context(), alice) })
	if errors.Is(err, fanout.ErrUnavailable) {
		w.adopt(modelSession{})
		return
	}
	if w.model.exists != (err == nil) || err != nil && !errors.Is(err, fanout.ErrNoSession) {
		w.t.Errorf("delete: %v, and it exists: %v", err, w.model.exists)
	}
	w.model = modelSession{}
}

func (w *world) reset() {
	name, p := w.channel(), w.at[w.random(len(w.at))]
	w.note("an operator resets %s to %v", name, p)
	n := w.anyNode()
	err := w.losingly(func() error {
		_, err := n.sessions.Reset(w.t.Context(), alice, places(w.t, name, p))
		return err
	})
	if errors.Is(err, fanout.ErrUnavailable) {
		want := modelSession{exists: true, places: maps.Clone(w.model.places)}
		if _, ok := want.places[name]; ok {
			want.places[name] = p
		}
		w.adopt(want)
		return
	}
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
