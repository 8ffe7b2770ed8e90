package broker

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rivulet-rt/rivulet/fanout"
)

// What a consumer is told of a message.
const (
	ackBody  = "+ACK"
	nakBody  = "-NAK"
	termBody = "+TERM"
	workBody = "+WPI"
)

// membership is one connection's place in a group.
type membership struct {
	g     *group
	sink  fanout.GroupMember
	most  int
	ready atomic.Bool // there is room again

	// Guarded by the group's lock.
	inFlight map[string]*delivery // by token
	blocked  bool
	left     bool
}

var _ fanout.Membership = (*membership)(nil)

// delivery is one attempt at one message.
type delivery struct {
	msg     *fanout.Message
	reply   string // where the consumer is told of it
	attempt int
	at      time.Time // when the time for it began
	reason  string    // why it is a dead letter that could not be stored yet; else empty
}

// token is under which a member settles d.
func (d *delivery) token() string {
	b := strconv.AppendUint(make([]byte, 0, 24), d.msg.Offset(), 36)
	return string(strconv.AppendInt(append(b, '-'), int64(d.attempt), 36))
}

func (m *membership) room() int {
	if m.blocked {
		return 0
	}
	return max(0, m.most-len(m.inFlight))
}

// expire forgets what was not settled in time: the consumer gives it to somebody.
func (m *membership) expire(now time.Time, wait time.Duration) {
	for token, d := range m.inFlight {
		if now.Sub(d.at) >= wait {
			delete(m.inFlight, token)
			m.g.waits(d, 0, 0)
			m.g.b.met.groups.expired.Inc()
		}
	}
}

// offer gives d to the member with the most room, and reports whether one took it.
func (g *group) offer(d *delivery) bool {
	g.turn++
	for {
		var best *membership
		for i := range g.members {
			m := g.members[(g.turn+i)%len(g.members)]
			if m.room() > 0 && (best == nil || m.room() > best.room()) {
				best = m
			}
		}
		if best == nil {
			return false
		}
		token := d.token()
		if best.sink.Offer(fanout.GroupMessage{Message: d.msg, Group: g.key.name, Attempt: d.attempt, Token: token}) {
			best.inFlight[token] = d
			g.b.met.groups.delivered.Inc()
			return true
		}
		best.blocked = true
	}
}

// take removes and returns what waits under token.
func (m *membership) take(token string) *delivery {
	m.g.mu.Lock()
	defer m.g.mu.Unlock()
	d := m.inFlight[token]
	delete(m.inFlight, token)
	return d
}

// inTimeLocked returns what waits under token and may be worked on still. What may not
// stays until it is expired.
func (m *membership) inTimeLocked(token string, now time.Time) *delivery {
	if d := m.inFlight[token]; d != nil && now.Sub(d.at) < m.g.cfg.AckWait {
		return d
	}
	return nil
}

// takeInTime removes and returns what waits under token and may be worked on still.
func (m *membership) takeInTime(token string) *delivery {
	m.g.mu.Lock()
	defer m.g.mu.Unlock()
	d := m.inTimeLocked(token, time.Now())
	if d != nil {
		delete(m.inFlight, token)
	}
	return d
}

// over forgets a message that does not come again.
func (g *group) over(d *delivery) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.again, d.msg.Offset())
}

// Ack implements fanout.Membership. The work is done: also late, that is better known than
// not. The consumer takes it for the message, whichever attempt it is at.
func (m *membership) Ack(token string, done func(error)) {
	d := m.take(token)
	if d == nil {
		done(noToken(token))
		return
	}
	m.g.over(d)
	m.g.settle(d.reply, []byte(ackBody), done)
	m.g.poke()
}

// Nak implements fanout.Membership. A late one would take the message away from whoever
// has it by now.
func (m *membership) Nak(token string, delay time.Duration, reason string, done func(error)) {
	d := m.takeInTime(token)
	if d == nil {
		done(noToken(token))
		return
	}
	if d.attempt >= m.g.cfg.MaxDeliver {
		if reason == "" {
			reason = reasonRefused
		}
		m.g.bury(d, reason, done)
	} else {
		if delay < 0 {
			delay = m.g.cfg.wait(d.attempt)
		}
		m.g.mu.Lock()
		m.g.waits(d, delay, 0)
		m.g.mu.Unlock()
		m.g.settle(d.reply, nak(delay), done)
	}
	m.g.poke()
}

// InProgress implements fanout.Membership. A late one would speak of another attempt.
func (m *membership) InProgress(token string, done func(error)) {
	m.g.mu.Lock()
	now := time.Now()
	d := m.inTimeLocked(token, now)
	if d != nil {
		d.at = now
	}
	m.g.mu.Unlock()
	if d == nil {
		done(noToken(token))
		return
	}
	m.g.settle(d.reply, []byte(workBody), done)
}

// Ready implements fanout.Membership.
func (m *membership) Ready() {
	m.ready.Store(true)
	m.g.poke()
}

// Leave implements fanout.Membership.
func (m *membership) Leave() { m.g.b.groups.leave(m) }

func noToken(token string) error { return fmt.Errorf("%w: %.64q", fanout.ErrToken, token) }

func nak(delay time.Duration) []byte {
	if delay <= 0 {
		return []byte(nakBody)
	}
	return fmt.Appendf(nil, nakBody+` {"delay":%d}`, delay.Nanoseconds())
}

// removeLocked takes a member out and gives back what it has.
func (g *group) removeLocked(m *membership) {
	if m.left {
		return
	}
	m.left = true
	g.members = slices.DeleteFunc(slices.Clone(g.members), func(o *membership) bool { return o == m })
	for token, d := range m.inFlight {
		delete(m.inFlight, token)
		g.waits(d, 0, 0)
		g.giveBack(d, 0)
	}
}

// giveBack has the consumer hand d to somebody else, without waiting for its word:
// if that is lost, it does so when the time has passed.
func (g *group) giveBack(d *delivery, delay time.Duration) {
	g.settle(d.reply, nak(delay), func(error) {})
}

// settle tells the consumer what became of a message and calls done when it has
// taken note.
func (g *group) settle(reply string, body []byte, done func(error)) {
	c := &settling{done: done}
	// Made first: the connection may be lost, and the word with it, while it is asked for.
	c.timer = time.AfterFunc(settleTimeout, func() {
		g.mux.remove(c.id.Load())
		c.fail()
	})
	id, inbox := g.mux.add(c)
	c.id.Store(id)
	if err := g.mux.link.nc.PublishMsg(&nats.Msg{Subject: reply, Reply: inbox, Data: body}); err != nil {
		g.mux.remove(id)
		c.end(unavailable("settle", err))
	}
}

// settling awaits the consumer's word.
type settling struct {
	once  sync.Once
	timer *time.Timer
	id    atomic.Uint64
	done  func(error)
}

func (c *settling) reply(m *nats.Msg) bool {
	if status := m.Header[hdrStatus]; len(status) > 0 && status[0] == statusNoOne && len(m.Data) == 0 {
		c.end(unavailable("settle", errNoOne))
		return true
	}
	c.end(nil)
	return true
}

func (c *settling) fail() { c.end(unavailable("settle", errNoAnswer)) }

func (c *settling) end(err error) {
	c.once.Do(func() {
		c.timer.Stop()
		c.done(err)
	})
}
