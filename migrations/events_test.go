package migrations_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rivulet-rt/rivulet/migrations"
)

func TestOccupancySubjects(t *testing.T) {
	seen := map[string]bool{migrations.OccupancyTold(1): true}
	for _, at := range [][2]string{{"told", ""}, {"", ""}, {"", "told"}, {"chat:a", ""}, {"chat", "a"}, {"told.", ""}} {
		s := migrations.OccupancySubject(1, at[0], at[1])
		if seen[s] || !strings.HasPrefix(s, strings.TrimSuffix(migrations.OccupancyAll(1), ">")) {
			t.Errorf("%q is at %s", at, s)
		}
		seen[s] = true
	}
}

// The room for who is subscribed follows that of events, but what is in it is not
// discarded, and where there is no room for more the node starts all the same.
func TestEnsureEventsSizesTheLedger(t *testing.T) {
	js := start(t, 1)[0]
	if _, err := migrations.Apply(t.Context(), js, migrations.Options{}); err != nil {
		t.Fatal(err)
	}
	ensure := func(maxBytes, want int64) {
		t.Helper()
		spec := migrations.EventsSpec{Replicas: 1, MaxAge: time.Hour, MaxBytes: maxBytes}
		if err := migrations.EnsureEvents(t.Context(), js, spec, "x"); err != nil {
			t.Fatal(err)
		}
		s, err := js.Stream(t.Context(), migrations.OccupancyStream)
		if err != nil {
			t.Fatal(err)
		}
		if cfg := s.CachedInfo().Config; cfg.MaxBytes != want || cfg.MaxMsgsPerSubject != 1 || !cfg.AllowMsgTTL {
			t.Errorf("for %d MiB of events %d MiB, want %d", maxBytes>>20, cfg.MaxBytes>>20, want>>20)
		}
		events, err := js.Stream(t.Context(), migrations.EventStream(0))
		if err != nil || events.CachedInfo().Config.MaxBytes != maxBytes/migrations.EventPartitions {
			t.Errorf("a partition has not what it should, %v", err)
		}
	}
	ensure(16<<20, 8<<20)
	ensure(64<<20, 16<<20)
	ensure(256<<20, 64<<20)
	ensure(64<<20, 16<<20) // it is empty
	for i := range 12 {    // 12 MiB
		if _, err := js.Publish(t.Context(), migrations.OccupancySubject(0, fmt.Sprint(i), ""), make([]byte, 1023<<10)); err != nil {
			t.Fatal(err)
		}
	}
	ensure(32<<20, 16<<20)
	free := int64(1 << 30)
	for info := range js.ListStreams(t.Context()).Info() {
		free -= max(info.Config.MaxBytes, 0)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "X", Subjects: []string{"x"}, MaxBytes: free - 100<<20}); err != nil {
		t.Fatal(err)
	}
	ensure(128<<20, 16<<20)
}
