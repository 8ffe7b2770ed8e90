package session

import "github.com/rivulet-rt/rivulet/protocol"

// ShedNewest is shedNewest.
func (r *Registry) ShedNewest(part int) int { return r.shedNewest(part) }

// CostOf is costOf.
func CostOf(cmd *protocol.Command) int64 { return costOf(cmd) }

// CountAs is countAs.
func (s *Slot) CountAs(user string) error { return s.countAs(user) }
