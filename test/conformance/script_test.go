package conformance_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rivulet-rt/rivulet/test/conformance/internal/wire"
)

// script is one conversation: what the client sends, what must come back, and how
// it must end. Without another end, the client closes with 1000.
type script struct {
	target target
	offer  string // of extensions
	chop   int    // octets to a write; 0 writes a step at once
	window int    // bytes of the client's receive buffer; 0 leaves it to the kernel
	steps  []step
	want   []wire.Event
	asked  int   // questions
	codes  []int // one of which ends it; 0 is a close frame without one
	closed bool  // the client sends the first close frame
}

// step is sent when so many events have arrived.
type step struct {
	bytes []byte
	after int
}

// send sends frames, in one segment as far as TCP lets.
func (s *script) send(frames ...wire.Frame) { s.raw(wire.Bytes(frames...)) }

func (s *script) raw(b []byte) {
	if n := len(s.steps); n > 0 && s.steps[n-1].bytes == nil {
		s.steps[n-1].bytes = b
		return
	}
	if n := len(s.steps); n > 0 {
		s.steps[n-1].bytes = append(s.steps[n-1].bytes, b...)
		return
	}
	s.steps = append(s.steps, step{bytes: b})
}

// await sends what follows only when all that is wanted by now has arrived.
func (s *script) await() { s.steps = append(s.steps, step{after: len(s.want)}) }

// expect wants an event, behind those that are wanted already.
func (s *script) expect(op wire.Opcode, payload []byte) {
	s.want = append(s.want, wire.Event{Opcode: op, Payload: payload})
}

// echo sends a message in one frame and wants it back.
func (s *script) echo(op wire.Opcode, payload []byte) {
	s.send(wire.Frame{Opcode: op, Payload: payload})
	s.expect(op, payload)
}

// ping wants a pong with the same payload.
func (s *script) ping(payload []byte) {
	s.send(wire.Frame{Opcode: wire.Ping, Payload: payload})
	s.expect(wire.Pong, payload)
}

// question is a text that every target answers, and the answer.
func (s *script) question() (text, answer []byte) {
	s.asked++
	if s.target.product {
		return fmt.Appendf(nil, `{"id":%d,"ping":{},"x":"κόσμε"}`, s.asked), fmt.Appendf(nil, `{"id":%d,"pong":{}}`, s.asked)
	}
	text = fmt.Appendf(nil, "question %d: κόσμε", s.asked)
	return text, text
}

// ask sends a question in one frame and wants the answer.
func (s *script) ask() {
	text, answer := s.question()
	s.send(wire.Frame{Opcode: wire.Text, Payload: text})
	s.expect(wire.Text, answer)
}

// pieces are a question in so many frames; its answer is not wanted yet.
func (s *script) pieces(n int) (frames []wire.Frame, answer []byte) {
	text, answer := s.question()
	return wire.Cut(wire.Text, text, (len(text)+n-1)/n, 0), answer
}

// refused says that the server ends it, with one of the codes.
func (s *script) refused(codes ...int) { s.codes = codes }

// close sends a close frame with this payload and wants one with the code back.
func (s *script) close(payload []byte, code int) {
	s.send(wire.Frame{Opcode: wire.Close, Payload: payload})
	s.closed, s.codes = true, []int{code}
}

// testCase is a script that is written when it is run, for some are large.
type testCase struct {
	name  string
	write func(s *script)
}

// runTable holds a target against cases.
func runTable(t *testing.T, tg target, cases []testCase) {
	t.Helper()
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.run(t.Context(), tg)
			why, known := tg.known[tc.name]
			switch {
			case err != nil && !known:
				t.Error(err)
			case err == nil && known:
				t.Errorf("passes: take it off the list, where it says: %s", why)
			case known:
				t.Logf("known: %s: %v", why, err)
			}
		})
	}
}

func (tc testCase) run(ctx context.Context, tg target) error {
	s := &script{target: tg}
	tc.write(s)
	if len(s.codes) == 0 {
		s.await()
		s.close(wire.ClosePayload(1000, ""), 1000)
	}
	d := tg.dialer()
	d.Offer, d.ReadBuffer = s.offer, s.window
	c, err := d.Dial(ctx)
	if err != nil {
		return err
	}
	return s.talk(ctx, c)
}

func (s *script) talk(ctx context.Context, c *wire.Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer func() { _ = c.Close() }()
	defer cancel()
	arrived := make(chan struct{}, len(s.want)) // all of them
	wg.Go(func() { s.write(ctx, c, arrived) })
	for i, want := range s.want {
		ev, err := c.Next()
		if err != nil {
			return fmt.Errorf("event %d of %d: %w", i+1, len(s.want), err)
		}
		if ev.Opcode != want.Opcode || !bytes.Equal(ev.Payload, want.Payload) {
			return fmt.Errorf("event %d of %d: got %s, want %s", i+1, len(s.want), shown(ev), shown(want))
		}
		arrived <- struct{}{}
	}
	ev, err := c.Next()
	if err == nil && s.target.product && !s.closed {
		if err = s.told(ev); err == nil {
			ev, err = c.Next()
		}
	}
	if err != nil {
		return fmt.Errorf("waiting for the close frame: %w", err)
	}
	return s.end(c, &wg, ev)
}

// write sends the steps. Its errors are not told: a server may end the connection
// before it has read everything, and where it must not, something else is missing.
func (s *script) write(ctx context.Context, c *wire.Conn, arrived <-chan struct{}) {
	seen := 0
	for _, st := range s.steps {
		for ; seen < st.after; seen++ {
			select {
			case <-arrived:
			case <-ctx.Done():
				return
			}
		}
		if wire.Chop(c, st.bytes, s.chop) != nil {
			return
		}
	}
}

// told checks the product's disconnect event.
func (s *script) told(ev wire.Event) error {
	for _, code := range s.codes {
		if ev.Opcode == wire.Text && strings.HasPrefix(string(ev.Payload), fmt.Sprintf(`{"disconnect":{"code":%d,`, code)) {
			return nil
		}
	}
	return fmt.Errorf("got %s, want disconnect with %d", shown(ev), s.codes)
}

// end checks the close frame and that nothing but the end of the stream follows;
// a reset instead could take the close frame from a client that has not read yet.
func (s *script) end(c *wire.Conn, wg *sync.WaitGroup, ev wire.Event) error {
	if ev.Opcode != wire.Close || !slices.Contains(s.codes, ev.Code) {
		return fmt.Errorf("got %s, want a close frame with %d", shown(ev), s.codes)
	}
	if !s.closed {
		var payload []byte
		if ev.Code != 0 {
			payload = wire.ClosePayload(ev.Code, "")
		}
		wg.Go(func() { _ = c.Send(wire.Frame{Opcode: wire.Close, Payload: payload}) }) // the server may have closed already
	}
	if _, err := c.Next(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("behind the close frame: %w, want EOF", err)
	}
	return nil
}

func shown(ev wire.Event) string {
	if ev.Opcode == wire.Close {
		return fmt.Sprintf("close %d %q", ev.Code, ev.Payload)
	}
	return fmt.Sprintf("opcode %#x with %d bytes, %.100q", byte(ev.Opcode), len(ev.Payload), ev.Payload)
}
