package limit

import (
	"context"
	"fmt"
	"net/netip"
)

// History says whether a read of so many messages may begin now; 0 is an unknown number.
func (l *Limiter) History(messages int) error {
	if l.Stage() < NoHistories || messages > 0 && messages <= LargeHistory {
		return nil
	}
	return l.refuse(Error{
		Reason: ReasonMemoryHistory, Node: true, RetryAfter: spread(memoryRetry),
		Problem: fmt.Sprintf("the node is short of memory and reads at most %d messages at a time; ask for fewer, or later", LargeHistory),
	})
}

// Read takes n stored messages that a caller wants to read, or returns an *Error. Callers
// are told apart by who they are, as auth.Claims.Publisher has it, or where they have no
// name by their address, over whatever they come; where that is exempt, by their connection.
// Without any of these there is no limit.
func (l *Limiter) Read(ctx context.Context, publisher string, addr netip.Addr, client string, n int) error {
	if l == nil || l.cfg.Reads.IsZero() {
		return nil
	}
	reader, ok := l.reader(publisher, addr, client)
	if !ok {
		return nil
	}
	wait := l.readers.Take(reader, l.cfg.Reads, int64(max(n, leastRead)))
	if wait == 0 {
		return nil
	}
	l.linger(ctx)
	return l.refuse(Error{
		Reason: ReasonReads, RetryAfter: wait,
		Problem: fmt.Sprintf("too many stored messages are read; one caller may read %d a second (limits.reads_per_caller)", l.cfg.Reads.PerSecond),
	})
}

// reader is the name that a caller has among the readers; false is none.
func (l *Limiter) reader(publisher string, addr netip.Addr, client string) (string, bool) {
	if publisher != anonymous {
		return publisher, true
	}
	if p, ok := l.caller(addr); ok {
		return "address:" + p.String(), true
	}
	return "client:" + client, client != ""
}

// resumeShare of the messages that were read after a position count: who has missed some
// reads them once, and faster than they were stored.
const resumeShare = 4

// HasRead charges a caller, told apart as by Read, for n messages that were read after a
// position, a quarter of what Read takes for them, less what Read has taken already: the
// next Read waits for it.
func (l *Limiter) HasRead(publisher string, addr netip.Addr, n int) {
	if l == nil || l.cfg.Reads.IsZero() {
		return
	}
	reader, ok := l.reader(publisher, addr, "")
	if n = n/resumeShare - leastRead; ok && n > 0 {
		l.readers.Charge(reader, l.cfg.Reads, int64(n))
	}
}

// anonymous is the auth.Claims.Publisher of who has no name, and leastRead what a read
// costs that finds nothing.
const (
	anonymous = "user:"
	leastRead = 10
)
