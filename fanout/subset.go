package fanout

// subscriptionSet is a client's subscriptions by channel. Most clients have a few,
// for which a map would cost more than all the rest. Guarded by the client's lock.
type subscriptionSet struct {
	list  []*subscription
	index map[Channel]*subscription // nil while the list is short
}

// indexFrom is the length from which on the list is not searched any more.
const indexFrom = 32

func (s *subscriptionSet) get(c Channel) *subscription {
	if s.index != nil {
		return s.index[c]
	}
	for _, sub := range s.list {
		if sub.channel == c {
			return sub
		}
	}
	return nil
}

func (s *subscriptionSet) add(sub *subscription) {
	sub.place = len(s.list)
	s.list = append(s.list, sub)
	switch {
	case s.index != nil:
		s.index[sub.channel] = sub
	case len(s.list) >= indexFrom:
		s.index = make(map[Channel]*subscription, 2*indexFrom)
		for _, sub := range s.list {
			s.index[sub.channel] = sub
		}
	}
}

// remove takes out sub, which is in it.
func (s *subscriptionSet) remove(sub *subscription) {
	last := len(s.list) - 1
	s.list[sub.place] = s.list[last]
	s.list[sub.place].place = sub.place
	s.list[last] = nil
	s.list = s.list[:last]
	if s.index != nil {
		delete(s.index, sub.channel)
	}
}
