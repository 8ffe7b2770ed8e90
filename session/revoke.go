package session

import (
	"runtime"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/protocol"
)

// Revocable is a Member whose tokens may be revoked while it lasts.
type Revocable interface {
	// Revoke ends what rests on claims of which revoked says so: the connection, with
	// 4206, or one subscription, with 4700. It does not wait, and may be called from any
	// goroutine; revoked must return at once.
	Revoke(revoked func(auth.Claims) bool)
}

var _ Revocable = (*Session)(nil)

// revokeSlice is how many connections are looked at before others get their turn.
const revokeSlice = 64

// Revoke has all connections of this node end what rests on revoked claims. It goes once
// through all of them, a part at a time, and returns when all have been asked to.
// Connections that come while it runs are looked at when they come, if what revoked says
// is also what Services.Revocations does.
func (r *Registry) Revoke(revoked func(auth.Claims) bool) {
	var members []Member
	for i := range r.shards {
		members = r.shards[i].list(members[:0])
		for j, m := range members {
			if k, ok := m.(Revocable); ok {
				k.Revoke(revoked)
			}
			if j%revokeSlice == revokeSlice-1 {
				runtime.Gosched()
			}
		}
		clear(members)
	}
}

// recheck looks at a connection again that was authenticated before it was among the
// members: a revocation in between has missed it.
func (r *Registry) recheck(m Member) {
	if all := r.services.Revocations; all != nil {
		if k, ok := m.(Revocable); ok {
			k.Revoke(all.Revoked)
		}
	}
}

// recheckGrant does so with a subscription token, whose subscription has been noted.
func (s *Session) recheckGrant(g *grant) {
	if all := s.registry.services.Revocations; g != nil && all != nil && all.Revoked(g.claims) {
		s.endGrants(withdrawn, all.Revoked)
	}
}

// Revoke implements Revocable.
func (s *Session) Revoke(revoked func(auth.Claims) bool) {
	if s.ready.Load() && revoked(s.claimed()) {
		s.Disconnect(disconnect(protocol.CloseRevoked))
		return
	}
	s.mu.Lock()
	some := s.grants != nil
	s.mu.Unlock()
	if some {
		s.endGrants(withdrawn, revoked)
	}
}
