package rivulet

// mostBuffered bounds a subscription's buffer in bytes, beside its count.
const mostBuffered = 1 << 20

// buffer is a subscription's bounded queue of updates.
type buffer struct {
	ring  []Update // grows up to most
	head  int
	n     int
	told  int // of n, those that do not count: see passing
	bytes int
	most  int
}

// passing reports whether an update does not wait for room, nor take any: what tells that a
// subscription was taken up again must not be all that comes of it. Of several there is one.
func passing(k Kind) bool { return k == KindSubscribed || k == KindCaughtUp }

// full reports whether the next message must wait.
func (b *buffer) full() bool { return b.n-b.told >= b.most || b.bytes >= mostBuffered }

// low reports whether half the room is free again.
func (b *buffer) low() bool { return b.n-b.told <= b.most/2 && b.bytes <= mostBuffered/2 }

func (b *buffer) push(u Update) {
	switch u.Kind {
	case KindSubscribed:
		b.pushSubscribed(u)
		return
	case KindCaughtUp:
		b.drop(KindCaughtUp)
	default:
	}
	b.add(u)
}

// pushSubscribed outdates that it had caught up. Of several in a row, as reconnects bring,
// one stays, which tells of a loss if any did.
func (b *buffer) pushSubscribed(u Update) {
	b.drop(KindCaughtUp)
	if last := b.last(); last != nil && last.Kind == KindSubscribed {
		if last.Gap() != nil {
			u.Recovered, u.Reason = false, last.Reason
		}
		u.Resumed = u.Resumed && last.Resumed || u.Gap() != nil
		*last = u
		return
	}
	b.add(u)
}

// last is the newest, nil if there is none.
func (b *buffer) last() *Update {
	if b.n == 0 {
		return nil
	}
	return &b.ring[(b.head+b.n-1)%len(b.ring)]
}

// drop takes back the newest, if it is of the kind, which passes.
func (b *buffer) drop(k Kind) {
	if last := b.last(); last != nil && last.Kind == k {
		*last = Update{}
		b.n--
		b.told--
	}
}

func (b *buffer) add(u Update) {
	if b.n == len(b.ring) {
		grown := make([]Update, max(4, 2*len(b.ring)))
		for i := range b.n {
			grown[i] = b.ring[(b.head+i)%len(b.ring)]
		}
		b.ring, b.head = grown, 0
	}
	b.ring[(b.head+b.n)%len(b.ring)] = u
	b.n++
	b.bytes += u.size()
	if passing(u.Kind) {
		b.told++
	}
}

func (b *buffer) pop() Update {
	u := b.ring[b.head]
	b.ring[b.head] = Update{}
	b.head = (b.head + 1) % len(b.ring)
	b.n--
	b.bytes -= u.size()
	if passing(u.Kind) {
		b.told--
	}
	if b.n == 0 && len(b.ring) > 16 {
		b.ring, b.head = nil, 0
	}
	return u
}

func (b *buffer) clear() { *b = buffer{most: b.most} }
