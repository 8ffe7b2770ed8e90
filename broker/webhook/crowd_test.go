package webhook_test

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivulet-rt/rivulet/broker/webhook"
)

// pass lets time pass in a bubble, and what is due then happen.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // the bubble's own time
	synctest.Wait()
}

// A node that is no longer heard of counts as without subscribers, but not before: who is
// silent for less has missed a report.
func TestSilentNodeHasNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		log := slog.New(slog.DiscardHandler)
		holder, other := w.engine(t, "holder", true, log), w.engine(t, "other", false, log)
		c := patterns(t, "chat:room")[0]
		other.Occupied(c)
		pass(time.Minute) // its reports say that it lives
		if got := w.types("chat:room"); !slices.Equal(got, []string{"channel.occupied"}) {
			t.Fatalf("told of %q", got)
		}
		if err := other.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		pass(10 * time.Second)
		if got := w.types("chat:room"); len(got) != 1 {
			t.Errorf("after ten seconds told of %q", got)
		}
		pass(15 * time.Second)
		if got := w.types("chat:room"); !slices.Equal(got, []string{"channel.occupied", "channel.vacated"}) {
			t.Errorf("after 25 seconds told of %q", got)
		}
		if err := holder.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// However much is said of members, a report fits into a message, and is not longer for
// what is in it.
func TestReportsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		log := slog.New(slog.DiscardHandler)
		holder, other := w.engine(t, "holder", true, log), w.engine(t, "other", false, log)
		c := patterns(t, "chat:room")[0]
		info := []byte(`"` + strings.Repeat("<", 1000) + `"`)
		const members = 2000
		other.Occupied(c)
		for i := range members {
			other.Joined(c, webhook.Member{User: fmt.Sprintf("user-%d", i), Client: fmt.Sprint(i), Info: info})
		}
		pass(time.Minute)
		if got := w.types("chat:room"); len(got) != members+1 {
			t.Errorf("told of %d", len(got))
		}
		if most := slices.Max(w.reports); most > 300<<10 || most < 100<<10 {
			t.Errorf("the largest report has %d bytes", most)
		}
		for _, e := range []*webhook.Engine{other, holder} {
			if err := e.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A holder that dies between the record that somebody is gone and the event is followed
// by one that tells of it, also of whom, though the ledger keeps little of who is gone.
func TestGoneIsToldByTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		log := slog.New(slog.DiscardHandler)
		first := w.engine(t, "first", true, log)
		c := patterns(t, "chat:room")[0]
		ann := webhook.Member{User: "ann", Client: "1", Info: []byte(`{"n":1}`)}
		bob := webhook.Member{Client: "2"}
		for _, m := range []webhook.Member{ann, bob} {
			first.Joined(c, m)
		}
		pass(20 * time.Second)
		w.set(func() { w.refuse = true })
		for _, m := range []webhook.Member{ann, bob} {
			first.Left(c, m)
		}
		pass(20 * time.Second)
		if err := first.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.set(func() { w.refuse = false })
		second := w.engine(t, "second", true, log)
		pass(time.Second)
		got := w.types("chat:room")
		slices.Sort(got)
		if !slices.Equal(got, []string{"member.joined 2", "member.joined ann", "member.left 2", "member.left ann"}) {
			t.Errorf("told of %q", got)
		}
		if err := second.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// A ledger that fills up is told of once.
func TestFullLedgerIsToldOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var said strings.Builder
		e := w.engine(t, "a", true, slog.New(slog.NewTextHandler(&said, nil)))
		for _, used := range []float64{0.79, 0.81, 0.9, 0.75, 0.85, 0.5, 0.8} {
			w.set(func() { w.used = used })
			pass(31 * time.Second)
		}
		if got := w.gauge(t, "rivulet_webhook_ledger_used_ratio"); got != 0.8 {
			t.Errorf("the gauge says %v", got)
		}
		if err := e.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(said.String(), "almost full"); n != 2 {
			t.Errorf("said %d times: %s", n, said.String())
		}
	})
}
