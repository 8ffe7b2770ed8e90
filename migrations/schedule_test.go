package migrations_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rivulet-rt/rivulet/migrations"
)

func TestScheduleSubjects(t *testing.T) {
	for _, segments := range [][]string{{"a"}, {"a", "b-1", "ü.x"}, {"*"}, {"", "x"}} {
		subject := migrations.ScheduleSubject("id_-1", "ns", segments)
		id, channel, ok := migrations.ParseSchedule(subject)
		want := "ns:" + segments[0]
		for _, s := range segments[1:] {
			want += "." + s
		}
		if !ok || id != "id_-1" || channel != want {
			t.Errorf("%q is of %q, %q, %v; want %q", subject, id, channel, ok, want)
		}
	}
	for _, subject := range []string{"", "schedule.", "schedule.id", "schedule.id.ns", "c.ns.1.0.a", "schedule..ns.a", "schedule.id.ns.=2"} {
		if id, channel, ok := migrations.ParseSchedule(subject); ok {
			t.Errorf("%q is of %q, %q", subject, id, channel)
		}
	}
	for want, got := range map[string]string{
		"schedule.>":        migrations.ScheduleFilter("", "", nil),
		"schedule.x.>":      migrations.ScheduleFilter("x", "ns", []string{"a"}),
		"schedule.*.ns.>":   migrations.ScheduleFilter("", "ns", nil),
		"schedule.*.ns.a.b": migrations.ScheduleFilter("", "ns", []string{"a", "b"}),
	} {
		if got != want {
			t.Errorf("filter %q, want %q", got, want)
		}
	}
}

// What waits is never dropped for something newer.
func TestScheduleStreamRefuses(t *testing.T) {
	js := start(t, 1)[0]
	for range 2 { // the step may be run again
		if _, err := migrations.Apply(t.Context(), js, migrations.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	s, err := js.Stream(t.Context(), migrations.ScheduleStream)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	if cfg.Discard != jetstream.DiscardNew || cfg.MaxMsgs != migrations.MaxSchedules || cfg.MaxBytes != migrations.MaxScheduleBytes || cfg.MaxAge != 0 {
		t.Errorf("configuration %+v", cfg)
	}
	if _, err := js.Publish(t.Context(), "schedule.a.ns.x", []byte("1")); err != nil {
		t.Fatal(err)
	}
	if ack, err := js.Publish(t.Context(), "schedule.a.ns.x", []byte("2")); err == nil {
		t.Errorf("a second one under the same ID: %+v", ack)
	}
}

func TestDuty(t *testing.T) {
	nodes := start(t, 2)
	if _, err := migrations.Apply(t.Context(), nodes[0], migrations.Options{}); err != nil {
		t.Fatal(err)
	}
	var duties [2]*migrations.Duty
	for i, js := range nodes {
		var err error
		if duties[i], err = migrations.OpenDuty(t.Context(), js, "work", "node"); err != nil {
			t.Fatal(err)
		}
	}
	try := func(i int, want bool) {
		t.Helper()
		if got, err := duties[i].Try(t.Context()); err != nil || got != want {
			t.Fatalf("node %d: %v, %v; want %v", i, got, err, want)
		}
	}
	try(0, true)
	try(1, false)
	try(0, true)
	if err := duties[1].Leave(t.Context()); err != nil {
		t.Error(err)
	}
	try(1, false)
	if err := duties[0].Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	try(1, true)
	try(0, false)
	// A node that is gone loses it, though it was renewed before.
	try(1, true)
	began := time.Now()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for mine := false; !mine; <-poll.C {
		var err error
		if mine, err = duties[0].Try(t.Context()); err != nil || time.Since(began) > 5*migrations.DutyTTL {
			t.Fatal(mine, err)
		}
	}
	if waited := time.Since(began); waited < migrations.DutyTTL {
		t.Errorf("taken over after %v", waited)
	}
	try(1, false)
}

// The mark of a stream stays when its namespace is changed.
func TestMarkSingly(t *testing.T) {
	nodes := start(t, 2)
	if _, err := migrations.Apply(t.Context(), nodes[0], migrations.Options{}); err != nil {
		t.Fatal(err)
	}
	spec := migrations.Spec{Name: "n", Partitions: 2, MaxBytes: 64 << 20, MaxPerChannel: 10}
	ns, err := migrations.EnsureNamespace(t.Context(), nodes[0], spec, "x")
	if err != nil {
		t.Fatal(err)
	}
	marked := func(p int) bool {
		t.Helper()
		s, err := nodes[0].Stream(t.Context(), ns.Layout().Stream(p))
		if err != nil {
			t.Fatal(err)
		}
		return migrations.LeftSingly(s.CachedInfo().Config.Metadata)
	}
	for range 2 {
		if err := migrations.MarkSingly(t.Context(), nodes[1], ns.Layout(), 1, "y"); err != nil {
			t.Fatal(err)
		}
	}
	spec.MaxPerChannel = 20
	if _, err := migrations.EnsureNamespace(t.Context(), nodes[0], spec, "x"); err != nil {
		t.Fatal(err)
	}
	if marked(0) || !marked(1) {
		t.Errorf("marked: %v, %v; want the second alone", marked(0), marked(1))
	}
	err = migrations.MarkSingly(t.Context(), nodes[0], migrations.Layout{Namespace: "none", Generation: 1, Partitions: 1}, 0, "y")
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("no such stream: %v", err)
	}
}
