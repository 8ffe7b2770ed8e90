package session

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// memoryStore is the log: it lets a test act where a write is under way.
type memoryStore struct {
	DurableStore // what is not here is not called

	onTake func(client string) error
	onSave func(ctx context.Context, change fanout.SessionChange) error

	mu    sync.Mutex // guards the following
	saved []fanout.SessionChange
}

func (s *memoryStore) Take(_ context.Context, id fanout.SessionID, client string) (*fanout.SessionRecord, bool, error) {
	if s.onTake != nil {
		if err := s.onTake(client); err != nil {
			return nil, false, err
		}
	}
	return &fanout.SessionRecord{ID: id, Client: client, Seen: time.Now(), TTL: time.Hour}, false, nil
}

// Save writes into rec, as the store does.
func (s *memoryStore) Save(ctx context.Context, rec *fanout.SessionRecord, change fanout.SessionChange) error {
	if s.onSave != nil {
		if err := s.onSave(ctx, change); err != nil {
			return err
		}
	}
	*rec = *rec.Clone()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saved = append(s.saved, change)
	return nil
}

func (s *memoryStore) StartOf(context.Context, fanout.Channel, fanout.Start) (fanout.Position, error) {
	return fanout.Nowhere(), nil
}

func (s *memoryStore) released() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.saved) > 0 && s.saved[len(s.saved)-1].Release
}

// mute is a codec, the owner of a buffer, and who lets everybody in.
type mute struct{}

func (mute) Event(*protocol.Event) []byte       { return []byte("event") }
func (mute) Message(*fanout.Message) []byte     { return []byte("message") }
func (mute) Ping(bool) []byte                   { return nil }
func (mute) Close(protocol.Code, string) []byte { return nil }
func (mute) Drained()                           {}
func (mute) Finished()                          {}
func (mute) Authenticate(context.Context, string) (auth.Claims, error) {
	return auth.Claims{Subject: "alice", Capabilities: auth.Everything()}, nil
}

// hubClient is a connection's place at the hub.
type hubClient struct{}

func (hubClient) Subscribe(fanout.SubscribeRequest) error  { return nil }
func (hubClient) Unsubscribe(uint64, fanout.Channel) error { return nil }
func (hubClient) Drained()                                 {}
func (hubClient) Close()                                   {}

// connection is a session that is connected, of a registry that nobody has started.
func connection(t *testing.T, store DurableStore, log *slog.Logger) *Session {
	t.Helper()
	cfg := DefaultConfig()
	cfg.MaxSubscriptions = 1
	r, err := NewRegistry(cfg, Services{
		Auth: mute{}, Durable: store, NewClient: func(fanout.Sink) Subscriber { return hubClient{} },
	}, log, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	s := &Session{}
	s.Init(r, mute{}, Handshake{Claims: auth.Claims{Subject: "alice", Capabilities: auth.Everything()}, Given: true}, mute{})
	return s
}

func takeSession(t *testing.T, s *Session) {
	t.Helper()
	if _, err := s.takeDurable(t.Context(), s.claimed(), "phone-1"); err != nil {
		t.Fatal(err)
	}
}

// A session that another takes before this node has heard that it is its own is given up.
func TestDurableIsYieldedWhileItIsTaken(t *testing.T) {
	store := &memoryStore{}
	s := connection(t, store, slog.New(slog.DiscardHandler))
	all, yielded := s.registry.durables, make(chan struct{})
	store.onTake = func(client string) error {
		go func() {
			defer close(yielded)
			all.yield(t.Context(), client, fanout.YieldTaken)
		}()
		return nil
	}
	takeSession(t, s)
	<-yielded
	if !store.released() {
		t.Error("it was not released")
	}
	store.onTake = func(string) error { return fanout.ErrUnavailable }
	if _, err := s.takeDurable(t.Context(), s.claimed(), "phone-1"); !errors.Is(err, fanout.ErrUnavailable) {
		t.Errorf("take: %v", err)
	}
	if n := len(all.byClient); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
}

// The hub may have subscriptions of the handshake's token when connect takes a session: for
// the race detector.
func TestDurableIsTakenWhileTheHubTells(t *testing.T) {
	s := connection(t, &memoryStore{}, slog.New(slog.DiscardHandler))
	channel, err := fanout.ParseChannel("t:a")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 100 {
			s.Notify(fanout.Notice{Kind: fanout.NoticePosition, Channel: channel})
			s.Notify(fanout.Notice{Kind: fanout.NoticeSubscribed, Channel: channel, Token: 7})
		}
	})
	takeSession(t, s)
	wg.Wait()
}

// What a refresh tells does not read what a write writes: for the race detector.
func TestDurableRefreshWhileItIsSaved(t *testing.T) {
	s := connection(t, &memoryStore{}, slog.New(slog.DiscardHandler))
	takeSession(t, s)
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 100 {
			if err := s.durable.Load().save(t.Context(), fanout.SessionChange{}); err != nil {
				t.Errorf("save: %v", err)
			}
		}
	})
	for range 100 {
		if err := refresh(t.Context(), s, &protocol.Command{ID: 1, Refresh: &protocol.RefreshCommand{Token: "x"}}); err != nil {
			t.Errorf("refresh: %v", err)
		}
	}
	wg.Wait()
}

// A subscription that cannot begin leaves no place in the session.
func TestDurablePlaceOfNoSubscription(t *testing.T) {
	store := &memoryStore{}
	s := connection(t, store, slog.New(slog.DiscardHandler))
	takeSession(t, s)
	for i, ch := range []string{"t:a", "t:b"} {
		err := subscribe(t.Context(), s, &protocol.Command{ID: 1, Subscribe: &protocol.SubscribeCommand{Channel: ch, Durable: true}})
		if (err == nil) != (i == 0) {
			t.Fatalf("subscribe to %s: %v", ch, err)
		}
	}
	if len(store.saved) != 1 {
		t.Errorf("saved: %+v", store.saved)
	}
}

// A write that ends after the session was given up does not bring it back.
func TestDurableStaysOver(t *testing.T) {
	store := &memoryStore{}
	s := connection(t, store, slog.New(slog.DiscardHandler))
	takeSession(t, s)
	store.onSave = func(context.Context, fanout.SessionChange) error {
		s.durable.Load().giveUp()
		return nil
	}
	if err := s.durable.Load().save(t.Context(), fanout.SessionChange{}); err != nil {
		t.Fatal(err)
	}
	if err := s.durable.Load().save(t.Context(), fanout.SessionChange{}); !errors.Is(err, fanout.ErrSuperseded) {
		t.Errorf("after it was given up: %v", err)
	}
}

// Sessions that a stop has no time to write are told of.
func TestDurablesThatAStopLeaves(t *testing.T) {
	store := &memoryStore{onSave: func(ctx context.Context, _ fanout.SessionChange) error {
		<-ctx.Done()
		return ctx.Err()
	}}
	var out bytes.Buffer
	s := connection(t, store, slog.New(slog.NewTextHandler(&out, nil)))
	takeSession(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	close(s.registry.durables.done) // run has ended
	s.registry.durables.stop(ctx)
	if got := out.String(); !strings.Contains(got, "sessions=1") || strings.Contains(got, "tried again") {
		t.Errorf("told: %q", got)
	}
}
