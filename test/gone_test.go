package test_test

import (
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/sys/unix"

	"github.com/rivulet-rt/rivulet/cmd"
	"github.com/rivulet-rt/rivulet/protocol"
)

// Where history after a client's position is gone, it is told so; where it is not,
// it is not. Log by log and transport by transport.

// eventually waits for a condition that something else brings about.
func eventually(t *testing.T, what string, met func() bool) {
	t.Helper()
	ctx := bounded(t)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !met() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestAgedOut(t *testing.T) {
	t.Parallel()
	n := startLocal(t, localConfig(t, func(ns *cmd.NamespaceConfig) { ns.MaxAge = cmd.Duration(time.Second) }))
	at := n.publishAll("t:a", 1, 3)
	n.expect("while all is there", "t:a", at[1], "2 3")
	eventually(t, "the messages to age", func() bool { return len(n.history("t:a", "")) == 0 })
	n.expectGone("two of three missed", "t:a", at[1], protocol.ReasonRetention, "")
	n.expect("nothing missed", "t:a", at[3], "")
	n.publishAll("t:a", 4, 5)
	n.expectGone("two of three missed, and new ones", "t:a", at[1], protocol.ReasonRetention, "4 5")
	n.expect("nothing missed, and new ones", "t:a", at[3], "4 5")
}

func TestOverTheLimitPerChannel(t *testing.T) {
	t.Parallel()
	n := startLocal(t, localConfig(t, func(ns *cmd.NamespaceConfig) { ns.MaxPerChannel = 5 }))
	at := n.publishAll("t:a", 1, 5)
	n.publishAll("t:b", 100, 120)
	n.expect("within the limit", "t:a", at[1], "2 3 4 5")
	n.publishAll("t:a", 6, 20)
	// Five are promised, six are kept: 15 to 20.
	for first := 1; first <= 5; first++ {
		n.expectGone("over the limit", "t:a", at[first], protocol.ReasonRetention, numbers(15, 20))
	}
	at = n.publishAll("t:c", 1, 20)
	n.expect("the last that is gone", "t:c", at[14], numbers(15, 20))
	n.expectGone("the one before", "t:c", at[13], protocol.ReasonRetention, numbers(15, 20))
	n.expect("the oldest", "t:c", at[15], numbers(16, 20))
	n.expect("the newest", "t:c", at[20], "")
}

// Over the limit of the whole namespace the oldest go, whosever they are.
func TestOverTheLimitOfTheNamespace(t *testing.T) {
	t.Parallel()
	n := startLocal(t, localConfig(t, func(ns *cmd.NamespaceConfig) {
		ns.MaxBytes, ns.MaxMessageBytes = 256<<10, 64<<10
	}))
	at := n.publishAll("t:a", 1, 3)
	big := strings.Repeat("x", 10<<10)
	for range 40 {
		n.publish("t:b", big)
	}
	n.expectGone("pushed out by another channel", "t:a", at[1], protocol.ReasonRetention, "")
	n.publish("t:a", 4)
	n.expectGone("and new ones", "t:a", at[1], protocol.ReasonRetention, "4")
}

func TestPurged(t *testing.T) {
	t.Parallel()
	n := startLocal(t, localConfig(t))
	at := n.publishAll("t:a", 1, 3)
	live := n.socket().follow(protocol.SubscribeCommand{Channel: "t:a", Position: at[1]})
	pattern := n.socket().follow(protocol.SubscribeCommand{Channel: "t:>", Positions: []string{at[1]}})
	live.readTo(3)
	pattern.readTo(3)
	marker := n.purge("t:a")
	n.publish("t:b", 100)
	n.publish("t:a", 4)
	live.readTo(4)
	live.told("live", "2 3 gap:purged 4")
	pattern.readTo(4)
	pattern.told("a pattern", "2 3 gap:purged 100 4")
	for _, p := range []string{at[1], at[3]} {
		n.expectGone("came back from before the purge", "t:a", p, protocol.ReasonPurged, "4")
	}
	n.expect("came back from the purge", "t:a", marker, "4")
	n.expect("came back from after it", "t:a", live.at, "")
	n.purge("t:a")
	n.publish("t:a", 5)
	live.readTo(5) // until the node has told those who are live, others may have what it has in memory, and are told then
	n.expectGone("purged twice", "t:a", marker, protocol.ReasonPurged, "5")
}

// slowSocket has a receive buffer so small that a node soon notices when nobody reads.
func (s *site) slowSocket() *socket {
	s.t.Helper()
	dialer := &net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 16<<10) }); cerr != nil {
			return cerr
		}
		return err
	}}
	return s.dial(&websocket.Dialer{NetDialContext: dialer.DialContext, ReadBufferSize: 1 << 10})
}

// padded is a message of about size bytes that begins with its number.
func padded(n, size int) map[string]any {
	return map[string]any{"n": n, "pad": strings.Repeat("x", size)}
}

// TestEvictionOvertakesASlowCursor: a client that stalls while more is published
// than the log keeps and the ring holds is told of each hole, where it is, and gets
// everything else.
func TestEvictionOvertakesASlowCursor(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*cmd.NamespaceConfig){
		"limit per channel": func(ns *cmd.NamespaceConfig) { ns.MaxPerChannel = 40 },
		"limit of bytes":    func(ns *cmd.NamespaceConfig) { ns.MaxBytes, ns.MaxMessageBytes = 512<<10, 64<<10 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := startLocal(t, localConfig(t, change))
			k := n.slowSocket()
			start := k.subscribe(protocol.SubscribeCommand{Channel: "t:a"})
			n.pour("t:a", 1, 800)
			s := &slowReader{socket: k, position: start.Position}
			s.read(30) // so that it stands in the middle of a batch
			n.pour("t:a", 801, 1600)
			s.read(40)
			n.pour("t:a", 1601, 2400)
			for s.last < 2400 {
				s.read(1)
			}
			if s.gaps < 2 {
				t.Errorf("%d gaps, want at least two: the limit never overtook the client", s.gaps)
			}
			if s.got < 100 || s.got == 2400 {
				t.Errorf("%d of 2400 messages came", s.got)
			}
			n.publish("t:a", padded(2401, 10))
			s.read(1)
			n.expect("its position is as good as anybody's", "t:a", s.position, "")
		})
	}
}

// pour publishes messages of 2 KiB.
func (s *site) pour(channel string, first, last int) {
	s.t.Helper()
	for n := first; n <= last; {
		var list []map[string]any
		for ; n <= last && len(list) < 250; n++ {
			list = append(list, map[string]any{"channel": channel, "data": padded(n, 2<<10)})
		}
		s.batch(list)
	}
}

// slowReader checks that no message is missing but where a gap is told.
type slowReader struct {
	*socket
	last, got, gaps int
	position        string
	hole            bool // a gap was told since the last message
}

// read takes n messages.
func (s *slowReader) read(n int) {
	s.t.Helper()
	for n > 0 {
		ev := s.next()
		switch {
		case ev.Message != nil:
			s.message(ev.Message)
			n--
		case ev.Gap != nil:
			if ev.Gap.Reason != protocol.ReasonRetention {
				s.t.Errorf("gap for %s", ev.Gap.Reason)
			}
			s.gaps++
			s.hole, s.position = true, ev.Gap.Position
		case ev.CaughtUp != nil:
			s.position = ev.CaughtUp.Position
		default:
			s.t.Fatalf("did not expect %s", shown(ev))
		}
	}
}

func (s *slowReader) message(m *protocol.MessageEvent) {
	s.t.Helper()
	number := numberOf(s.t, m)
	switch {
	case number <= s.last:
		s.t.Errorf("message %d after %d", number, s.last)
	case number > s.last+1 && !s.hole:
		s.t.Errorf("message %d after %d, and nobody said that something is gone", number, s.last)
	}
	s.last, s.hole, s.position = number, false, m.Position
	s.got++
}
