//go:build linux

package bench

import (
	"errors"
	"fmt"
	"time"

	"github.com/rivulet-rt/rivulet/cmd/bench/raw"
)

const (
	// ahead is how many messages of a channel may be on their way to its subscribers
	// where the rate is "as fast as possible": the fastest that is kept up with, not
	// a queue that grows.
	ahead = 64
	// reviveAfter is how long a lane waits after an error.
	reviveAfter = 100 * time.Millisecond
	// keptRequests is about how many requests a lane holds in memory.
	keptRequests = 512
)

// topic is a channel that is published on, by one lane so that its order is known.
type topic struct {
	channel  int
	lane     *lane
	reqs     []*raw.Request
	n        uint64          // of the last message that is stored
	position string          // of the first message, with Replay
	pilot    *raw.Subscriber // one of its subscribers here, nil if none is
	dead     bool            // it is not known whether a message was stored
}

// lane is one HTTP connection.
type lane struct {
	w       *worker
	number  int // among those of all workers
	peer    raw.Peer
	pub     *raw.Publisher
	topics  []*topic
	turn    int
	more    func() (due time.Time, ok bool) // the next message to send; nil is none
	limit   uint64                          // messages for each channel, 0 is any number
	owed    int                             // messages that are due
	taken   int                             // messages that were due and sent
	retry   *topic                          // refused, to be sent again
	due     time.Time                       // of what is under way
	blocked bool                            // by ahead
	resting time.Time                       // after an error, until then
	over    bool                            // the load has ended, and was counted
}

// makeLanes connects the lanes of this worker and gives them their channels.
func (w *worker) makeLanes() error {
	data, err := w.spec.Options.data()
	if err != nil {
		return err
	}
	for g := w.spec.Index; g < w.spec.lanes(); g += w.spec.Options.Processes {
		if err := w.addLane(g, data); err != nil {
			return err
		}
	}
	for i, s := range w.clients.list { // some are subscribed already
		if t := w.topics[w.clients.channel(i)]; t != nil && w.clients.state[i] == subscribed {
			t.pilot = s
		}
	}
	return nil
}

func (w *worker) addLane(g int, data [][]byte) error {
	o := w.spec.Options
	n := w.spec.Nodes[g%len(w.spec.Nodes)]
	token, err := o.token(fmt.Sprintf("bench-%s-publisher-%d", w.spec.Run, g))
	if err != nil {
		return err
	}
	l := &lane{w: w, number: g, peer: raw.Peer{To: n.Address, Host: n.Host, Token: token}}
	for i := g; i < o.Channels; i += o.Publishers {
		l.topics = append(l.topics, &topic{channel: i, lane: l})
	}
	kept := min(max(1, keptRequests/len(l.topics)), len(data))
	for _, t := range l.topics {
		for k := range kept {
			t.reqs = append(t.reqs, raw.NewPeerRequest(l.peer, w.spec.channel(t.channel), data[(t.channel+k)%len(data)]))
		}
		w.topics[t.channel] = t
	}
	w.lanes = append(w.lanes, l)
	return l.dial()
}

func (l *lane) dial() error {
	pub, err := raw.NewPeerPublisher(l.w.loop, l.peer)
	if err != nil {
		return err
	}
	pub.Keep = l.w.spec.Options.Scenario == Replay
	l.pub = pub
	return nil
}

// busy reports whether a message is under way or must be sent again.
func (l *lane) busy() bool { return l.pub.Busy() || l.retry != nil }

// next sends what is due, if the lane is free.
func (l *lane) next() {
	l.blocked = false
	if l.busy() || l.more == nil || !l.resting.IsZero() || l.w.stop {
		return
	}
	if l.pub.Ended() { // while nothing was under way, so that nobody was told
		l.resting = time.Now()
		return
	}
	t := l.pick()
	if t == nil {
		return
	}
	due, ok := l.more()
	if !ok {
		return
	}
	l.due = due
	l.turn++
	l.send(t)
}

// pick returns the topic whose turn it is, nil if all must wait.
func (l *lane) pick() *topic {
	for range l.topics {
		t := l.topics[l.turn%len(l.topics)]
		full := l.w.spec.Options.Rate == 0 && t.pilot != nil && t.n >= t.pilot.N+ahead
		if !t.dead && !full && (l.limit == 0 || t.n < l.limit) {
			return t
		}
		l.blocked = l.blocked || full
		l.turn++
	}
	return nil
}

func (l *lane) send(t *topic) {
	req := t.reqs[t.n%uint64(len(t.reqs))]
	req.Stamp(t.n+1, l.due.UnixNano())
	l.pub.Publish(req, func(err error) { l.answered(t, err) })
}

func (l *lane) answered(t *topic, err error) {
	m := &l.w.measured
	if l.over {
		return
	}
	if err != nil {
		l.w.fault("publish", err)
		m.Publishes++
		l.resting = time.Now().Add(reviveAfter)
		if errors.Is(err, raw.ErrRefused) {
			l.retry = t
		} else {
			t.dead = true // a second message of this number would look like the node's fault
		}
		return
	}
	now := time.Now()
	t.n++
	if t.n == 1 {
		t.position = l.pub.Position
	}
	m.Stored++
	m.PublishLatency.record(now.Sub(l.due))
	m.Publishing.To = now.UnixNano()
	l.next()
}

// revive goes on after an error.
func (l *lane) revive() {
	if l.over || l.resting.IsZero() || time.Now().Before(l.resting) {
		return
	}
	l.resting = time.Time{}
	if l.pub.Ended() {
		if err := l.dial(); err != nil {
			l.resting = time.Now().Add(reviveAfter)
			return
		}
	}
	if t := l.retry; t != nil {
		l.retry = nil
		if !l.w.stop {
			l.send(t)
		}
		return
	}
	l.next()
}
