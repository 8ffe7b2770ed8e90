package webhook

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	// nodeSilent is after what silence of a node its subscribers count as gone.
	nodeSilent = 15 * time.Second
	// decideEvery is how often the holder looks whether anything is due.
	decideEvery = 100 * time.Millisecond
	// decideAtOnce is how many facts are recorded before their events are written. So many
	// events at most may be missing when a holder dies, and the next one writes them.
	decideAtOnce = 256
	// unsureFor is for how long it is unsure whether the event of a fact was written where
	// the ledger, of an earlier version, does not tell.
	unsureFor = 24 * time.Hour
)

// decider decides for one partition who came and who went, while this node holds it.
//
// A fact is recorded before its event is written, and the event's ID is made of the
// record's number. So the next holder finds out what was decided, and writes the events
// of the last records that the ledger does not have as told: those that were written all
// the same are refused, as their IDs are.
type decider struct {
	e     *Engine
	task  int
	start time.Time
	wake  chan struct{} // size 1

	mu    sync.Mutex // guards the following
	facts map[place]*standing
	nodes map[string]*peer
	open  map[place]struct{} // told and present differ
}

// standing is how it stands with a place.
type standing struct {
	told  bool // as the webhooks were told
	nodes map[string]struct{}
	who   json.RawMessage
	since time.Time // of the last change of present
	// recalled says that a holder before has told of it, and no node has reported it since.
	recalled bool
}

func (s *standing) present() bool { return len(s.nodes) > 0 }

// peer is a node that has reported.
type peer struct {
	heard time.Time
	// seen has what was on in a report of everything that has not ended; nil outside one.
	seen map[place]struct{}
	// known says that everything was reported.
	known bool
	on    map[place]struct{}
}

// decide runs until ctx ends.
func (c *crowd) decide(ctx context.Context, task int) {
	d := &decider{
		e: c.e, task: task, start: time.Now(), wake: make(chan struct{}, 1),
		facts: map[place]*standing{}, nodes: map[string]*peer{}, open: map[place]struct{}{},
	}
	for failures := 1; ; failures++ {
		err := d.recall(ctx)
		if err == nil {
			break
		}
		c.e.log.Warn("what webhooks were told of subscribers cannot be read, will try again", slog.Any("err", err))
		if pause(ctx, backoff(failures, reopenLeast, reopenMost)) != nil {
			return
		}
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for ctx.Err() == nil {
			if err := c.e.svc.Relay.Serve(ctx, task, d.take); err != nil {
				c.e.log.Warn("reports of who is subscribed cannot be taken, will try again", slog.Any("err", err))
				_ = pause(ctx, reopenLeast)
			}
		}
	})
	d.run(ctx)
}

// recall learns what the holder before has decided, and finishes what it may have begun.
func (d *decider) recall(ctx context.Context) error {
	facts, told, err := d.e.svc.Ledger.Recall(ctx, d.task)
	if err != nil {
		return err
	}
	last := facts[max(0, len(facts)-decideAtOnce):]
	old := time.Now().Add(-unsureFor).UnixMilli()
	var unsure []*Fact
	for i := range last {
		if f := &last[i]; f.Revision > told && (told > 0 || f.Time >= old) {
			unsure = append(unsure, f)
		}
	}
	if err := d.tell(ctx, unsure); err != nil {
		return err
	}
	d.told(ctx, unsure)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range facts {
		if f.Present {
			at := place{f.Channel, f.Member}
			d.facts[at] = &standing{told: true, nodes: map[string]struct{}{}, who: f.Who, since: d.start, recalled: true}
			d.open[at] = struct{}{}
		}
	}
	return nil
}

// take takes a report in.
func (d *decider) take(body []byte) []byte {
	var r report
	if err := json.Unmarshal(body, &r); err != nil || r.Node == "" {
		return []byte(answerTaken) // of no use, also the second time
	}
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.nodes[r.Node]
	if p == nil {
		p = &peer{on: map[place]struct{}{}}
		d.nodes[r.Node] = p
	}
	p.heard = now
	if r.First {
		p.seen = map[place]struct{}{}
	}
	for _, raw := range r.Changes {
		var ch change
		if json.Unmarshal(raw, &ch) != nil {
			continue // of no use either
		}
		at := place{ch.Channel, ch.Member}
		d.setLocked(r.Node, p, at, ch.Who, ch.On, now)
		if p.seen != nil && ch.On {
			p.seen[at] = struct{}{}
		}
	}
	if r.Last && p.seen != nil {
		for at := range p.on {
			if _, still := p.seen[at]; !still {
				d.setLocked(r.Node, p, at, nil, false, now)
			}
		}
		p.seen, p.known = nil, true
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
	if !p.known && p.seen == nil {
		return []byte(answerAll)
	}
	return []byte(answerTaken)
}

// setLocked notes that a node has somebody in a place, or no longer.
func (d *decider) setLocked(node string, p *peer, at place, who *Member, on bool, now time.Time) {
	s := d.facts[at]
	if s == nil {
		if !on {
			return
		}
		s = &standing{nodes: map[string]struct{}{}}
		d.facts[at] = s
	}
	before := s.present()
	if on {
		s.nodes[node], p.on[at] = struct{}{}, struct{}{}
		s.recalled = false
		if who != nil && !s.told {
			s.who, _ = encode(who) // plain values, and an info that was JSON
		}
	} else {
		delete(s.nodes, node)
		delete(p.on, at)
	}
	if before != s.present() {
		s.since = now
	}
	d.sortLocked(at, s)
}

// run decides what is due, until ctx ends.
func (d *decider) run(ctx context.Context) {
	tick := time.NewTicker(decideEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-d.wake:
		}
		d.expire(time.Now())
		for ctx.Err() == nil {
			list := d.due(time.Now())
			if len(list) == 0 {
				break
			}
			d.settle(ctx, list)
		}
	}
}

// expire forgets nodes that are silent.
func (d *decider) expire(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for node, p := range d.nodes {
		if now.Sub(p.heard) < nodeSilent {
			continue
		}
		for at := range p.on {
			d.setLocked(node, p, at, nil, false, now)
		}
		delete(d.nodes, node)
	}
}

// decision is a fact that is due, with its place.
type decision struct {
	at   place
	when time.Time
	fact *Fact
}

// due are the facts that are due, in the order in which they became so.
func (d *decider) due(now time.Time) []decision {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []decision
	for at := range d.open {
		s := d.facts[at]
		when := s.since
		if !s.present() {
			when = s.since.Add(d.e.cfg.VacatedAfter)
			if grace := d.start.Add(d.e.cfg.Grace); when.Before(grace) && (s.recalled || !d.e.cfg.Alone) {
				when = grace
			}
		}
		if when.After(now) {
			continue
		}
		f := &Fact{Channel: at.channel, Member: at.member, Present: s.present(), Time: s.since.UnixMilli(), Who: s.who}
		list = append(list, decision{at: at, when: when, fact: f})
	}
	slices.SortFunc(list, func(a, b decision) int {
		return cmp.Or(a.when.Compare(b.when), cmp.Compare(a.fact.rank(), b.fact.rank()), cmp.Compare(a.at.channel, b.at.channel), cmp.Compare(a.at.member, b.at.member))
	})
	return list[:min(len(list), decideAtOnce)]
}

// rank orders what happens at the same time: a channel is occupied before anybody joins,
// and vacated after everybody left.
func (f *Fact) rank() int {
	switch {
	case f.Present && f.Member == "":
		return 0
	case f.Present:
		return 1
	case f.Member != "":
		return 2
	}
	return 3
}

// settle records decisions and writes their events. It returns when that is done, or ctx
// has ended.
func (d *decider) settle(ctx context.Context, list []decision) {
	facts := make([]*Fact, len(list))
	for i := range list {
		facts[i] = list[i].fact
	}
	if !d.until(ctx, "record who is subscribed", func() error { return d.e.svc.Ledger.Record(ctx, d.task, facts) }) {
		return
	}
	if !d.until(ctx, "write events", func() error { return d.tell(ctx, facts) }) {
		return
	}
	d.told(ctx, facts)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, one := range list {
		s := d.facts[one.at]
		if s == nil { // came and went meanwhile: it is told that it came, so also that it went
			s = &standing{nodes: map[string]struct{}{}, who: one.fact.Who, since: time.Now()}
			d.facts[one.at] = s
		}
		s.told = one.fact.Present
		d.sortLocked(one.at, s)
	}
}

// sortLocked keeps a place where something is to be told, or may be.
func (d *decider) sortLocked(at place, s *standing) {
	switch {
	case s.told != s.present():
		d.open[at] = struct{}{}
	case !s.told:
		delete(d.facts, at)
		delete(d.open, at)
	default:
		delete(d.open, at)
	}
}

// until tries until f succeeds; false says that ctx ended first.
func (d *decider) until(ctx context.Context, doing string, f func() error) bool {
	for failures := 1; ctx.Err() == nil; failures++ {
		err := f()
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			break
		}
		d.e.log.Warn("webhooks cannot tell who is subscribed, will try again", slog.String("doing", doing), slog.Any("err", err))
		_ = pause(ctx, backoff(failures, reopenLeast, reopenMost))
	}
	return false
}

// tell writes the events of facts that were recorded. An event whose partition's holder
// has told of it before is not stored again.
func (d *decider) tell(ctx context.Context, facts []*Fact) error {
	byChannel := map[string][]*Event{}
	var order []string
	for _, f := range facts {
		if byChannel[f.Channel] == nil {
			order = append(order, f.Channel)
		}
		byChannel[f.Channel] = append(byChannel[f.Channel], f.event())
	}
	for _, channel := range order {
		if err := d.e.write(ctx, channel, byChannel[channel]...); err != nil {
			return err
		}
	}
	return nil
}

// told has the ledger remember that the events of the facts are written. Where that fails
// the next holder writes them again, which harms only where the log has lost them since.
func (d *decider) told(ctx context.Context, facts []*Fact) {
	last := uint64(0)
	for _, f := range facts {
		last = max(last, f.Revision)
	}
	if last == 0 {
		return
	}
	if err := d.e.svc.Ledger.Told(ctx, d.task, last); err != nil {
		d.e.log.Debug("it is not remembered what was told of subscribers", slog.Int("partition", d.task), slog.Any("err", err))
	}
}

func (f *Fact) event() *Event {
	e := &Event{Type: ChannelVacated, Channel: f.Channel, Time: f.Time}
	switch f.rank() {
	case 0:
		e.Type = ChannelOccupied
	case 1:
		e.Type = MemberJoined
	case 2:
		e.Type = MemberLeft
	}
	if f.Member != "" {
		e.Member = &Member{}
		if json.Unmarshal(f.Who, e.Member) != nil {
			e.Member = memberOf(f.Member) // the ledger has no more of who is gone
		}
	}
	e.ID = eventID(e.Type, f.Channel, f.Member, strconv.FormatUint(f.Revision, 10))
	return e
}
