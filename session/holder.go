package session

import (
	"encoding/binary"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
)

func (s *Session) admit(claims auth.Claims) {
	h := holder{subject: claims.Subject, capabilities: claims.Capabilities}
	if !claims.IssuedAt.IsZero() {
		h.issuedAt = claims.IssuedAt.UnixMicro()
	}
	if claims.Key != "" || claims.Info != "" || claims.TokenID != "" || !claims.Limits.IsZero() {
		h.more = &particulars{claims.Key, claims.Info, claims.TokenID, claims.Limits}
	}
	end := int64(0)
	if !claims.ExpiresAt.IsZero() {
		end = claims.ExpiresAt.UnixNano()
		h.warnAt = WarnAt(claims, time.Now()).UnixNano()
	}
	s.mu.Lock()
	s.holder = h
	s.expires.Store(end)
	s.dueLocked()
	s.mu.Unlock()
	s.tighten(claims.Limits)
	s.ready.Store(true)
	s.registry.recheck(s)
}

// holder is what a session keeps of its claims; when they end is kept apart.
type holder struct {
	subject      string
	capabilities auth.Capabilities
	issuedAt     int64        // Unix microseconds; 0 is not known, or 1970
	more         *particulars // nil: none
	warnAt       int64        // when a refresh is asked for; 0: it was, or need not be
}

// particulars are what most tokens do not say.
type particulars struct {
	key, info, tokenID string

	limits auth.Limits
}

// claimed are the session's claims, but for their Channels, which are subscribed to.
func (s *Session) claimed() auth.Claims {
	s.mu.Lock()
	h := s.holder
	s.mu.Unlock()
	c := auth.Claims{Subject: h.subject, Capabilities: h.capabilities}
	if h.issuedAt != 0 {
		c.IssuedAt = time.UnixMicro(h.issuedAt)
	}
	if m := h.more; m != nil {
		c.Key, c.Info, c.TokenID, c.Limits = m.key, m.info, m.tokenID, m.limits
	}
	if at := s.expires.Load(); at != 0 {
		c.ExpiresAt = time.Unix(0, at)
	}
	return c
}

// Identity makes the session a member of the channels it is subscribed to.
func (s *Session) Identity() fanout.Identity {
	claims := s.claimed()
	return NewIdentity(fanout.ClientID(binary.BigEndian.Uint64(s.id[:])), claims)
}

// NewIdentity is who holds the claims, over the connection with the given ID.
func NewIdentity(id fanout.ClientID, claims auth.Claims) fanout.Identity {
	who := fanout.Identity{Client: id, User: claims.Subject}
	if claims.Info != "" {
		who.Info = []byte(claims.Info)
	}
	return who
}
