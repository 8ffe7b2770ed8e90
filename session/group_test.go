package session_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/internal/hubtest"
)

// lines is a codec of one JSON event a line.
type lines struct{}

func (lines) Event(ev *protocol.Event) []byte {
	return append(protocol.JSON{}.AppendEvent(nil, ev), '\n')
}

func (c lines) Message(m *fanout.Message) []byte {
	ev := session.MessageEvent(m)
	return c.Event(&protocol.Event{Message: &ev})
}
func (lines) Ping(bool) []byte                   { return nil }
func (lines) Close(protocol.Code, string) []byte { return nil }

// seat is a membership that a test plays.
type seat struct {
	fanout.GroupMember
	req     fanout.GroupRequest
	leaving func() // called before it leaves; nil is nothing

	mu      sync.Mutex
	waiting map[string]bool // tokens
	said    []string
	ready   int
	left    bool
}

func (st *seat) settle(token, what string, done func(error)) {
	st.mu.Lock()
	known := st.waiting[token]
	if known {
		st.said = append(st.said, what+" "+token)
		if what != "in_progress" {
			delete(st.waiting, token)
		}
	}
	st.mu.Unlock()
	if !known {
		done(fmt.Errorf("%w: %q", fanout.ErrToken, token))
		return
	}
	done(nil)
}

func (st *seat) Ack(token string, done func(error)) { st.settle(token, "ack", done) }

func (st *seat) Nak(token string, delay time.Duration, reason string, done func(error)) {
	st.settle(token, fmt.Sprintf("nak %v %q", delay, reason), done)
}

func (st *seat) InProgress(token string, done func(error)) { st.settle(token, "in_progress", done) }

func (st *seat) Ready() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.ready++
}

func (st *seat) Leave() {
	if st.leaving != nil {
		st.leaving()
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.left = true
}

func (st *seat) state() (ready int, left bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.ready, st.left
}

// offer offers a message, as a group does.
func (st *seat) offer(offset int, data string) bool {
	token := fmt.Sprint("t", offset)
	m := &fanout.Message{Channel: st.req.Channel, Data: []byte(data)}
	if !st.Offer(fanout.GroupMessage{Message: m, Group: st.req.Group, Attempt: 2, Token: token}) {
		return false
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.waiting[token] = true
	return true
}

// office has groups to join.
type office struct {
	mu    sync.Mutex
	seats map[string]*seat // by channel
	hold  chan struct{}    // joins wait until it is closed; nil is none
	// leaving is called before a member of jobs:b leaves, and tokens are those for one
	// subscription; nil is none.
	leaving func()
	tokens  session.SubscriptionAuthenticator
}

func (o *office) JoinGroup(ctx context.Context, req fanout.GroupRequest) (fanout.Membership, fanout.Joined, error) {
	if o.hold != nil {
		select {
		case <-o.hold:
		case <-ctx.Done():
			return nil, fanout.Joined{}, ctx.Err()
		}
	}
	st := &seat{GroupMember: req.Member, req: req, waiting: map[string]bool{}}
	o.mu.Lock()
	defer o.mu.Unlock()
	if req.Channel.String() == "jobs:b" {
		st.leaving = o.leaving
	}
	o.seats[req.Channel.String()] = st
	return st, fanout.Joined{Known: true, Recovered: true, AckWait: 1500 * time.Millisecond}, nil
}

func (o *office) seat(t *testing.T, channel string) *seat {
	t.Helper()
	var st *seat
	hubtest.Eventually(t, "a member of a group of "+channel, func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		st = o.seats[channel]
		return st != nil
	})
	return st
}

// person is a session without a socket.
type person struct {
	*session.Session
	t    *testing.T
	wire *memoryWire
	ids  uint64
}

// worker begins one that may do all that known["all"] allows, on a gated wire if gated.
func worker(t *testing.T, o *office, gated bool) *person {
	t.Helper()
	all := hubtest.May(t, "ann", map[string][]auth.Action{"jobs:>": {auth.Subscribe}})
	cfg := session.DefaultConfig()
	cfg.MaxPublishes = 2 // so many words on messages may be on their way, too
	r := registry(t, cfg, session.Services{Groups: o, Auth: hubtest.Tokens{Known: map[string]auth.Claims{
		"narrow": hubtest.May(t, "ann", map[string][]auth.Action{"jobs:a": {auth.Subscribe}}),
	}}, Subscriptions: o.tokens})
	p := &person{Session: new(session.Session), t: t, wire: newWire(gated)}
	p.Init(r, lines{}, session.Handshake{Given: true, Claims: all}, p)
	p.Outbound().Start(p.wire, nil)
	t.Cleanup(func() {
		p.Abort()
		p.End()
	})
	return p
}

// Finished implements session.Owner.
func (p *person) Finished() {}

// do has the session do a command and returns its ID.
func (p *person) do(cmd protocol.Command) uint64 {
	p.ids++
	cmd.ID = p.ids
	p.Handle(p.t.Context(), &cmd)
	return cmd.ID
}

// events are all that was sent.
func (p *person) events() (list []protocol.Event) {
	for line := range bytes.Lines(p.wire.all()) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // the rest is on its way
		}
		e, err := protocol.JSON{}.DecodeEvent(bytes.TrimSpace(line))
		if err != nil {
			p.t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

// find waits for an event.
func (p *person) find(what string, is func(e *protocol.Event) bool) (found protocol.Event) {
	p.t.Helper()
	hubtest.Eventually(p.t, what, func() bool {
		for _, e := range p.events() {
			if is(&e) {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

func (p *person) reply(id uint64) protocol.Event {
	p.t.Helper()
	return p.find(fmt.Sprint("the reply to ", id), func(e *protocol.Event) bool { return e.ID == id })
}

func (p *person) join(channel string) {
	p.t.Helper()
	if e := p.reply(p.do(protocol.Command{Subscribe: &protocol.SubscribeCommand{Channel: channel, Group: "g", MaxInFlight: 7}})); e.Subscribed == nil {
		p.t.Fatalf("%+v", e.Error)
	}
}

func (p *person) refused(id uint64, code protocol.Code, field string) {
	p.t.Helper()
	if e := p.reply(id).Error; e == nil || e.Code != code || e.Field != field {
		p.t.Errorf("command %d: %+v, want %d of %q", id, e, code, field)
	}
}

func newOffice() *office { return &office{seats: map[string]*seat{}} }

// What joins, and what a member says of its messages, goes through as it is meant.
func TestGroupSettles(t *testing.T) {
	o := newOffice()
	p := worker(t, o, false)
	id := p.do(protocol.Command{Subscribe: &protocol.SubscribeCommand{Channel: "jobs:a", Group: "g", MaxInFlight: 7}})
	if s := p.reply(id).Subscribed; s == nil || s.Group != "g" || !s.Resumed || !s.Recovered || s.AckWaitMS != 1500 {
		t.Fatalf("%+v", s)
	}
	st := o.seat(t, "jobs:a")
	if st.req.MaxInFlight != 7 || st.req.Group != "g" {
		t.Errorf("%+v", st.req)
	}
	hubtest.Eventually(t, "ready", func() bool { ready, _ := st.state(); return ready == 1 })
	for offset := range 3 {
		if !st.offer(offset, "1") {
			t.Fatal("refused")
		}
	}
	m := p.find("a message", func(e *protocol.Event) bool { return e.Message != nil && e.Message.AckToken == "t2" }).Message
	if m.Group != "g" || m.Attempt != 2 || m.Channel != "jobs:a" {
		t.Errorf("%+v", m)
	}
	for _, cmd := range []protocol.Command{
		{Ack: &protocol.AckCommand{Channel: "jobs:a", Token: "t0"}},
		{Nak: &protocol.NakCommand{Channel: "jobs:a", Token: "t1", Delay: 20, Reason: "no"}},
		{InProgress: &protocol.InProgressCommand{Channel: "jobs:a", Token: "t2"}},
		{Nak: &protocol.NakCommand{Channel: "jobs:a", Token: "t2"}},
	} {
		if e := p.reply(p.do(cmd)); e.Acked == nil || e.Acked.Channel != "jobs:a" || e.Acked.Token == "" {
			t.Errorf("%+v: %+v", cmd, e)
		}
	}
	want := []string{"ack t0", `nak 20ms "no" t1`, "in_progress t2", `nak -1ns "" t2`}
	if fmt.Sprint(st.said) != fmt.Sprint(want) {
		t.Errorf("said %q, want %q", st.said, want)
	}
}

func TestGroupRefuses(t *testing.T) {
	o := newOffice()
	p := worker(t, o, false)
	p.join("jobs:a")
	for name, tc := range map[string]struct {
		cmd   protocol.Command
		code  protocol.Code
		field string
	}{
		"ack of an unknown token":          {protocol.Command{Ack: &protocol.AckCommand{Channel: "jobs:a", Token: "x"}}, protocol.ErrorNotFound, "token"},
		"nak of one":                       {protocol.Command{Nak: &protocol.NakCommand{Channel: "jobs:a", Token: "x"}}, protocol.ErrorNotFound, "token"},
		"in progress":                      {protocol.Command{InProgress: &protocol.InProgressCommand{Channel: "jobs:a", Token: "x"}}, protocol.ErrorNotFound, "token"},
		"no token":                         {protocol.Command{Nak: &protocol.NakCommand{Channel: "jobs:a"}}, protocol.ErrorBadRequest, "token"},
		"a group of another channel":       {protocol.Command{Nak: &protocol.NakCommand{Channel: "jobs:b", Token: "x"}}, protocol.ErrorNotFound, "channel"},
		"a delay below 0":                  {protocol.Command{Nak: &protocol.NakCommand{Channel: "jobs:a", Token: "x", Delay: -1}}, protocol.ErrorBadRequest, "delay"},
		"a delay of more than a day":       {protocol.Command{Nak: &protocol.NakCommand{Channel: "jobs:a", Token: "x", Delay: 86_400_001}}, protocol.ErrorBadRequest, "delay"},
		"a reason with a line":             {protocol.Command{Nak: &protocol.NakCommand{Channel: "jobs:a", Token: "x", Reason: "a\nb"}}, protocol.ErrorBadRequest, "reason"},
		"token and offset":                 {protocol.Command{Ack: &protocol.AckCommand{Channel: "jobs:a", Token: "x", Offset: 1}}, protocol.ErrorBadRequest, "token"},
		"another group of the channel":     {protocol.Command{Subscribe: &protocol.SubscribeCommand{Channel: "jobs:a", Group: "h"}}, protocol.ErrorConflict, "channel"},
		"a group of a pattern":             {protocol.Command{Subscribe: &protocol.SubscribeCommand{Channel: "jobs:*", Group: "g"}}, protocol.ErrorBadRequest, "group"},
		"a channel that is not allowed":    {protocol.Command{Subscribe: &protocol.SubscribeCommand{Channel: "chat:a", Group: "g"}}, protocol.ErrorForbidden, "channel"},
		"more in flight than there may be": {protocol.Command{Subscribe: &protocol.SubscribeCommand{Channel: "jobs:c", Group: "g", MaxInFlight: 1001}}, protocol.ErrorBadRequest, "max_in_flight"},
	} {
		t.Run(name, func(t *testing.T) {
			p.t = t
			p.refused(p.do(tc.cmd), tc.code, tc.field)
		})
	}
}

// Two groups on one connection have nothing to do with each other.
func TestGroupsOfOneConnection(t *testing.T) {
	o := newOffice()
	p := worker(t, o, false)
	p.join("jobs:a")
	p.join("jobs:b")
	a, b := o.seat(t, "jobs:a"), o.seat(t, "jobs:b")
	if !a.offer(1, "1") || !b.offer(2, "2") {
		t.Fatal("refused")
	}
	p.refused(p.do(protocol.Command{Ack: &protocol.AckCommand{Channel: "jobs:a", Token: "t2"}}), protocol.ErrorNotFound, "token")
	if e := p.reply(p.do(protocol.Command{Unsubscribe: &protocol.UnsubscribeCommand{Channel: "jobs:a"}})); e.Unsubscribed == nil || e.Unsubscribed.Code != 0 {
		t.Errorf("%+v", e)
	}
	if _, left := a.state(); !left {
		t.Error("unsubscribed with a message in flight, and still a member")
	}
	p.refused(p.do(protocol.Command{Ack: &protocol.AckCommand{Channel: "jobs:a", Token: "t1"}}), protocol.ErrorNotFound, "channel")
	if e := p.reply(p.do(protocol.Command{Ack: &protocol.AckCommand{Channel: "jobs:b", Token: "t2"}})); e.Acked == nil {
		t.Errorf("%+v", e.Error)
	}
	if _, left := b.state(); left {
		t.Error("the other group was left as well")
	}
	p.join("jobs:a") // again
	p.Abort()
	p.End()
	if _, left := b.state(); !left {
		t.Error("a member after its connection")
	}
}

// A token that allows less ends what it does not allow, and nothing else.
func TestGroupRefreshNarrows(t *testing.T) {
	o := newOffice()
	p := worker(t, o, false)
	p.join("jobs:a")
	p.join("jobs:b")
	if e := p.reply(p.do(protocol.Command{Refresh: &protocol.RefreshCommand{Token: "narrow"}})); e.Connected == nil {
		t.Fatalf("%+v", e.Error)
	}
	ended := p.find("the end of b", func(e *protocol.Event) bool { return e.Unsubscribed != nil })
	if u := ended.Unsubscribed; ended.ID != 0 || u.Channel != "jobs:b" || u.Code != protocol.ErrorRevoked {
		t.Errorf("%+v", u)
	}
	if _, left := o.seat(t, "jobs:b").state(); !left {
		t.Error("still a member of b")
	}
	if _, left := o.seat(t, "jobs:a").state(); left {
		t.Error("not a member of a any more")
	}
}

// The token of a membership ends while a refresh takes away another: the one is the
// sweeper's to end, and a connection that has memberships alone has no subscriptions to end.
func TestGroupTokenLapsesDuringRefresh(t *testing.T) {
	lapses := hubtest.May(t, "ann", map[string][]auth.Action{"other:x": {auth.Subscribe}})
	lapses.Channel = "other:x"
	lapses.ExpiresAt = time.Now().Add(300 * time.Millisecond)
	o := newOffice()
	o.tokens = hubtest.Tokens{Known: map[string]auth.Claims{"lapses": lapses}}
	o.leaving = func() { <-time.After(time.Until(lapses.ExpiresAt) + time.Millisecond) }
	p := worker(t, o, false)
	p.join("jobs:b")
	if e := p.reply(p.do(protocol.Command{Subscribe: &protocol.SubscribeCommand{Channel: "other:x", Group: "g", Token: "lapses"}})); e.Subscribed == nil {
		t.Fatalf("%+v", e.Error)
	}
	p.do(protocol.Command{Refresh: &protocol.RefreshCommand{Token: "narrow"}})
	p.find("the end of b", func(e *protocol.Event) bool { return e.Unsubscribed != nil && e.Unsubscribed.Channel == "jobs:b" })
	hubtest.Eventually(t, "the end of the membership whose token is over", func() bool {
		p.Sweep(time.Now())
		_, left := o.seat(t, "other:x").state()
		return left
	})
}

// A connection that is full refuses, and says when there is room again.
func TestGroupWaitsForRoom(t *testing.T) {
	o := newOffice()
	p := worker(t, o, true)
	id := p.do(protocol.Command{Subscribe: &protocol.SubscribeCommand{Channel: "jobs:a", Group: "g"}})
	st := o.seat(t, "jobs:a")
	p.wire.gate <- struct{}{}
	if e := p.reply(id); e.Subscribed == nil {
		t.Fatalf("%+v", e.Error)
	}
	hubtest.Eventually(t, "ready", func() bool { ready, _ := st.state(); return ready == 1 })
	if st.req.MaxInFlight != protocol.DefaultInFlight {
		t.Errorf("%d in flight", st.req.MaxInFlight)
	}
	big, taken := `"`+string(bytes.Repeat([]byte("x"), 10_000))+`"`, 0
	for st.offer(taken, big) {
		if taken++; taken > 10_000 {
			t.Fatal("never full")
		}
	}
	if ready, _ := st.state(); ready != 1 {
		t.Errorf("ready %d times, and it is full", ready)
	}
	close(p.wire.gate)
	hubtest.Eventually(t, "room", func() bool { ready, _ := st.state(); return ready >= 2 })
	if !st.offer(taken, "1") {
		t.Error("refused, though it said that there is room")
	}
}

// A subscription that is ended before it began leaves no member behind.
func TestGroupUnsubscribedBeforeItBegan(t *testing.T) {
	o := newOffice()
	o.hold = make(chan struct{})
	p := worker(t, o, false)
	join := p.do(protocol.Command{Subscribe: &protocol.SubscribeCommand{Channel: "jobs:a", Group: "g"}})
	if e := p.reply(p.do(protocol.Command{Unsubscribe: &protocol.UnsubscribeCommand{Channel: "jobs:a"}})); e.Unsubscribed == nil {
		t.Errorf("%+v", e)
	}
	close(o.hold)
	st := o.seat(t, "jobs:a")
	p.refused(join, protocol.ErrorNotFound, "channel")
	if _, left := st.state(); !left {
		t.Error("a member that nobody wanted")
	}
	if st.offer(1, "1") {
		t.Error("took a message")
	}
}

// What a group says of itself is passed on.
func TestGroupTells(t *testing.T) {
	o := newOffice()
	p := worker(t, o, false)
	p.join("jobs:a")
	st := o.seat(t, "jobs:a")
	st.Lost(fanout.Position{}, protocol.ReasonRetention)
	gap := p.find("a gap", func(e *protocol.Event) bool { return e.Gap != nil }).Gap
	if gap.Channel != "jobs:a" || gap.Reason != protocol.ReasonRetention {
		t.Errorf("%+v", gap)
	}
	st.Ended(fanout.ErrNoGroup)
	end := p.find("the end", func(e *protocol.Event) bool { return e.Unsubscribed != nil }).Unsubscribed
	if end.Channel != "jobs:a" || end.Code != protocol.ErrorResubscribe {
		t.Errorf("%+v", end)
	}
	p.refused(p.do(protocol.Command{Ack: &protocol.AckCommand{Channel: "jobs:a", Token: "t1"}}), protocol.ErrorNotFound, "channel")
	p.join("jobs:a")
}
