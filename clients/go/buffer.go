package rivulet

// mostBuffered bounds a subscription's buffer in bytes, beside its count.
const mostBuffered = 1 << 20

// buffer is a subscription's bounded queue of updates.
type buffer struct {
	ring  []Update // grows up to most
	head  int
	n     int
	bytes int
	most  int
}

// full reports whether the next message must wait.
func (b *buffer) full() bool { return b.n >= b.most || b.bytes >= mostBuffered }

// low reports whether half the room is free again.
func (b *buffer) low() bool { return b.n <= b.most/2 && b.bytes <= mostBuffered/2 }

func (b *buffer) push(u Update) {
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
}

// pushSubscribed is push for KindSubscribed, which does not wait for room: of
// several in a row, as reconnects bring, one stays, which tells of a loss if any did.
func (b *buffer) pushSubscribed(u Update) {
	if b.n > 0 {
		if last := &b.ring[(b.head+b.n-1)%len(b.ring)]; last.Kind == KindSubscribed {
			if last.Gap() != nil {
				u.Recovered, u.Reason = false, last.Reason
			}
			u.Resumed = u.Resumed && last.Resumed || u.Gap() != nil
			*last = u
			return
		}
	}
	b.push(u)
}

func (b *buffer) pop() Update {
	u := b.ring[b.head]
	b.ring[b.head] = Update{}
	b.head = (b.head + 1) % len(b.ring)
	b.n--
	b.bytes -= u.size()
	if b.n == 0 && len(b.ring) > 16 {
		b.ring, b.head = nil, 0
	}
	return u
}

func (b *buffer) clear() { *b = buffer{most: b.most} }
