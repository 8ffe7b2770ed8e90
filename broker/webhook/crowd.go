package webhook

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

const (
	// reportEvery is how often a node reports where nothing changes, so that the holder
	// knows that it lives; reportGather is how long changes gather.
	reportEvery  = 3 * time.Second
	reportGather = 25 * time.Millisecond
	reportWait   = 5 * time.Second
	reportRetry  = 500 * time.Millisecond
	// mostReported bounds the changes of one report, reportBytes their size unless it is
	// one alone, and mostInfo the info of a member in it: a report stays far below what a
	// NATS message may have.
	mostReported = 512
	reportBytes  = 256 << 10
	mostInfo     = 1024
)

// place is a channel or, with a member, that one's place in it.
type place struct{ channel, member string }

// change is one place as a report has it.
type change struct {
	Channel string  `json:"c"`
	Member  string  `json:"m,omitempty"`
	Who     *Member `json:"w,omitempty"`
	On      bool    `json:"on,omitempty"`
}

// report says what has changed on a node. One that begins with First and ends with Last
// has all that is on.
type report struct {
	Node    string            `json:"node"`
	First   bool              `json:"first,omitempty"`
	Last    bool              `json:"last,omitempty"`
	Changes []json.RawMessage `json:"changes,omitempty"` // each a change
}

// What a holder answers to a report.
const (
	answerTaken = "taken"
	answerAll   = "all" // and it wants to know of all that is on
)

// crowd holds who is subscribed on this node, as far as a webhook asks, and reports it.
// The methods Occupied, Vacated, Joined and Left do not block.
type crowd struct {
	e     *Engine
	node  string
	parts [Partitions]crowdPart

	full bool // owned by measure
}

// crowdPart is one partition of it. send alone reports.
type crowdPart struct {
	wake chan struct{} // size 1

	mu    sync.Mutex // guards the following
	on    map[place]*presence
	dirty map[place]struct{}
}

// presence is how many connections of this node are in a place.
type presence struct {
	count int
	who   *Member
}

func newCrowd(e *Engine) *crowd {
	c := &crowd{e: e, node: e.cfg.Node}
	for i := range c.parts {
		c.parts[i].wake = make(chan struct{}, 1)
		c.parts[i].on, c.parts[i].dirty = map[place]*presence{}, map[place]struct{}{}
	}
	return c
}

// From ledgerFull on it is said that the ledger is full, once, until it was below
// ledgerCalm again.
const (
	ledgerFull = 0.8
	ledgerCalm = 0.7
)

// measure looks how full the ledger is. One goroutine does.
func (c *crowd) measure(ctx context.Context) {
	used, err := c.e.svc.Ledger.Used(ctx)
	if err != nil {
		c.e.log.Debug("the ledger of subscribers cannot be measured", slog.Any("err", err))
		return
	}
	c.e.met.ledger.Set(used)
	switch {
	case used >= ledgerFull && !c.full:
		c.full = true
		c.e.log.Warn("the ledger of who is subscribed is almost full: when it is, those who came first are forgotten, and told of twice; "+
			"raise events.max_bytes, of which it has a quarter", slog.Float64("used", used))
	case used < ledgerCalm:
		c.full = false
	}
}

func (c *crowd) start() {
	for task := range c.parts {
		c.e.wg.Go(func() { c.send(c.e.ctx, task) })
	}
}

// Occupied says that the channel has its first subscriber on this node.
func (e *Engine) Occupied(c fanout.Channel) { e.changed(c, nil, 1, ChannelOccupied, ChannelVacated) }

// Vacated says that the channel has no longer any.
func (e *Engine) Vacated(c fanout.Channel) { e.changed(c, nil, -1, ChannelOccupied, ChannelVacated) }

// Joined says that a connection of this node is a subscriber of the channel. A member
// with a user is that user, however many connections they have.
func (e *Engine) Joined(c fanout.Channel, m Member) { e.changed(c, &m, 1, MemberJoined, MemberLeft) }

// Left says that it is no longer.
func (e *Engine) Left(c fanout.Channel, m Member) { e.changed(c, &m, -1, MemberJoined, MemberLeft) }

func (e *Engine) changed(c fanout.Channel, m *Member, by int, types ...Type) {
	if e.crowd == nil || !e.wantsAny(c, types) {
		return
	}
	p := place{channel: c.String()}
	if m != nil {
		p.member = keyClient + m.Client
		if m.User != "" {
			p.member, m.Client = keyUser+m.User, ""
		}
		if len(m.Info) > mostInfo {
			m.Info = nil
		}
	}
	e.crowd.parts[taskOf(p.channel)].change(p, m, by)
}

// What the key of a member begins with.
const (
	keyUser   = "u"
	keyClient = "c"
)

// memberOf is what the key of a member says of them.
func memberOf(key string) *Member {
	if user, ok := strings.CutPrefix(key, keyUser); ok {
		return &Member{User: user}
	}
	return &Member{Client: strings.TrimPrefix(key, keyClient)}
}

func (e *Engine) wantsAny(c fanout.Channel, types []Type) bool {
	for _, t := range types {
		if e.wanted(t, c) {
			return true
		}
	}
	return false
}

func (p *crowdPart) change(at place, who *Member, by int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	here := p.on[at]
	if here == nil {
		if by < 0 {
			return
		}
		here = &presence{who: who}
		p.on[at] = here
	}
	if here.count += by; here.count <= 0 {
		delete(p.on, at)
	}
	if here.count <= 0 || here.count == 1 && by > 0 {
		p.dirty[at] = struct{}{}
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// send reports what changes in one partition.
func (c *crowd) send(ctx context.Context, task int) {
	part := &c.parts[task]
	beat := time.NewTicker(reportEvery)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
		case <-part.wake:
			_ = pause(ctx, reportGather)
		}
		for all := false; ctx.Err() == nil; {
			again, err := c.report(ctx, task, all)
			if err == nil && !again {
				break
			}
			if err != nil {
				c.e.log.Debug("nobody took a report of who is subscribed, it is sent again", slog.Int("partition", task), slog.Any("err", err))
				_ = pause(ctx, reportRetry)
			}
			all = err != nil && all || again
		}
	}
}

// report sends what has changed, or all, in as many reports as it takes. all reports
// that the holder wants everything.
func (c *crowd) report(ctx context.Context, task int, everything bool) (all bool, err error) {
	part := &c.parts[task]
	changes := part.take(everything)
	for from := 0; ; {
		r := report{Node: c.node, First: everything && from == 0}
		answer := ""
		if r.Changes, err = fill(changes[from:]); err == nil {
			r.Last = everything && from+len(r.Changes) == len(changes)
			answer, err = c.ask(ctx, task, &r)
		}
		if err != nil {
			part.putBack(changes[from:])
			return false, err
		}
		if from += len(r.Changes); answer == answerAll || from == len(changes) {
			return answer == answerAll, nil
		}
	}
}

// fill encodes as many changes as fit into a report, and at least one.
func fill(changes []change) (list []json.RawMessage, err error) {
	size := 0
	for i := range min(len(changes), mostReported) {
		b, err := encode(&changes[i])
		if err != nil {
			return nil, err
		}
		if size += len(b) + 1; size > reportBytes && i > 0 {
			break
		}
		list = append(list, b)
	}
	return list, nil
}

func (c *crowd) ask(ctx context.Context, task int, r *report) (string, error) {
	body, err := encode(r)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, reportWait)
	defer cancel()
	answer, err := c.e.svc.Relay.Report(ctx, task, body)
	return string(answer), err
}

// take returns what is to be reported.
func (p *crowdPart) take(everything bool) []change {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []change
	if everything {
		for at, here := range p.on {
			list = append(list, change{Channel: at.channel, Member: at.member, Who: here.who, On: true})
		}
	} else {
		for at := range p.dirty {
			here := p.on[at]
			ch := change{Channel: at.channel, Member: at.member, On: here != nil}
			if here != nil {
				ch.Who = here.who
			}
			list = append(list, ch)
		}
	}
	clear(p.dirty)
	return list
}

// putBack has changes reported again, as they then are.
func (p *crowdPart) putBack(changes []change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ch := range changes {
		p.dirty[place{ch.Channel, ch.Member}] = struct{}{}
	}
}
