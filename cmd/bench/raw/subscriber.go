//go:build linux

package raw

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"time"
)

// upgrade is the handshake. The key is the example of RFC 6455: what the node
// makes of it is not looked at.
func upgrade(p Peer) []byte {
	b := append([]byte("GET /v1/ws HTTP/1.1\r\nHost: "), p.host()...)
	b = append(b, "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"...)
	return append(p.authorization(b), "\r\n"...)
}

// Tally is what the subscribers of one loop count together.
type Tally struct {
	Subscribed int
	Received   int
	Latencies  []time.Duration // of every message, if Measure is set
	Measure    bool
	// NoOffsets: the sender is no node, so offsets say nothing.
	NoOffsets bool
	// OnMessage, if set, is called after each message.
	OnMessage func(s *Subscriber)
	Sample    []byte // payload of the first message
	// OnLatency, if set, takes what would go to Latencies.
	OnLatency func(time.Duration)
	// OnSubscribed and OnFailed, if set, are called once a subscriber is subscribed,
	// and when its connection has ended.
	OnSubscribed func(s *Subscriber)
	OnFailed     func(s *Subscriber, err error)
	// Pushes of presence that came, and their bytes.
	Pushes, PushBytes int

	Lost, Duplicate, Disorder int
	Unrecovered               int // resumes that were told that history is gone, and gaps
	Failed                    int // connections that ended or were refused
	First                     string
}

// Faults says what went wrong, nil if nothing did.
func (t *Tally) Faults() error {
	if t.Lost+t.Duplicate+t.Disorder+t.Unrecovered+t.Failed == 0 {
		return nil
	}
	return fmt.Errorf("raw: %d messages lost, %d twice, %d out of order, %d histories gone, %d connections failed; first: %s",
		t.Lost, t.Duplicate, t.Disorder, t.Unrecovered, t.Failed, t.First)
}

func (t *Tally) fault(count *int, by int, format string, args ...any) {
	if t.Failed+t.Lost+t.Duplicate+t.Disorder+t.Unrecovered == 0 {
		t.First = fmt.Sprintf(format, args...)
	}
	*count += by
}

// Subscriber is a WebSocket connection with one subscription.
type Subscriber struct {
	Channel string
	// Position is where the subscription begins, "" for live from now; from then on
	// it follows the subscription, if Keep is set, or stays.
	Position string
	Keep     bool
	N        uint64 // of the last message
	Offset   uint64 // of the last message
	Count    int    // messages since Connect
	Tag      int    // for its owner
	// Presence asks for presence events; Members is the number that the last one told.
	Presence bool
	Members  int

	tally    *Tally
	conn     *Conn
	upgraded bool
}

// NewSubscriber returns one that is not connected.
func NewSubscriber(t *Tally, channel string) *Subscriber {
	return &Subscriber{Channel: channel, tally: t}
}

// Connect begins to connect and then subscribes, after Position if there is one.
func (s *Subscriber) Connect(l *Loop, to netip.AddrPort) error {
	return s.ConnectPeer(l, Peer{To: to})
}

// ConnectPeer is Connect to and from certain addresses, with a token.
func (s *Subscriber) ConnectPeer(l *Loop, p Peer) error {
	s.upgraded, s.Count = false, 0
	c, err := l.DialPeer(p, upgrade(p), s)
	if err != nil {
		return err
	}
	s.conn = c
	return nil
}

// Cut breaks the connection off.
func (s *Subscriber) Cut() { s.conn.Cut() }

// Closed implements Handler.
func (s *Subscriber) Closed(_ *Conn, err error) {
	s.tally.fault(&s.tally.Failed, 1, "connection to %s: %v", s.Channel, err)
	if s.tally.OnFailed != nil {
		s.tally.OnFailed(s, err)
	}
}

// Data implements Handler.
func (s *Subscriber) Data(c *Conn, b []byte) (used int) {
	if !s.upgraded {
		head, _, complete := bytes.Cut(b, []byte("\r\n\r\n"))
		if !complete {
			return 0
		}
		if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) {
			c.fail(fmt.Errorf("%w: handshake answered with %q", errFrame, b))
			return len(b)
		}
		s.upgraded = true
		used = len(head) + 4
		c.Write(appendMasked(nil, opText, s.command()))
	}
	var now time.Time
	if s.tally.Measure {
		now = time.Now()
	}
	for {
		opcode, payload, size, err := parseFrame(b[used:])
		if err != nil {
			c.fail(err)
			return len(b)
		}
		if size == 0 {
			return used
		}
		used += size
		s.frame(c, opcode, payload, now)
		if c.gone() { // what follows was received by nobody
			return len(b)
		}
	}
}

func (s *Subscriber) command() []byte {
	b := append([]byte(`{"id":1,"subscribe":{"channel":`), strconv.Quote(s.Channel)...)
	if s.Position != "" {
		b = append(append(b, `,"position":`...), strconv.Quote(s.Position)...)
	}
	if s.Presence {
		b = append(b, `,"presence":true`...)
	}
	return append(b, `}}`...)
}

func (s *Subscriber) frame(c *Conn, opcode byte, payload []byte, now time.Time) {
	switch {
	case opcode == opText && bytes.HasPrefix(payload, []byte(`{"message":`)):
		s.message(payload, now)
	case opcode == opText:
		s.event(c, payload)
	case opcode == opPing:
		c.Write(appendMasked(nil, opPong, payload))
	case opcode == opClose:
		c.fail(fmt.Errorf("%w: close %q", errFrame, payload))
	}
}

func (s *Subscriber) message(payload []byte, now time.Time) {
	t := s.tally
	m, ok := parseMessage(payload)
	if !ok {
		t.fault(&t.Failed, 1, "a message on %s that nobody here sent: %.200q", s.Channel, payload)
		return
	}
	m.N -= firstN
	switch {
	case m.N == s.N || !t.NoOffsets && m.Offset == s.Offset:
		t.fault(&t.Duplicate, 1, "%s: message %d came twice", s.Channel, m.N)
		return
	case m.N < s.N || !t.NoOffsets && m.Offset < s.Offset:
		t.fault(&t.Disorder, 1, "%s: message %d at offset %d came after %d at %d", s.Channel, m.N, m.Offset, s.N, s.Offset)
		return
	case m.N > s.N+1:
		t.fault(&t.Lost, int(m.N-s.N-1), "%s: message %d came after %d", s.Channel, m.N, s.N)
	}
	s.N, s.Offset = m.N, m.Offset
	s.Count++
	t.Received++
	if s.Keep {
		s.Position = position(payload)
	}
	if t.Measure {
		t.latency(time.Duration(now.UnixNano() - m.Sent))
	}
	if t.Sample == nil {
		t.Sample = bytes.Clone(payload)
	}
	if t.OnMessage != nil {
		t.OnMessage(s)
	}
}

func (t *Tally) latency(d time.Duration) {
	if t.OnLatency != nil {
		t.OnLatency(d)
		return
	}
	t.Latencies = append(t.Latencies, d)
}

func (s *Subscriber) event(c *Conn, payload []byte) {
	t := s.tally
	switch {
	case bytes.HasPrefix(payload, []byte(`{"id":1,"subscribed":`)):
		t.Subscribed++
		if t.OnSubscribed != nil {
			t.OnSubscribed(s)
		}
		if bytes.Contains(payload, []byte(`"recovered":false`)) {
			t.fault(&t.Unrecovered, 1, "%s: %.300s", s.Channel, payload)
		}
		if s.Keep {
			s.Position = position(payload)
		}
	case bytes.HasPrefix(payload, []byte(`{"position":`)):
		if s.Keep {
			s.Position = position(payload)
		}
	case bytes.HasPrefix(payload, []byte(`{"presence":`)):
		t.Pushes++
		t.PushBytes += len(payload)
		s.Members = members(payload)
	case bytes.HasPrefix(payload, []byte(`{"gap":`)):
		t.fault(&t.Unrecovered, 1, "%s: %.300s", s.Channel, payload)
	case bytes.HasPrefix(payload, []byte(`{"connected":`)), bytes.HasPrefix(payload, []byte(`{"caught_up":`)),
		bytes.HasPrefix(payload, []byte(`{"ping":`)):
	default: // an error or a disconnect
		c.fail(fmt.Errorf("%w: %.300s", errFrame, payload))
	}
}
