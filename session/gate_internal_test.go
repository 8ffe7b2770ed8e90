package session

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// yes is a hook that allows everything.
type yes struct{}

func (yes) Asks(string) bool { return true }

func (yes) Allow(context.Context, auth.Claims, string, fanout.Channel) error { return nil }

// thoughtfulStore takes its time over where a subscription begins.
type thoughtfulStore struct {
	memoryStore

	looking, found chan struct{}
}

func (s *thoughtfulStore) StartOf(context.Context, fanout.Channel, fanout.Start) (fanout.Position, error) {
	s.looking <- struct{}{}
	<-s.found
	return fanout.Nowhere(), nil
}

// TestAPlaceInVainIsGivenUp: a durable subscription that is taken back while its place is
// made leaves none, and one that follows at once gets its own.
func TestAPlaceInVainIsGivenUp(t *testing.T) {
	for name, again := range map[string]bool{"once": false, "again": true} {
		t.Run(name, func(t *testing.T) {
			store := &thoughtfulStore{looking: make(chan struct{}, 4), found: make(chan struct{}, 4)}
			s := connection(t, store, slog.New(slog.DiscardHandler))
			s.registry.services.Subscribe = yes{}
			if _, err := s.takeDurable(t.Context(), s.claimed(), "phone"); err != nil {
				t.Fatal(err)
			}
			cmd := &protocol.Command{ID: 1, Subscribe: &protocol.SubscribeCommand{Channel: "chat:a", Durable: true}}
			req, err := ParseSubscribe(cmd.Subscribe)
			if err != nil {
				t.Fatal(err)
			}
			ask := func() {
				t.Helper()
				if asked, err := s.askFirst(t.Context(), cmd, req, nil); err != nil || !asked {
					t.Fatal(asked, err)
				}
			}
			ask()
			<-store.looking
			if !s.unask(req.Channel) {
				t.Fatal("nothing waits")
			}
			if again {
				ask()
				store.found <- struct{}{}
			}
			store.found <- struct{}{}
			s.work.Wait()
			_, placed := s.durable.Load().place(req.Channel)
			_, joined := s.joined(req.Channel)
			if placed != again || joined != again {
				t.Errorf("has a place: %v, is subscribed: %v, want %v", placed, joined, again)
			}
		})
	}
}

// TestALapsedTokenBeginsNothing: a subscription token whose time ends while a hook thinks
// lets nothing begin.
func TestALapsedTokenBeginsNothing(t *testing.T) {
	caps, err := auth.NewCapabilities(map[string][]auth.Action{"chat:a": {auth.Subscribe}})
	if err != nil {
		t.Fatal(err)
	}
	for name, left := range map[string]time.Duration{"over": -time.Second, "not yet": time.Hour} {
		t.Run(name, func(t *testing.T) {
			s := connection(t, &memoryStore{}, slog.New(slog.DiscardHandler))
			s.admit(auth.Claims{Subject: "alice"})
			s.registry.services.Subscribe = yes{}
			cmd := &protocol.Command{ID: 1, Subscribe: &protocol.SubscribeCommand{Channel: "chat:a"}}
			req, err := ParseSubscribe(cmd.Subscribe)
			if err != nil {
				t.Fatal(err)
			}
			given := &grant{claims: auth.Claims{Capabilities: caps, ExpiresAt: time.Now().Add(left)}}
			if asked, err := s.askFirst(t.Context(), cmd, req, given); err != nil || !asked {
				t.Fatal(asked, err)
			}
			s.work.Wait()
			if _, joined := s.joined(req.Channel); joined != (left > 0) {
				t.Errorf("is subscribed: %v", joined)
			}
		})
	}
}

// TestConnectThatFailsMayComeAgain: where the log does not take a durable session, nothing of
// the connect has happened, so that the next does all of it.
func TestConnectThatFailsMayComeAgain(t *testing.T) {
	store := &memoryStore{onTake: func(string) error { return fanout.ErrUnavailable }}
	s := connection(t, store, slog.New(slog.DiscardHandler))
	s.registry.services.Auth = naming{}
	cmd := &protocol.Command{ID: 1, Connect: &protocol.ConnectCommand{Token: "bob", Session: "phone"}}
	if err := connect(t.Context(), s, cmd); !errors.Is(err, fanout.ErrUnavailable) {
		t.Fatal(err)
	}
	if who := s.claimed().Subject; who != "alice" || s.opened || s.durable.Load() != nil {
		t.Errorf("it is the connection of %s", who)
	}
	store.onTake = nil
	if err := connect(t.Context(), s, cmd); err != nil {
		t.Fatal(err)
	}
	channel, err := fanout.ParseChannel("chat:a")
	if err != nil {
		t.Fatal(err)
	}
	if _, joined := s.joined(channel); !joined || s.claimed().Subject != "bob" || s.durable.Load().id.User != "bob" {
		t.Errorf("subscribed to what the token names: %v", joined)
	}
}

// naming finds claims in every token that name a channel.
type naming struct{}

func (naming) Authenticate(context.Context, string) (auth.Claims, error) {
	return auth.Claims{Subject: "bob", Capabilities: auth.Everything(), Channels: []string{"chat:a"}}, nil
}
