package broker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/broker"
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
	save(t, a, rec, fanout.SessionChange{Added: places(t, "t:a", at[1])}) // counts them all
	list, _, err := a.sessions.List(t.Context(), "", 0, 10)
	if err != nil || len(list) != 1 {
		t.Errorf("list: %v, %v", list, err)
	}
	if p, ok, err := a.sessions.Acknowledged(t.Context(), alice.User, channel(t, "t:a")); err != nil || !ok || p != at[1] {
		t.Errorf("acknowledged: %v, %v, %v", p, ok, err)
	}
	a.sessions.ExpireAll(t)
	if got := a.expired.told(); len(got) != 1 {
		t.Errorf("expired: %q", got)
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
