package session

// ShedNewest is shedNewest.
func (r *Registry) ShedNewest(part int) int { return r.shedNewest(part) }
