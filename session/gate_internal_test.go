package session

import (
	"context"
	"log/slog"
	"testing"

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
			if _, err := s.takeDurable(t.Context(), "phone"); err != nil {
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
			_, placed := s.durable.place(req.Channel)
			_, joined := s.joined(req.Channel)
			if placed != again || joined != again {
				t.Errorf("has a place: %v, is subscribed: %v, want %v", placed, joined, again)
			}
		})
	}
}
