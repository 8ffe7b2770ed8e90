package session

import (
	"context"
	"net/http"
	"sync"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// Peer is what is known of who connects, beside the token.
type Peer struct {
	Addr    string            // of the connection
	Headers map[string]string // those that ConnectGate.Headers names, as far as they are there
	// Name and Version are those of the client, where a connect command told them.
	Name, Version string
}

// ConnectGate authenticates connections in place of Services.Auth. Errors wrap those of
// auth, or are those of auth/hook.
type ConnectGate interface {
	Authenticate(ctx context.Context, token string, from Peer) (auth.Claims, error)
	// Headers are the canonical names of the request headers that it wants.
	Headers() []string
}

// SubscribeGate is asked before a subscription begins, in the namespaces where Asks is true,
// which never changes. Errors are those of auth/hook.
type SubscribeGate interface {
	Asks(namespace string) bool
	Allow(ctx context.Context, claims auth.Claims, client string, c fanout.Channel) error
}

// maxAsked is how many subscriptions of a connection wait for a SubscribeGate.
const maxAsked = 32

// peerOf is what the gate wants to know of a request.
func (r *Registry) peerOf(req *http.Request) Peer {
	g := r.services.Connect
	if g == nil {
		return Peer{}
	}
	c := Peer{Addr: ClientAddr(req).String()}
	for _, name := range g.Headers() {
		if v := req.Header.Get(name); v != "" {
			if c.Headers == nil {
				c.Headers = map[string]string{}
			}
			c.Headers[name] = v
		}
	}
	return c
}

// PeerOf is what a session keeps of its handshake for a connect command; nil where nobody
// asks.
func (r *Registry) PeerOf(req *http.Request) *Peer {
	if r.services.Connect == nil {
		return nil
	}
	c := r.peerOf(req)
	return &c
}

// authenticate asks the gate, or else the verifier alone.
func (r *Registry) authenticate(ctx context.Context, token string, from *Peer) (auth.Claims, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.CommandTimeout)
	defer cancel()
	if g := r.services.Connect; g != nil {
		if from == nil {
			from = &Peer{}
		}
		return g.Authenticate(ctx, token, *from)
	}
	return r.services.Auth.Authenticate(ctx, token)
}

// called is who connects, with what the command tells of them.
func (s *Session) called(c *protocol.ConnectCommand) *Peer {
	peer := s.peer()
	if peer == nil {
		return nil
	}
	from := *peer
	from.Name, from.Version = c.Name, c.Version
	return &from
}

// AskSubscribe asks the gate about a channel for transports without a Session, which wait
// on the request's own goroutine.
func (r *Registry) AskSubscribe(ctx context.Context, claims auth.Claims, client string, c fanout.Channel) error {
	g := r.services.Subscribe
	if g == nil || !g.Asks(c.Namespace()) {
		return nil
	}
	return g.Allow(ctx, claims, client, c)
}

// peer is who connects, nil where no ConnectGate asks.
func (s *Session) peer() *Peer {
	if s.hooked == nil {
		return nil
	}
	return s.hooked.peer
}

// hooked is what only connections have that hooks are asked about: who connects, and the
// subscriptions that wait for the gate.
type hooked struct {
	peer *Peer // static; nil where no ConnectGate asks

	// places is held from where a durable subscription looks for its place in the log until
	// it has begun, and while one ends. Whoever has it may take mu.
	places sync.Mutex

	// mu is held while a subscription is noted or rights change, so that an answer that
	// comes late finds what was decided meanwhile. Nothing waits with it.
	mu      sync.Mutex // guards the following
	waiting map[fanout.Channel]uint64
	count   uint64
}

// named marks, among those that wait, the channels that the connection's token names: a
// subscribe of the client takes their place.
const named uint64 = 1 << 63

// markLocked notes a channel as one that waits.
func (a *hooked) markLocked(c fanout.Channel, kind uint64) (mark uint64) {
	if a.waiting == nil {
		a.waiting = map[fanout.Channel]uint64{}
	}
	a.count++
	mark = a.count | kind
	a.waiting[c] = mark
	return mark
}

// exclude keeps answers of the gate from taking effect until the returned function is
// called. It costs nothing on a connection that no hook was asked about. The reading side
// calls it.
func (s *Session) exclude() (release func()) {
	if s.hooked == nil {
		return func() {}
	}
	s.hooked.mu.Lock()
	return s.hooked.mu.Unlock
}

// excludeDurable keeps durable subscriptions that a hook has allowed from beginning until
// the returned function is called, as exclude does, but may be held while the log is written.
func (s *Session) excludeDurable() (release func()) {
	if s.hooked == nil || s.durable.Load() == nil {
		return func() {}
	}
	s.hooked.places.Lock()
	return s.hooked.places.Unlock
}

// askFirst begins to ask about a subscription, and reports false where none need be asked.
func (s *Session) askFirst(ctx context.Context, cmd *protocol.Command, req fanout.SubscribeRequest, given *grant) (asked bool, err error) {
	g := s.registry.services.Subscribe
	if g == nil || !g.Asks(req.Channel.Namespace()) {
		return false, nil
	}
	a := s.asks()
	a.mu.Lock()
	defer a.mu.Unlock()
	if m, waits := a.waiting[req.Channel]; waits && m&named == 0 {
		return true, fanout.ErrAlreadySubscribed
	}
	if err := s.mayJoin(req.Channel); err != nil {
		return true, err // whatever the hook says
	}
	if len(a.waiting) >= maxAsked {
		return true, refuse(protocol.ErrorTooManyRequests, "channel", "%d subscriptions wait for the answer of a hook; wait for some of them", maxAsked)
	}
	b := beginning{cmd, req, given, a.markLocked(req.Channel, 0)}
	s.work.Go(func() {
		if err := s.answeredBy(ctx, b); err != nil {
			s.refuse(cmd.ID, ReadErrorEvent(err), err)
		}
	})
	return true, nil
}

// asks are made by the reading side, with the first that is asked.
func (s *Session) asks() *hooked {
	if s.hooked == nil {
		s.hooked = &hooked{}
	}
	return s.hooked
}

// askNamed asks about a channel that the connection's token names, unless it is subscribed
// to. There are so few that their number needs no bound of its own.
func (s *Session) askNamed(c fanout.Channel) {
	a := s.asks()
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, waits := a.waiting[c]; waits {
		return
	}
	if _, here := s.joined(c); here {
		return
	}
	mark := a.markLocked(c, named)
	s.work.Go(func() {
		err := s.registry.AskSubscribe(s.registry.ctx, s.claimed(), s.ID(), c)
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.waiting[c] != mark {
			return // the client asked for it, or took it back
		}
		delete(a.waiting, c)
		if err == nil {
			err = s.subscribeUnasked(c) // which looks at the claims as they are now
		}
		if _, here := s.joined(c); err != nil && !here {
			s.push(&protocol.Event{Unsubscribed: notBegun(c.String(), err)})
		}
	})
}

// answeredBy waits for the gate and begins the subscription, if it is still wanted.
func (s *Session) answeredBy(ctx context.Context, b beginning) error {
	if err := s.registry.services.Subscribe.Allow(ctx, s.claimed(), s.ID(), b.req.Channel); err != nil {
		if !s.hooked.forget(b) {
			return errTakenBack
		}
		return err
	}
	if !s.hooked.waits(b) {
		return errTakenBack // begin would only look for its place in vain
	}
	err := s.begin(ctx, b)
	if err != nil {
		s.hooked.forget(b)
	}
	return err
}

// errTakenBack is what becomes of a subscribe that an unsubscribe has overtaken.
var errTakenBack = refuse(protocol.ErrorNotFound, "channel", "unsubscribed before it began")

func (a *hooked) waits(b beginning) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.waiting[b.req.Channel] == b.mark
}

// forget ends the waiting of a subscription, if it waits.
func (a *hooked) forget(b beginning) (waited bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting[b.req.Channel] != b.mark {
		return false
	}
	delete(a.waiting, b.req.Channel)
	return true
}

// stillWanted reports why a subscription that a gate was asked about shall not begin any
// more: nobody wants it, or the claims, which a refresh or a revocation may have changed
// meanwhile, do not cover it. The caller has excluded others; the subscription waits no longer.
func (s *Session) stillWanted(b beginning) error {
	if b.mark == 0 {
		return nil
	}
	if s.hooked.waiting[b.req.Channel] != b.mark {
		return errTakenBack
	}
	delete(s.hooked.waiting, b.req.Channel)
	if all := s.registry.services.Revocations; b.given != nil && all != nil && all.Revoked(b.given.claims) {
		return auth.ErrRevoked
	}
	return s.mayBegin(b.req.Channel, b.req.Presence, b.given)
}

// unask takes back a subscription that waits for the gate.
func (s *Session) unask(c fanout.Channel) (waited bool) {
	if s.hooked == nil {
		return false
	}
	s.hooked.mu.Lock()
	defer s.hooked.mu.Unlock()
	_, waited = s.hooked.waiting[c]
	delete(s.hooked.waiting, c)
	return waited
}

// joinAsked asks the gate, then joins the group.
func (s *Session) joinAsked(ctx context.Context, req fanout.GroupRequest) (fanout.Membership, fanout.Joined, error) {
	if err := s.registry.AskSubscribe(ctx, s.claimed(), s.ID(), req.Channel); err != nil {
		return nil, fanout.Joined{}, err
	}
	return s.registry.services.Groups.JoinGroup(ctx, req)
}
