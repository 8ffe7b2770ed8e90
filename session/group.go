package session

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// Groups makes connections members of durable groups.
type Groups interface {
	JoinGroup(ctx context.Context, req fanout.GroupRequest) (fanout.Membership, fanout.Joined, error)
}

// seats are the memberships of one connection. Guarded by the session's lock.
type seats struct {
	list    []*seat
	joining []*seat // asked for, and not begun
	closed  bool    // the session has ended
	debt    debt
	// settling has one slot for each word on a message that is on its way to the log;
	// full stops the reading.
	settling chan struct{}
}

// seat is one membership. It is the fanout.GroupMember.
type seat struct {
	session    *Session
	channel    fanout.Channel
	group      string
	token      uint64            // of the joined subscription
	membership fanout.Membership // set once, before it is in a list
	open       atomic.Bool       // subscribed was sent: messages may follow

	// beginning is held from where it takes its seat until subscribed was sent, and by who
	// takes the seat away: what tells of the end follows.
	beginning sync.Mutex
}

var _ fanout.GroupMember = (*seat)(nil)

// Offer implements fanout.GroupMember.
func (st *seat) Offer(m fanout.GroupMessage) bool {
	if !st.open.Load() {
		return false // Ready follows subscribed
	}
	ev := MessageEvent(m.Message)
	ev.Group, ev.Attempt, ev.AckToken = m.Group, m.Attempt, m.Token
	s := st.session
	return s.deliver(s.codec.Event(&protocol.Event{Message: &ev}))
}

// Lost implements fanout.GroupMember.
func (st *seat) Lost(begin fanout.Position, reason string) {
	st.session.push(&protocol.Event{Gap: &protocol.GapEvent{Channel: st.channel.String(), Position: begin.String(), Reason: reason}})
}

// Ended implements fanout.GroupMember.
func (st *seat) Ended(err error) {
	s := st.session
	st.vacate()
	s.push(&protocol.Event{Unsubscribed: &protocol.UnsubscribedEvent{
		Channel: st.channel.String(), Code: protocol.ErrorResubscribe, Reason: ReadErrorEvent(err).Message,
	}})
}

// subscribeGroup begins to join a group; the reply follows when the log has it.
func (s *Session) subscribeGroup(ctx context.Context, id uint64, cmd *protocol.SubscribeCommand) error {
	req, err := parseGroup(cmd)
	if err != nil {
		return err
	}
	if s.registry.services.Groups == nil {
		return refuse(protocol.ErrorNotSupported, "group", "this node has no groups")
	}
	given, err := s.authorise(ctx, req.Channel, cmd)
	if err != nil {
		return err
	}
	// The end of a channel is read, too.
	if err := s.mayRead(ctx, backlog(req.Start)); err != nil {
		return err
	}
	st := &seat{session: s, channel: req.Channel, group: req.Group}
	client, err := s.reserve(st, given)
	if err != nil {
		return err
	}
	if st.token&took != 0 {
		_ = client.Unsubscribe(replaced, req.Channel) // fails if it has ended by itself meanwhile
	}
	req.Member = st
	s.work.Go(func() { s.joinGroup(ctx, id, st, req) })
	s.recheckGrant(given)
	return nil
}

// parseGroup checks the fields of a subscribe command that names a group.
func parseGroup(cmd *protocol.SubscribeCommand) (fanout.GroupRequest, error) {
	req := fanout.GroupRequest{Group: cmd.Group, MaxInFlight: cmd.MaxInFlight}
	sub, err := ParseSubscribe(cmd)
	if err != nil {
		return req, err
	}
	req.Channel, req.Start = sub.Channel, sub.Start
	if bad := fanout.CheckGroup(cmd.Group); bad != nil {
		return req, bad
	}
	for field, given := range map[string]bool{"durable": cmd.Durable, "filter": cmd.Filter != "", "conflate": cmd.Conflate != ""} {
		if given {
			return req, BadRequest("group", "does not go together with %s; leave one out", field)
		}
	}
	switch {
	case req.Channel.IsPattern():
		return req, BadRequest("group", "works on one channel; %s is a pattern", req.Channel)
	case cmd.MaxInFlight < 0 || cmd.MaxInFlight > protocol.MaxInFlight:
		return req, BadRequest("max_in_flight", "is %d, must be from 1 to %d", cmd.MaxInFlight, protocol.MaxInFlight)
	case cmd.MaxInFlight == 0:
		req.MaxInFlight = protocol.DefaultInFlight
	}
	return req, nil
}

// reserve notes a membership among the subscriptions, before it begins. client is that of
// the subscription whose place it takes, if its token has the mark took.
func (s *Session) reserve(st *seat, given *grant) (client Subscriber, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	takes, err := s.mayJoinLocked(st.channel)
	if err != nil {
		return nil, err
	}
	if s.seats == nil {
		s.seats = &seats{settling: make(chan struct{}, s.registry.cfg.MaxPublishes)}
	}
	if len(s.seats.joining) >= maxAsked {
		return nil, refuse(protocol.ErrorTooManyRequests, "channel", "%d memberships have not begun yet; wait for some of them", maxAsked)
	}
	s.tokens++
	st.token = s.tokens
	if takes >= 0 {
		s.dropLocked(takes)
		st.token |= took
	}
	s.subs = append(s.subs, joined{channel: st.channel, token: st.token})
	s.seats.joining = append(s.seats.joining, st)
	s.keepLocked(given, st.token)
	return s.client, nil
}

func (s *Session) joinGroup(ctx context.Context, id uint64, st *seat, req fanout.GroupRequest) {
	ctx, cancel := context.WithTimeout(ctx, s.registry.cfg.CommandTimeout)
	defer cancel()
	m, found, err := s.joinAsked(ctx, req)
	st.membership = m
	st.beginning.Lock()
	taken := s.takeSeat(st, err == nil)
	told := taken && s.push(&protocol.Event{ID: id, Subscribed: &protocol.SubscribedEvent{
		Channel: st.channel.String(), Group: st.group, Resumed: found.Known, Recovered: found.Recovered, Reason: found.Reason,
		AckWaitMS: found.AckWait.Milliseconds(),
	}})
	st.beginning.Unlock()
	if !taken {
		if err == nil {
			m.Leave()
			err = refuse(protocol.ErrorNotFound, "channel", "unsubscribed before it began")
		}
		s.refuse(id, ReadErrorEvent(err), err)
		s.tookInVain(st.channel, st.token)
		return
	}
	if told {
		st.open.Store(true)
		m.Ready()
	}
}

// takeSeat notes a membership that has begun, unless it has not, the session has ended
// or nobody wants it any more.
func (s *Session) takeSeat(st *seat, begun bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !begun || s.seats.closed || !slices.Contains(s.seats.joining, st) {
		s.removeSeatLocked(st)
		return false
	}
	s.seats.joining = without(s.seats.joining, st)
	s.seats.list = append(s.seats.list, st)
	return true
}

// vacate takes a seat away, also before it has begun, and reports what it was.
func (st *seat) vacate() (begun, known bool) {
	st.beginning.Lock()
	defer st.beginning.Unlock()
	s := st.session
	s.mu.Lock()
	defer s.mu.Unlock()
	begun = slices.Contains(s.seats.list, st)
	known = begun || slices.Contains(s.seats.joining, st)
	s.removeSeatLocked(st)
	return begun, known
}

func (s *Session) removeSeatLocked(st *seat) {
	s.subs = slices.DeleteFunc(s.subs, func(j joined) bool { return j.token == st.token })
	s.seats.list, s.seats.joining = without(s.seats.list, st), without(s.seats.joining, st)
	s.pruneLocked()
}

// seatLocked returns the membership that is the subscription with this token, nil if it
// is none.
func (s *Session) seatLocked(token uint64) *seat {
	if s.seats == nil {
		return nil
	}
	for _, list := range [...][]*seat{s.seats.list, s.seats.joining} {
		for _, st := range list {
			if st.token == token {
				return st
			}
		}
	}
	return nil
}

func without(list []*seat, st *seat) []*seat {
	return slices.DeleteFunc(list, func(o *seat) bool { return o == st })
}

// seatOf returns the membership of a channel's group, nil if there is none.
func (s *Session) seatOf(c fanout.Channel) *seat {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seats == nil {
		return nil
	}
	for _, st := range slices.Concat(s.seats.list, s.seats.joining) {
		if st.channel == c {
			return st
		}
	}
	return nil
}

// leaveGroup ends a membership, or keeps it from beginning; what was not settled goes to
// others.
func (s *Session) leaveGroup(id uint64, st *seat, ev protocol.UnsubscribedEvent) {
	begun, known := st.vacate()
	if !known && id == 0 {
		return // somebody else has ended it, and told
	}
	if begun {
		st.membership.Leave()
	}
	ev.Channel = st.channel.String()
	s.push(&protocol.Event{ID: id, Unsubscribed: &ev})
}

// leaveGroups ends all memberships of a session that has ended, or those that claims do
// not allow any more.
func (s *Session) leaveGroups(claims *auth.Claims, at time.Time) {
	s.mu.Lock()
	var gone []*seat
	if s.seats != nil {
		s.seats.closed = s.seats.closed || claims == nil
		for _, st := range slices.Concat(s.seats.list, s.seats.joining) {
			if claims == nil || !claims.Allows(auth.Subscribe, st.channel.String()) && !s.grantedLocked(auth.Subscribe, st.channel, st.token, at) {
				gone = append(gone, st)
			}
		}
	}
	s.mu.Unlock()
	for _, st := range gone {
		var ev protocol.UnsubscribedEvent
		if claims != nil {
			ev.Code, ev.Reason = protocol.ErrorRevoked, protocol.ErrorRevoked.Reason()
		}
		s.leaveGroup(0, st, ev) // of a session that has ended, nobody hears it
	}
}

// groupsReady tells the groups that there is room for messages again.
func (s *Session) groupsReady() {
	s.mu.Lock()
	var list []*seat
	if s.seats != nil {
		list = slices.Clone(s.seats.list)
	}
	s.mu.Unlock()
	for _, st := range list {
		st.membership.Ready()
	}
}

// settle finds the membership of a channel and has do say what became of a message;
// the reply follows. It waits while as many are on their way as may be.
func (s *Session) settle(id uint64, channel, token string, do func(m fanout.Membership, done func(error))) error {
	c, err := fanout.ParseChannel(channel)
	if err != nil {
		return err
	}
	if token == "" || len(token) > protocol.MaxTokenBytes {
		return BadRequest("token", "has %d bytes, must be the ack_token of a message (1 to %d)", len(token), protocol.MaxTokenBytes)
	}
	if s.registry.services.Groups == nil {
		return refuse(protocol.ErrorNotSupported, "", "this node has no groups")
	}
	st := s.seatOf(c)
	if st == nil || !st.open.Load() {
		return refuse(protocol.ErrorNotFound, "channel", "this connection is not a member of a group on it")
	}
	debt := &s.seats.debt
	s.seats.settling <- struct{}{}
	do(st.membership, func(err error) {
		<-s.seats.settling
		if err != nil {
			debt.vain(err)
			s.refuse(id, settleError(err), err)
			return
		}
		s.push(&protocol.Event{ID: id, Acked: &protocol.AckedEvent{Channel: c.String(), Token: token}})
	})
	return nil
}

func settleError(err error) *protocol.ErrorEvent {
	ev := ErrorEvent(err)
	if errors.Is(err, fanout.ErrUnavailable) {
		ev.Message = "the log cannot be reached; it is not known whether it has taken note, and the message may come again"
	}
	return ev
}

func ackToken(s *Session, cmd *protocol.Command) error {
	a := cmd.Ack
	if a.Offset != 0 || a.Position != "" {
		return BadRequest("token", "is for a message of a group, offset and position are for a durable subscription; give one")
	}
	return s.settle(cmd.ID, a.Channel, a.Token, func(m fanout.Membership, done func(error)) { m.Ack(a.Token, done) })
}

func nak(_ context.Context, s *Session, cmd *protocol.Command) error {
	n := cmd.Nak
	switch {
	case n.Delay < 0 || n.Delay > maxNakDelay.Milliseconds():
		return BadRequest("delay", "is %d, must be from 0 to %d milliseconds", n.Delay, maxNakDelay.Milliseconds())
	case strings.ContainsFunc(n.Reason, isControl):
		return BadRequest("reason", "has control characters, which are not allowed")
	case len(n.Reason) > protocol.MaxReasonBytes:
		return BadRequest("reason", "has %d bytes, at most %d are allowed", len(n.Reason), protocol.MaxReasonBytes)
	}
	delay := time.Duration(n.Delay) * time.Millisecond
	if n.Delay == 0 {
		delay = -1 // the namespace's own
	}
	return s.settle(cmd.ID, n.Channel, n.Token, func(m fanout.Membership, done func(error)) { m.Nak(n.Token, delay, n.Reason, done) })
}

// maxNakDelay bounds how long a member may put a message off.
const maxNakDelay = 24 * time.Hour

func inProgress(_ context.Context, s *Session, cmd *protocol.Command) error {
	p := cmd.InProgress
	return s.settle(cmd.ID, p.Channel, p.Token, func(m fanout.Membership, done func(error)) { m.InProgress(p.Token, done) })
}
