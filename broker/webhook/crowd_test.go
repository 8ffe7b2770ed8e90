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

// A node that is no longer heard of counts as without subscribers, but not before: who is
// silent for less has missed a report.
func TestSilentNodeHasNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		log := slog.New(slog.DiscardHandler)
		holder, other := w.engine(t, "holder", true, log), w.engine(t, "other", false, log)
		c := patterns(t, "chat:room")[0]
		other.Occupied(c)
		time.Sleep(time.Minute) // its reports say that it lives
		synctest.Wait()
		if got := w.types("chat:room"); !slices.Equal(got, []string{"channel.occupied"}) {
			t.Fatalf("told of %q", got)
		}
		if err := other.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := w.types("chat:room"); len(got) != 1 {
			t.Errorf("after ten seconds told of %q", got)
		}
		time.Sleep(15 * time.Second)
		synctest.Wait()
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
		time.Sleep(time.Minute)
		synctest.Wait()
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
