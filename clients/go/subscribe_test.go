package rivulet_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/protocol"
)

func TestSubscriptionTellsEverythingInOrder(t *testing.T) {
	url := scripted(t, func(p *peer) {
		p.greet()
		p.subscribed(protocol.SubscribedEvent{Position: at(1), Recovered: true})
		p.message("chat:lobby", 2)
		p.send(protocol.Event{CaughtUp: &protocol.CaughtUpEvent{Channel: "chat:lobby", Position: at(2)}})
		p.send(protocol.Event{Position: &protocol.PositionEvent{Channel: "chat:lobby", Position: at(7)}})
		p.message("chat:lobby", 8)
		p.message("chat:lobby", 8) // a repetition
		p.send(protocol.Event{Deleted: &protocol.DeletedEvent{Channel: "chat:lobby", Offset: 2, Position: at(9)}})
		p.send(protocol.Event{Gap: &protocol.GapEvent{Channel: "chat:lobby", Position: at(12), Reason: "purged"}})
		p.message("chat:other", 13) // nobody's
		p.message("chat:lobby", 14)
		p.idle()
	})
	s := subscribe(t, open(t, url, quick()), "chat:lobby", rivulet.SubscribeOptions{})
	got := take(t, s, 8)
	want := []string{
		"subscribed resumed=false recovered=true", "chat:lobby@2", "caught up", "position", "chat:lobby@8",
		"deleted chat:lobby@2", "gap chat:lobby purged", "chat:lobby@14",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if s.Position() != at(14) || !slices.Equal(s.Positions(), []string{at(14)}) {
		t.Errorf("position %s, positions %v, want %s", s.Position(), s.Positions(), at(14))
	}
}

// cut is a script whose first connection is cut off after offset 3, and whose
// second answers the resumption with then and goes on.
func cut(then protocol.SubscribedEvent, resumed chan<- *protocol.SubscribeCommand, next ...uint64) func(p *peer) {
	return func(p *peer) {
		p.greet()
		if p.n == 1 {
			p.subscribed(protocol.SubscribedEvent{Position: at(0), Recovered: true})
			for offset := range uint64(3) {
				p.message("chat:lobby", offset+1)
			}
			p.cutOff()
			return
		}
		resumed <- p.subscribed(then)
		for _, offset := range next {
			p.message("chat:lobby", offset)
		}
		p.idle()
	}
}

func TestResumesFromTheLastMessage(t *testing.T) {
	resumed := make(chan *protocol.SubscribeCommand, 1)
	url := scripted(t, cut(protocol.SubscribedEvent{Position: at(3), Recovered: true}, resumed, 2, 3, 4, 5))
	s := subscribe(t, open(t, url, quick()), "chat:lobby", rivulet.SubscribeOptions{Last: 50})
	got := take(t, s, 7)
	want := []string{
		"subscribed resumed=false recovered=true", "chat:lobby@1", "chat:lobby@2", "chat:lobby@3",
		"subscribed resumed=true recovered=true", "chat:lobby@4", "chat:lobby@5",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if c := await(t, resumed); c.Position != at(3) || c.Last != 0 {
		t.Errorf("resumed with %+v, want the position %s and no last", c, at(3))
	}
}

func TestLostHistoryIsToldAndForgotten(t *testing.T) {
	resumed := make(chan *protocol.SubscribeCommand, 1)
	url := scripted(t, cut(protocol.SubscribedEvent{Position: at(1), Reason: "log_changed"}, resumed, 2))
	s := subscribe(t, open(t, url, quick()), "chat:lobby", rivulet.SubscribeOptions{})
	var got []uint64
	for m, err := range s.Messages(limit(t)) {
		if gap, ok := errors.AsType[*rivulet.GapError](err); ok {
			if gap.Reason != "log_changed" || !slices.Equal(gap.Positions, []string{at(1)}) {
				t.Errorf("gap %+v", gap)
			}
			got = append(got, 0)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, m.Offset); len(got) == 5 {
			break
		}
	}
	if want := []uint64{1, 2, 3, 0, 2}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v (0 is the gap)", got, want)
	}
}

func TestAnotherStreamIsNoDuplicate(t *testing.T) {
	url := scripted(t, func(p *peer) {
		p.greet()
		p.subscribed(protocol.SubscribedEvent{Position: at(9), Recovered: true})
		p.message("a:x", 10)
		p.send(protocol.Event{Message: &protocol.MessageEvent{Channel: "a:x", Offset: 1, Position: atStream("BBBBB", 1), Data: []byte("1")}})
		p.idle()
	})
	s := subscribe(t, open(t, url, quick()), "a:x", rivulet.SubscribeOptions{})
	if got := take(t, s, 3); !slices.Equal(got[1:], []string{"a:x@10", "a:x@1"}) {
		t.Errorf("got %q", got)
	}
}

func TestStartOfASubscription(t *testing.T) {
	tests := []struct {
		name    string
		channel string
		opts    rivulet.SubscribeOptions
		want    protocol.SubscribeCommand
		field   string // of the error, if one is expected
	}{
		{name: "live", channel: "lobby", want: protocol.SubscribeCommand{Channel: "default:lobby"}},
		{name: "last", channel: "a:b", opts: rivulet.SubscribeOptions{Last: 5}, want: protocol.SubscribeCommand{Channel: "a:b", Last: 5}},
		{name: "position", channel: "a:b", opts: rivulet.SubscribeOptions{Position: at(5)}, want: protocol.SubscribeCommand{Channel: "a:b", Position: at(5)}},
		{name: "filter", channel: "a:b", opts: rivulet.SubscribeOptions{Filter: "user != ''"}, want: protocol.SubscribeCommand{Channel: "a:b", Filter: "user != ''"}},
		{name: "conflate", channel: "a:b", opts: rivulet.SubscribeOptions{Conflate: rivulet.ConflateKey, MaxRate: 5}, want: protocol.SubscribeCommand{Channel: "a:b", Conflate: "key", MaxRate: 5}},
		{name: "positions of a channel", channel: "a:b", opts: rivulet.SubscribeOptions{Positions: []string{at(5)}}, want: protocol.SubscribeCommand{Channel: "a:b", Position: at(5)}},
		{name: "positions", channel: "a:>", opts: rivulet.SubscribeOptions{Positions: []string{at(5)}}, want: protocol.SubscribeCommand{Channel: "a:>", Positions: []string{at(5)}}},
		{name: "two starts", channel: "a:b", opts: rivulet.SubscribeOptions{Position: at(5), Last: 1}, field: "position"},
		{name: "last too large", channel: "a:b", opts: rivulet.SubscribeOptions{Last: 1001}, field: "last"},
		{name: "position of a pattern", channel: "a:*", opts: rivulet.SubscribeOptions{Position: at(5)}, field: "position"},
		{name: "two positions of a channel", channel: "a:b", opts: rivulet.SubscribeOptions{Positions: []string{at(5), at(6)}}, field: "positions"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			asked := make(chan *protocol.SubscribeCommand, 1)
			c := open(t, scripted(t, func(p *peer) {
				p.greet()
				asked <- p.subscribed(protocol.SubscribedEvent{Recovered: true})
				p.idle()
			}), quick())
			_, err := c.Subscribe(limit(t), tt.channel, tt.opts)
			if e, ok := errors.AsType[*rivulet.Error](err); ok != (tt.field != "") || ok && e.Field != tt.field {
				t.Fatalf("error %v, want one of field %q", err, tt.field)
			}
			if tt.field != "" {
				return
			}
			if got := await(t, asked); got.Channel != tt.want.Channel || got.Position != tt.want.Position ||
				got.Last != tt.want.Last || !slices.Equal(got.Positions, tt.want.Positions) {
				t.Errorf("asked for %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestPatternKeepsThePositionOfEachStream(t *testing.T) {
	resumed := make(chan *protocol.SubscribeCommand, 1)
	url := scripted(t, func(p *peer) {
		p.greet()
		if p.n == 2 {
			resumed <- p.subscribed(protocol.SubscribedEvent{Positions: []string{at(3)}, Recovered: true})
			p.idle()
		}
		p.subscribed(protocol.SubscribedEvent{Positions: []string{at(1), atStream("BBBBB", 5), atStream("CCCCC", 1)}, Recovered: true})
		p.message("orders:eu.x", 2)
		p.send(protocol.Event{Message: &protocol.MessageEvent{Channel: "orders:us", Offset: 6, Position: atStream("BBBBB", 6), Data: []byte("1")}})
		p.message("orders:eu.y", 3)
		p.send(protocol.Event{Position: &protocol.PositionEvent{Channel: "orders:>", Position: atStream("CCCCC", 8)}})
		p.send(protocol.Event{Gap: &protocol.GapEvent{Channel: "orders:us", Position: atStream("BBBBB", 7), Reason: "purged"}})
		p.cutOff()
	})
	s := subscribe(t, open(t, url, quick()), "orders:>", rivulet.SubscribeOptions{})
	got := take(t, s, 7)
	want := []string{
		"subscribed resumed=false recovered=true", "orders:eu.x@2", "orders:us@6", "orders:eu.y@3", "position",
		"gap orders:us purged", "subscribed resumed=true recovered=true",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if c := await(t, resumed); !slices.Equal(c.Positions, []string{at(3), atStream("BBBBB", 7), atStream("CCCCC", 8)}) || c.Position != "" {
		t.Errorf("resumed with %+v", c)
	}
	if got := s.Positions(); !slices.Equal(got, []string{at(3)}) {
		t.Errorf("positions %v: those of `subscribed` must replace the old ones", got)
	}
}

func TestMessageGoesToOneSubscription(t *testing.T) {
	url := scripted(t, func(p *peer) {
		p.greet()
		p.subscribed(protocol.SubscribedEvent{Positions: []string{at(10)}, Recovered: true}) // orders:>
		p.subscribed(protocol.SubscribedEvent{Positions: []string{at(10)}, Recovered: true}) // orders:*
		p.subscribed(protocol.SubscribedEvent{Position: at(20), Recovered: true})            // orders:eu
		p.message("orders:eu", 15)                                                           // before the exact one began
		p.message("orders:eu", 21)
		p.message("orders:us", 22)
		p.message("orders:us.ny", 23)
		c := p.receive()
		p.send(protocol.Event{ID: c.ID, Unsubscribed: &protocol.UnsubscribedEvent{Channel: c.Unsubscribe.Channel}})
		p.message("orders:eu", 24)
		c = p.receive()
		p.send(protocol.Event{ID: c.ID, Unsubscribed: &protocol.UnsubscribedEvent{Channel: c.Unsubscribe.Channel}})
		p.message("orders:eu", 25)
		p.message("orders:us.ny", 26)
		p.idle()
	})
	c := open(t, url, quick())
	rest := subscribe(t, c, "orders:>", rivulet.SubscribeOptions{})
	one := subscribe(t, c, "orders:*", rivulet.SubscribeOptions{})
	exact := subscribe(t, c, "orders:eu", rivulet.SubscribeOptions{})
	if _, err := c.Subscribe(limit(t), "orders:eu", rivulet.SubscribeOptions{}); !errors.Is(err, rivulet.ErrAlreadySubscribed) {
		t.Errorf("second subscription: %v", err)
	}
	if _, err := c.Join(limit(t), "orders:eu", "crew", rivulet.GroupOptions{}); !errors.Is(err, rivulet.ErrAlreadySubscribed) || !strings.Contains(err.Error(), "use another Client") {
		t.Errorf("a member of a channel that it is subscribed to: %v", err)
	}
	if got := take(t, exact, 2); got[1] != "orders:eu@21" {
		t.Errorf("exact got %q", got)
	}
	if err := exact.Unsubscribe(limit(t)); err != nil {
		t.Fatal(err)
	}
	for u, err := range exact.Updates(limit(t)) {
		t.Errorf("after Unsubscribe: %+v, %v", u, err)
	}
	if got := take(t, rest, 5); !slices.Equal(got[1:], []string{"orders:eu@15", "orders:us@22", "orders:us.ny@23", "orders:eu@24"}) {
		t.Errorf("the older pattern got %q", got)
	}
	if err := rest.Unsubscribe(limit(t)); err != nil {
		t.Fatal(err)
	}
	if got := take(t, one, 2); got[1] != "orders:eu@25" {
		t.Errorf("the newer pattern got %q", got)
	}
}

func TestSubscribeErrors(t *testing.T) {
	refuse := func(code protocol.Code) func(p *peer, c *protocol.Command) {
		return func(p *peer, c *protocol.Command) {
			p.send(protocol.Event{ID: c.ID, Error: &protocol.ErrorEvent{Code: code, Message: "no", Field: "channel", Temporary: code.Temporary()}})
		}
	}
	end := func(code protocol.Code) func(p *peer, c *protocol.Command) {
		return func(p *peer, c *protocol.Command) {
			p.send(protocol.Event{ID: c.ID, Subscribed: &protocol.SubscribedEvent{Channel: "a:b", Position: at(4), Recovered: true}})
			p.send(protocol.Event{Unsubscribed: &protocol.UnsubscribedEvent{Channel: "a:b", Code: code, Reason: "over"}})
		}
	}
	tests := []struct {
		name string
		act  func(p *peer, c *protocol.Command)
		want protocol.Code // of the end; 0 if it is taken up again
	}{
		{"forbidden", refuse(protocol.ErrorForbidden), protocol.ErrorForbidden},
		{"unavailable", refuse(protocol.ErrorUnavailable), 0},
		{"too many requests", refuse(protocol.ErrorTooManyRequests), 0},
		{"resubscribe", end(protocol.ErrorResubscribe), 0},
		{"revoked", end(protocol.ErrorRevoked), protocol.ErrorRevoked},
		{"revoked by a later code", end(4777), 4777},
		{"ended without a code", end(0), protocol.ErrorRevoked},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := open(t, scripted(t, func(p *peer) {
				p.greet()
				tt.act(p, p.receive())
				p.subscribed(protocol.SubscribedEvent{Position: at(4), Recovered: true})
				p.message("a:b", 5)
				p.idle()
			}), quick())
			s, err := c.Subscribe(limit(t), "a:b", rivulet.SubscribeOptions{})
			for s != nil && err == nil {
				err = limit(t).Err()
				for m, e := range s.Messages(limit(t)) {
					if err = e; e == nil && m.Offset == 5 {
						err = errors.New("went on")
					}
					break
				}
			}
			e, ended := errors.AsType[*rivulet.Error](err)
			if ended != (tt.want != 0) || ended && e.Code != tt.want {
				t.Fatalf("error %v, want code %d", err, tt.want)
			}
			if n := strings.Count(err.Error(), "rivulet: "); ended && n != 1 {
				t.Errorf("%q has its prefix %d times", err, n)
			}
			if s != nil && ended && !errors.Is(s.Err(), e) {
				t.Errorf("Err() is %v", s.Err())
			}
		})
	}
}

func TestSubscribeGivesUpWithItsContext(t *testing.T) {
	asked, answer, gone := make(chan struct{}), make(chan struct{}), make(chan *protocol.Command, 1)
	c := open(t, scripted(t, func(p *peer) {
		p.greet()
		c := p.receive()
		close(asked)
		await(t, answer)
		p.send(protocol.Event{ID: c.ID, Subscribed: &protocol.SubscribedEvent{Channel: "a:b", Position: at(1), Recovered: true}})
		gone <- p.receive()
		p.idle()
	}), quick())
	ctx, cancel := context.WithCancel(limit(t))
	go func() { <-asked; cancel() }()
	if _, err := c.Subscribe(ctx, "a:b", rivulet.SubscribeOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	close(answer)
	if c := await(t, gone); c.Unsubscribe == nil || c.Unsubscribe.Channel != "a:b" {
		t.Errorf("the node then got %+v, want unsubscribe", c)
	}
}

func TestCallbacks(t *testing.T) {
	url := scripted(t, func(p *peer) {
		p.greet()
		p.subscribed(protocol.SubscribedEvent{Position: at(0), Recovered: true})
		for offset := range uint64(100) {
			p.message("a:b", offset+1)
		}
		for {
			switch c := p.receive(); {
			case c.Publish != nil:
				p.send(protocol.Event{ID: c.ID, Published: &protocol.PublishedEvent{Channel: "a:c", Offset: 1, Position: at(1)}})
			case c.Unsubscribe != nil: // for want of room
				p.send(protocol.Event{ID: c.ID, Unsubscribed: &protocol.UnsubscribedEvent{Channel: "a:b"}})
			case c.Subscribe != nil:
				p.send(protocol.Event{ID: c.ID, Subscribed: &protocol.SubscribedEvent{Channel: "a:b", Position: c.Subscribe.Position, Recovered: true}})
			}
		}
	})
	c := open(t, url, quick())
	got := make(chan string, 200)
	s := subscribe(t, c, "a:b", rivulet.SubscribeOptions{
		Buffer:  4,
		OnEvent: func(u rivulet.Update) { got <- short(u) },
		OnMessage: func(m *rivulet.Message) {
			// What waits for a reply must not wait for the buffer that this callback empties.
			if _, err := c.Publish(t.Context(), "a:c", m.Offset, rivulet.PublishOptions{}); err != nil && t.Context().Err() == nil {
				t.Error(err)
			}
			got <- m.Position
		},
	})
	if first := await(t, got); first != "subscribed resumed=false recovered=true" {
		t.Errorf("first %q", first)
	}
	for offset := range uint64(4) {
		if p := await(t, got); p != at(offset+1) {
			t.Fatalf("got %s, want %s", p, at(offset+1))
		}
	}
	for _, err := range s.Updates(limit(t)) {
		if !errors.Is(err, rivulet.ErrHasCallbacks) {
			t.Errorf("ranging over a subscription with callbacks: %v", err)
		}
	}
}
