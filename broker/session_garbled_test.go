package broker_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/broker/webhook"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/migrations"
)

// What somebody else wrote into the bucket stops nothing but itself.
func TestSessionRecordThatIsNone(t *testing.T) {
	a := nodes(t, storeCase{store: broker.SessionsInKV}, broker.SessionPolicy{})[0]
	at := publishMany(t, a.Broker, "t:a", 0, 3)
	if _, err := a.JetStream().Publish(t.Context(), migrations.SessionSubject(alice.User, "garbled"), []byte("{")); err != nil {
		t.Fatal(err)
	}
	rec := take(t, a, alice, "c1", false)
	save(t, a, rec, fanout.SessionChange{Added: places(t, "t:a", at[0])}) // counts them all
	save(t, a, rec, fanout.SessionChange{Moved: places(t, "t:a", at[1])})
	list, _, err := a.sessions.List(t.Context(), "", 0, 10)
	if err != nil || len(list) != 1 {
		t.Errorf("list: %v, %v", list, err)
	}
	if p, ok, err := a.sessions.Acknowledged(t.Context(), alice.User, channel(t, "t:a")); err != nil || !ok || len(p) != 1 || p[0].Through != at[1] {
		t.Errorf("acknowledged: %v, %v, %v", p, ok, err)
	}
	a.sessions.ExpireAll(t)
	if got := a.expired.told(); len(got) != 1 {
		t.Errorf("expired: %q", got)
	}
}

// What a session never had it has not acknowledged, whatever its position: not what was
// there before it began, nor what an operator had it pass over.
func TestSessionAcknowledged(t *testing.T) {
	for _, store := range []broker.SessionStore{broker.SessionsInKV, broker.SessionsInConsumers} {
		t.Run(string(store), func(t *testing.T) {
			a := nodes(t, storeCase{store: store}, broker.SessionPolicy{})[0]
			at := publishMany(t, a.Broker, "t:a", 0, 6)
			spans := func(what string, want ...webhook.Span) {
				t.Helper()
				got, exists, err := a.sessions.Acknowledged(t.Context(), alice.User, channel(t, "t:a"))
				if err != nil || !exists || !slices.Equal(got, want) {
					t.Errorf("%s: %v, %v, %v; want %v", what, got, exists, err, want)
				}
			}
			rec := take(t, a, alice, "c1", false)
			save(t, a, rec, fanout.SessionChange{Added: places(t, "t:a", at[2])})
			spans("nothing yet")
			save(t, a, rec, fanout.SessionChange{Moved: places(t, "t:a", at[3])})
			spans("one", webhook.Span{After: at[2].Offset, Through: at[3]})
			save(t, a, rec, fanout.SessionChange{Release: true})
			if _, err := a.sessions.Reset(t.Context(), alice, places(t, "t:a", at[5])); err != nil {
				t.Fatal(err)
			}
			spans("after a reset to the end")
		})
	}
}

// Who waits for a count of all sessions waits no longer than its caller.
func TestSessionCountIsNotAwaited(t *testing.T) {
	a := nodes(t, storeCase{store: broker.SessionsInKV}, broker.SessionPolicy{})[0]
	rec := take(t, a, alice, "c1", false)
	done := a.sessions.HoldCount()
	defer done()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	begin := time.Now()
	err := a.sessions.Save(ctx, rec, fanout.SessionChange{Added: places(t, "t:a", fanout.Nowhere())})
	if !errors.Is(err, fanout.ErrUnavailable) || time.Since(begin) > 5*time.Second {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
}
