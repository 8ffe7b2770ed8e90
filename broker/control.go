package broker

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/migrations"
)

const (
	// beatEvery is how often a node says that it is alive, deadAfter the silence after
	// which the others take it for dead. They are looked at every controlTick.
	beatEvery   = 3 * time.Second
	deadAfter   = 10 * time.Second
	controlTick = time.Second
	// frozenFor is how much later than due a look may come before the node takes it that
	// it did not run itself, and that the others' silence says nothing.
	frozenFor = 2 * time.Second
	// controlBuffer is how many announcements may wait, and how many questions to be told
	// apart by their topics; mostAsked bounds those of one topic after that.
	controlBuffer = 8192
	mostAsked     = 1024
	// byeWait bounds the last word of a node that stops.
	byeWait = time.Second
)

// What a node says on migrations.ControlNodes.
const (
	sayHello = "hello" // it has just come, or come back: the others answer with a beat
	sayBeat  = "beat"
	sayBye   = "bye"
)

// Listener is told what the other nodes say. Its methods must not wait long.
type Listener interface {
	// Announced takes what a node announced of a channel that is followed.
	Announced(node string, c fanout.Channel, news []byte)
	// Nodes tells which other nodes are alive, whenever that changes.
	Nodes(others []string)
	// Disturbed says that announcements may have been lost.
	Disturbed()
}

// Answerer answers questions of other nodes, one at a time per topic; topics do not wait
// for each other. A reply that fails ends it: also where the asker has given up
// meanwhile. Without a last piece the asker takes it that there is no answer.
type Answerer func(question []byte, reply fanout.Reply)

var (
	errControl = errors.New("broker: control bus already started")

	_ fanout.Bus = (*Control)(nil)
)

// Control is the bus between nodes, over core NATS: nothing of it is stored, and what
// is said while a connection is down is lost. With the embedded server a node is alone,
// and the bus does nothing.
type Control struct {
	// Static after Start.
	b         *Broker
	link      *link
	mux       *mux
	listener  Listener
	answerers map[string]Answerer
	queue     chan *nats.Msg // news and signs of life; never closed, ctx ends its use
	questions chan *nats.Msg
	lossy     atomic.Bool // messages of the queue were dropped

	// Owned by run.
	dials  uint64
	looked time.Time
	beaten time.Time

	mu       sync.Mutex           // guards the following
	alive    map[string]time.Time // the other nodes, and when they were last heard
	followed map[fanout.Channel]*nats.Subscription
}

// NewControl returns a bus on which nothing is heard before Start. There is one per
// broker, made after Open.
func (b *Broker) NewControl() *Control {
	return &Control{
		b: b, link: b.ctl, queue: make(chan *nats.Msg, controlBuffer), questions: make(chan *nats.Msg, controlBuffer),
		alive: map[string]time.Time{}, followed: map[fanout.Channel]*nats.Subscription{},
	}
}

// Start joins the other nodes. It is called once, before anybody else uses the bus; it
// ends with the broker, which tells the others.
func (c *Control) Start(l Listener, answerers map[string]Answerer) error {
	if c.Alone() {
		return nil
	}
	if !c.b.control.CompareAndSwap(nil, c) {
		return errControl
	}
	c.listener, c.answerers = l, answerers
	c.dials = c.link.dials.Load()
	var err error
	if c.mux, err = newMux(c.link); err != nil {
		return unavailable("start the control bus", err)
	}
	if _, err := c.link.nc.ChanSubscribe(migrations.ControlNodes, c.queue); err != nil {
		return unavailable("start the control bus", err)
	}
	if _, err := c.link.nc.ChanSubscribe(migrations.ControlAsk+"*", c.questions); err != nil {
		return unavailable("start the control bus", err)
	}
	c.say(sayHello)
	now := time.Now()
	c.looked, c.beaten = now, now
	c.b.wg.Go(func() { c.run(c.b.ctx) })
	c.startAnswers()
	return nil
}

// Alone reports whether there can be no other nodes.
func (c *Control) Alone() bool { return c.b.srv != nil }

func (c *Control) run(ctx context.Context) {
	tick := time.NewTicker(controlTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			c.say(sayBye)
			bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), byeWait)
			defer cancel()
			_ = c.link.nc.FlushWithContext(bye) // without it the others notice a little later
			return
		case <-tick.C:
			c.look(time.Now()) // not the tick's own time, which may be of before a freeze
		case m := <-c.queue:
			c.handle(m)
		}
	}
}

// look does what time brings: this node's sign of life, and the death of those who gave
// none for long.
func (c *Control) look(now time.Time) {
	dials := c.link.dials.Load()
	connected := c.link.nc.IsConnected()
	disturbed := c.lossy.Swap(false)
	if again := dials != c.dials; again || !connected || now.Sub(c.looked) > controlTick+frozenFor {
		// Nobody could be heard: silence proves nothing.
		c.forgive(now)
		disturbed = true
		if again && connected {
			c.dials = dials
			c.say(sayHello)
		}
	}
	c.looked = now
	if disturbed {
		c.listener.Disturbed()
	}
	if now.Sub(c.beaten) >= beatEvery {
		c.beaten = now
		c.say(sayBeat)
	}
	c.expire(now)
}

func (c *Control) forgive(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for node := range c.alive {
		c.alive[node] = now
	}
}

func (c *Control) expire(now time.Time) {
	c.mu.Lock()
	before := len(c.alive)
	for node, heard := range c.alive {
		if now.Sub(heard) > deadAfter {
			delete(c.alive, node)
			c.b.log.Warn("node is silent, its members count as gone", slog.String("other", node), slog.Duration("for", now.Sub(heard)))
		}
	}
	changed := len(c.alive) != before
	c.mu.Unlock()
	if changed {
		c.tellNodes()
	}
}

// heard notes a node's sign of life.
func (c *Control) heard(node string) {
	c.mu.Lock()
	_, known := c.alive[node]
	c.alive[node] = time.Now()
	c.mu.Unlock()
	if !known {
		c.b.log.Info("node heard", slog.String("other", node))
		c.tellNodes()
	}
}

func (c *Control) left(node string) {
	c.mu.Lock()
	_, known := c.alive[node]
	delete(c.alive, node)
	c.mu.Unlock()
	if known {
		c.tellNodes()
	}
}

func (c *Control) tellNodes() {
	others := c.others()
	c.b.met.nodes.Set(float64(len(others)))
	c.listener.Nodes(others)
}

// others are the other nodes that are alive, in order.
func (c *Control) others() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]string, 0, len(c.alive))
	for node := range c.alive {
		list = append(list, node)
	}
	slices.Sort(list)
	return list
}

// say tells the others about this node; what is lost is said again.
func (c *Control) say(what string) {
	_ = c.link.nc.Publish(migrations.ControlNodes, signed(c.b.cfg.Node, []byte(what)))
}

// signed puts the sender's name before what it says.
func signed(node string, what []byte) []byte {
	b := make([]byte, 0, len(node)+1+len(what))
	return append(append(append(b, node...), '\n'), what...)
}

// sender takes apart what signed put together.
func sender(data []byte) (node string, what []byte, ok bool) {
	name, what, ok := bytes.Cut(data, []byte{'\n'})
	return string(name), what, ok && len(name) > 0
}

func (c *Control) handle(m *nats.Msg) {
	node, what, ok := sender(m.Data)
	if !ok || node == c.b.cfg.Node {
		return
	}
	if m.Subject == migrations.ControlNodes {
		switch string(what) {
		case sayBye:
			c.left(node)
		case sayHello:
			c.say(sayBeat)
			c.heard(node)
		default:
			c.heard(node)
		}
		return
	}
	namespace, name, ok := migrations.ParseNews(m.Subject)
	if !ok {
		return
	}
	ch, err := fanout.ParseChannel(namespace + ":" + name)
	if err != nil {
		return
	}
	c.heard(node)
	c.listener.Announced(node, ch, what)
}

// Announce implements fanout.Bus.
func (c *Control) Announce(ch fanout.Channel, news []byte) error {
	if c.Alone() {
		return nil
	}
	subject := migrations.NewsSubject(ch.Namespace(), ch.Segments())
	if err := c.link.nc.Publish(subject, signed(c.b.cfg.Node, news)); err != nil {
		return unavailable("announce", err)
	}
	return nil
}

// Follow implements fanout.Bus.
func (c *Control) Follow(ch fanout.Channel) error {
	if c.Alone() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.followed[ch] != nil {
		return nil
	}
	sub, err := c.link.nc.ChanSubscribe(migrations.NewsSubject(ch.Namespace(), ch.Segments()), c.queue)
	if err != nil {
		return unavailable("follow "+ch.String(), err)
	}
	c.followed[ch] = sub
	return nil
}

// Unfollow implements fanout.Bus. What waits in the queue may still come.
func (c *Control) Unfollow(ch fanout.Channel) {
	c.mu.Lock()
	sub := c.followed[ch]
	delete(c.followed, ch)
	c.mu.Unlock()
	if sub != nil {
		_ = sub.Unsubscribe() // only fails where the connection is closed
	}
}

// bad takes note of an error of the link that means dropped messages.
func (c *Control) bad(err error) {
	if errors.Is(err, nats.ErrSlowConsumer) {
		c.lossy.Store(true)
	}
}
