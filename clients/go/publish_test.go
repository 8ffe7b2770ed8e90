package rivulet_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/protocol"
)

// stored answers a publish.
func (p *peer) stored(c *protocol.Command, duplicate bool) {
	p.send(protocol.Event{ID: c.ID, Published: &protocol.PublishedEvent{
		Channel: c.Publish.Channel, Offset: 7, Position: at(7), Time: 1732290000123, Duplicate: duplicate,
	}})
}

func (p *peer) failed(c *protocol.Command, code protocol.Code, retryAfter time.Duration) {
	p.send(protocol.Event{ID: c.ID, Error: &protocol.ErrorEvent{
		Code: code, Message: "so", Field: "data", Temporary: code.Temporary(), RetryAfterMS: retryAfter.Milliseconds(),
	}})
}

func TestPublishContent(t *testing.T) {
	tests := []struct {
		name string
		data any
		want protocol.PublishCommand
		bad  bool
	}{
		{"struct", struct {
			A string `json:"a"`
		}{"<b>"}, protocol.PublishCommand{Data: json.RawMessage(`{"a":"\u003cb\u003e"}`)}, false},
		{"nil", nil, protocol.PublishCommand{Data: json.RawMessage(`null`)}, false},
		{"raw JSON", json.RawMessage(` { "a" : 1.0 } `), protocol.PublishCommand{Data: json.RawMessage(`{"a":1.0}`)}, false},
		{"bytes", []byte{0, 255}, protocol.PublishCommand{DataBase64: new("AP8=")}, false},
		{"raw but not JSON", json.RawMessage(`{`), protocol.PublishCommand{}, true},
		{"not JSON", math.Inf(1), protocol.PublishCommand{}, true},
		{"too large", strings.Repeat("x", 64<<10), protocol.PublishCommand{}, true},
	}
	asked := make(chan *protocol.PublishCommand, 1)
	c := open(t, scripted(t, func(p *peer) {
		p.greet()
		for {
			cmd := p.receive()
			asked <- cmd.Publish
			p.stored(cmd, false)
		}
	}), quick())
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := c.Publish(limit(t), "lobby", tt.data, rivulet.PublishOptions{Headers: map[string]string{"h": "v"}})
			if e, bad := errors.AsType[*rivulet.Error](err); bad != tt.bad || bad && e.Field != "data" {
				t.Fatalf("error %v, want one of data: %v", err, tt.bad)
			}
			if tt.bad {
				return
			}
			cmd := await(t, asked)
			if string(cmd.Data) != string(tt.want.Data) || (cmd.DataBase64 == nil) != (tt.want.DataBase64 == nil) ||
				cmd.DataBase64 != nil && *cmd.DataBase64 != *tt.want.DataBase64 {
				t.Errorf("asked for %+v, want %+v", cmd, tt.want)
			}
			if cmd.Channel != "default:lobby" || cmd.Headers["h"] != "v" || len(cmd.IdempotencyKey) < 20 {
				t.Errorf("asked for %+v", cmd)
			}
			want := rivulet.Published{
				Channel: "default:lobby", Offset: 7, Position: at(7), Time: time.UnixMilli(1732290000123), IdempotencyKey: cmd.IdempotencyKey,
			}
			if got != want {
				t.Errorf("published %+v, want %+v", got, want)
			}
		})
	}
}

// Whatever goes wrong for now, the message is published again under the same key.
func TestPublishIsRepeatedUnderTheSameKey(t *testing.T) {
	tests := []struct {
		name  string
		first func(p *peer, c *protocol.Command)
	}{
		{"broken off", func(p *peer, _ *protocol.Command) { p.cutOff() }},
		{"unavailable", func(p *peer, c *protocol.Command) { p.failed(c, protocol.ErrorUnavailable, 5*time.Millisecond) }},
		{"outcome unknown", func(p *peer, c *protocol.Command) { p.failed(c, protocol.ErrorOutcomeUnknown, 0) }},
		{"timeout", func(p *peer, c *protocol.Command) { p.failed(c, protocol.ErrorTimeout, 0) }},
		{"too many", func(p *peer, c *protocol.Command) { p.failed(c, protocol.ErrorTooManyRequests, 0) }},
		{"draining", func(p *peer, _ *protocol.Command) {
			p.send(protocol.Event{Disconnect: &protocol.DisconnectEvent{Code: protocol.CloseDraining, Reconnect: true}})
			p.close(protocol.CloseDraining)
		}},
	}
	for _, tt := range tests {
		for _, key := range []string{"", "mine"} {
			t.Run(tt.name+" "+key, func(t *testing.T) {
				keys := make(chan string, 10)
				var attempt atomic.Int32
				c := open(t, scripted(t, func(p *peer) {
					p.greet()
					for {
						cmd := p.receive()
						keys <- cmd.Publish.IdempotencyKey
						if attempt.Add(1) < 3 {
							tt.first(p, cmd)
							continue
						}
						p.stored(cmd, true)
					}
				}), quick())
				got, err := c.Publish(limit(t), "a:b", 1, rivulet.PublishOptions{IdempotencyKey: key})
				if err != nil || !got.Duplicate {
					t.Fatalf("published %+v, %v", got, err)
				}
				for range 3 {
					if k := await(t, keys); k != got.IdempotencyKey || key != "" && k != key {
						t.Errorf("key %q, want %q", k, got.IdempotencyKey)
					}
				}
			})
		}
	}
}

func TestPublishErrors(t *testing.T) {
	tests := []struct {
		name string
		act  func(p *peer, c *protocol.Command, attempt int)
		want protocol.Code
	}{
		{"forbidden", func(p *peer, c *protocol.Command, _ int) { p.failed(c, protocol.ErrorForbidden, 0) }, protocol.ErrorForbidden},
		{"key conflict", func(p *peer, c *protocol.Command, _ int) { p.failed(c, protocol.ErrorConflict, 0) }, protocol.ErrorConflict},
		{"never stored", func(p *peer, c *protocol.Command, _ int) { p.failed(c, protocol.ErrorUnavailable, time.Minute) }, protocol.ErrorUnavailable},
		{"no answer", func(*peer, *protocol.Command, int) {}, protocol.ErrorOutcomeUnknown},
		{"unknown, then refused", func(p *peer, c *protocol.Command, attempt int) {
			if attempt == 1 {
				p.failed(c, protocol.ErrorOutcomeUnknown, 0)
				return
			}
			p.failed(c, protocol.ErrorForbidden, 0)
		}, protocol.ErrorOutcomeUnknown},
		{"the client is refused", func(p *peer, _ *protocol.Command, _ int) { p.close(protocol.CloseUnauthorized) }, protocol.ErrorOutcomeUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := open(t, scripted(t, func(p *peer) {
				p.greet()
				for attempt := 1; ; attempt++ {
					tt.act(p, p.receive(), attempt)
				}
			}), quick())
			ctx, cancel := context.WithTimeout(limit(t), 300*time.Millisecond)
			defer cancel()
			_, err := c.Publish(ctx, "a:b", 1, rivulet.PublishOptions{IdempotencyKey: "mine"})
			e, ok := errors.AsType[*rivulet.Error](err)
			if !ok || e.Code != tt.want || e.IdempotencyKey != "mine" {
				t.Fatalf("error %v, want code %d with the key", err, tt.want)
			}
			if e.Code == protocol.ErrorOutcomeUnknown && !strings.Contains(e.Remedy, "mine") {
				t.Errorf("remedy %q does not name the key", e.Remedy)
			}
		})
	}
}

func TestUnansweredPublishIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		opts := bubbled(t, func(p *peer) {
			p.greet()
			p.receive() // and answer nothing
			p.stored(p.receive(), true)
			p.idle()
		})
		c := connect(t, opts)
		if _, err := c.Publish(t.Context(), "a:b", 1, rivulet.PublishOptions{}); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d != 15*time.Second+250*time.Millisecond {
			t.Errorf("published after %v, want one reply timeout and the backoff", d)
		}
	})
}

// A repetition after the window of the key could store the message twice.
func TestPublishIsNotRepeatedAfterTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := bubbled(t, func(p *peer) {
			p.greet()
			p.receive()
			p.cutOff()
		})
		c := connect(t, opts)
		began := time.Now()
		_, err := c.Publish(t.Context(), "a:b", 1, rivulet.PublishOptions{IdempotencyKey: "mine"})
		e, ok := errors.AsType[*rivulet.Error](err)
		if !ok || e.Code != protocol.ErrorOutcomeUnknown || e.IdempotencyKey != "mine" {
			t.Fatalf("error %v", err)
		}
		if d := time.Since(began); d < 100*time.Second || d > 110*time.Second {
			t.Errorf("gave up after %v, want most of 2 minutes", d)
		}
	})
}

// While there is no connection at all, the window of a publish that never left
// does not begin.
func TestPublishWaitsForAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := bubbled(t, func(p *peer) {
			p.greet()
			if p.n == 1 {
				p.close(protocol.CloseDraining)
				return
			}
			p.stored(p.receive(), false)
			p.idle()
		})
		away := make(chan struct{})
		opts.OnState = func(s rivulet.StateChange) {
			if s.State == rivulet.StateRetrying && s.RetryIn == 250*time.Millisecond {
				close(away)
			}
		}
		dial, began := opts.Dial, time.Now()
		opts.Dial = func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
			if d := time.Since(began); d > 0 && d < time.Hour {
				return nil, errors.New("no route")
			}
			return dial(ctx, network, addr)
		}
		c := connect(t, opts)
		<-away
		if _, err := c.Publish(t.Context(), "a:b", 1, rivulet.PublishOptions{}); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d < time.Hour {
			t.Errorf("published after %v", d)
		}
	})
}

func TestErrorTexts(t *testing.T) {
	tests := []struct {
		err  error
		want []string
	}{
		{&rivulet.Error{Code: 4403, Field: "channel", Message: "no", Remedy: "ask"}, []string{"rivulet: ", "4403", "channel", "no", "ask"}},
		{&rivulet.Error{Code: 4503}, []string{"4503", "log unavailable"}},
		{&rivulet.GapError{Channel: "a:b", Reason: "retention"}, []string{"a:b", "are gone", "retention"}},
		{&rivulet.GapError{Channel: "a:b", Reason: "reset"}, []string{"put to another place in a:b", "reset"}},
	}
	for _, tt := range tests {
		for _, part := range tt.want {
			if !strings.Contains(tt.err.Error(), part) {
				t.Errorf("%q lacks %q", tt.err, part)
			}
		}
	}
	states := []string{
		rivulet.StateInitialized.String(), rivulet.StateConnecting.String(), rivulet.StateConnected.String(),
		rivulet.StateRetrying.String(), rivulet.StateClosed.String(),
	}
	if slices.Sort(states); len(slices.Compact(states)) != 5 {
		t.Errorf("states %v", states)
	}
}
