package migrations_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rivulet-rt/rivulet/migrations"
)

func TestApply(t *testing.T) {
	js := start(t, 1)[0]
	fresh, err := migrations.Status(t.Context(), js)
	if err != nil || fresh.Version != 0 || len(fresh.Pending) != fresh.Known {
		t.Fatalf("fresh: %+v, %v", fresh, err)
	}
	rep, err := migrations.Apply(t.Context(), js, migrations.Options{By: "node1"})
	if err != nil || rep.From != 0 || rep.To != fresh.Known || len(rep.Applied) != fresh.Known {
		t.Fatalf("first: %+v, %v", rep, err)
	}
	rep, err = migrations.Apply(t.Context(), js, migrations.Options{By: "node2"})
	if err != nil || rep.From != fresh.Known || len(rep.Applied) != 0 {
		t.Fatalf("second: %+v, %v", rep, err)
	}
	state, err := migrations.Status(t.Context(), js)
	if err != nil || state.Version != fresh.Known || len(state.Pending) != 0 {
		t.Fatalf("after: %+v, %v", state, err)
	}
	for i, a := range state.Applied {
		if a.Version != i+1 || a.Name != fresh.Pending[i].Name || a.By != "node1" || time.Since(a.At) > time.Minute {
			t.Errorf("step %d: %+v", i+1, a)
		}
	}
}

func TestApplyConcurrently(t *testing.T) {
	nodes := start(t, 6)
	applied := make([]int, len(nodes))
	var wg sync.WaitGroup
	for i, js := range nodes {
		wg.Go(func() {
			rep, err := migrations.Apply(t.Context(), js, migrations.Options{By: fmt.Sprint(i)})
			if err != nil {
				t.Error(err)
			}
			applied[i] = len(rep.Applied)
		})
	}
	wg.Wait()
	state, err := migrations.Status(t.Context(), nodes[0])
	if err != nil || state.Version != state.Known || len(state.Applied) != state.Known {
		t.Fatalf("%+v, %v", state, err)
	}
	sum := 0
	for _, n := range applied {
		sum += n
	}
	if sum != state.Known {
		t.Errorf("%v steps were applied by the nodes, together %d of %d", applied, sum, state.Known)
	}
}

func TestApplyRefusesNewerTopology(t *testing.T) {
	js := start(t, 1)[0]
	if _, err := migrations.Apply(t.Context(), js, migrations.Options{}); err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), "RIVULET_TOPOLOGY")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), "topology", []byte(`{"version":77}`)); err != nil {
		t.Fatal(err)
	}
	_, err = migrations.Apply(t.Context(), js, migrations.Options{})
	state, serr := migrations.Status(t.Context(), js)
	if !errors.Is(err, migrations.ErrNewerTopology) || !strings.Contains(err.Error(), "77") || !strings.Contains(err.Error(), fmt.Sprint(state.Known)) {
		t.Errorf("apply: %v", err)
	}
	if serr != nil || state.Version != 77 || len(state.Pending) != 0 {
		t.Errorf("status: %+v, %v", state, serr)
	}
}

// A node that died in the middle left its lease, which the server takes from it.
func TestApplyAfterADeadNode(t *testing.T) {
	js := start(t, 1)[0]
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{
		Bucket: "RIVULET_TOPOLOGY", Storage: jetstream.FileStorage, LimitMarkerTTL: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Create(t.Context(), "lease.topology", []byte("dead"), jetstream.KeyTTL(time.Second)); err != nil {
		t.Fatal(err)
	}
	if rep, err := migrations.Apply(t.Context(), js, migrations.Options{}); err != nil || len(rep.Applied) == 0 {
		t.Errorf("%+v, %v", rep, err)
	}
}

func TestEnsureNamespace(t *testing.T) {
	nodes := start(t, 4)
	js := nodes[0]
	if _, err := migrations.Apply(t.Context(), js, migrations.Options{}); err != nil {
		t.Fatal(err)
	}
	spec := migrations.Spec{Name: "chat", Partitions: 4, MaxBytes: 64 << 20, MaxAge: time.Hour}
	var wg sync.WaitGroup
	for i, js := range nodes {
		wg.Go(func() {
			ns, err := migrations.EnsureNamespace(t.Context(), js, spec, fmt.Sprint(i))
			if err != nil || ns.Generation != 1 || ns.Spec.Partitions != 4 {
				t.Errorf("%+v, %v", ns, err)
			}
		})
	}
	wg.Wait()
	info := func(p int) *jetstream.StreamInfo {
		t.Helper()
		s, err := js.Stream(t.Context(), fmt.Sprintf("CH_chat_1_%d", p))
		if err != nil {
			t.Fatal(err)
		}
		return s.CachedInfo()
	}
	cfg := info(3).Config
	if cfg.MaxMsgsPerSubject != migrations.DefaultMaxPerChannel+1 || cfg.MaxAge != time.Hour || cfg.MaxBytes != 16<<20 ||
		!cfg.AllowDirect || !cfg.AllowRollup || !cfg.AllowMsgTTL || !cfg.AllowAtomicPublish ||
		cfg.MaxConsumers != migrations.DefaultMaxConsumers || cfg.Storage != jetstream.FileStorage || cfg.Discard != jetstream.DiscardOld ||
		cfg.RePublish == nil || cfg.RePublish.Destination != "live.chat.1.3.>" || cfg.Duplicates != 2*time.Minute {
		t.Errorf("configuration %+v", cfg)
	}
	created := info(3).Created

	// Changed in place: what the new limits allow stays.
	if _, err := js.Publish(t.Context(), "c.chat.1.3.a", []byte("1")); err != nil {
		t.Fatal(err)
	}
	spec.MaxAge, spec.MaxPerChannel = -1, 10
	if _, err := migrations.EnsureNamespace(t.Context(), js, spec, "x"); err != nil {
		t.Fatal(err)
	}
	if i := info(3); i.Config.MaxAge != 0 || i.Config.MaxMsgsPerSubject != 11 || i.State.Msgs != 1 || !i.Created.Equal(created) {
		t.Errorf("changed: %+v, %+v", i.Config, i.State)
	}

	// Other partitions are refused; the rest of the specification holds.
	spec.Partitions, spec.MaxAge = 8, 2*time.Hour
	ns, err := migrations.EnsureNamespace(t.Context(), js, spec, "x")
	if !errors.Is(err, migrations.ErrPartitionsFixed) || ns.Spec.Partitions != 4 || info(3).Config.MaxAge != 2*time.Hour {
		t.Errorf("%+v, %v", ns, err)
	}
	if back, ok, err := migrations.ReadNamespace(t.Context(), js, "chat"); err != nil || !ok || back != ns {
		t.Errorf("record %+v, %v, %v", back, ok, err)
	}
	if _, ok, err := migrations.ReadNamespace(t.Context(), js, "none"); err != nil || ok {
		t.Errorf("a record of nothing: %v", err)
	}
	if _, err := migrations.EnsureNamespace(t.Context(), js, migrations.Spec{Name: "big", MaxBytes: 1 << 40}, "x"); !errors.Is(err, migrations.ErrNoRoom) {
		t.Errorf("no room: %v", err)
	}
}

func TestPromisedLimit(t *testing.T) {
	js := start(t, 1)[0]
	if _, err := migrations.Apply(t.Context(), js, migrations.Options{}); err != nil {
		t.Fatal(err)
	}
	promise := func(x uint64) uint64 {
		t.Helper()
		s, err := js.Stream(t.Context(), "CH_n_1_0")
		if err != nil {
			t.Fatal(err)
		}
		cfg := s.CachedInfo().Config
		return migrations.PromisedLimit(cfg.MaxMsgsPerSubject, cfg.Metadata, x)
	}
	set := func(limit int64) {
		t.Helper()
		if _, err := migrations.EnsureNamespace(t.Context(), js, migrations.Spec{Name: "n", Partitions: 1, MaxBytes: 1 << 20, MaxPerChannel: limit}, "x"); err != nil {
			t.Fatal(err)
		}
	}
	publish := func(n int) {
		t.Helper()
		for i := range n {
			if _, err := js.Publish(t.Context(), fmt.Sprintf("c.n.1.0.%d", i), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	set(20)
	publish(10)
	set(5)
	publish(10)
	set(50) // at sequence 20
	publish(10)
	set(-1) // at sequence 30
	for x, want := range map[uint64]uint64{1: 5, 9: 5, 20: 5, 21: 50, 30: 50, 31: 0, 99: 0} {
		if got := promise(x); got != want {
			t.Errorf("since %d: %d, want %d", x, got, want)
		}
	}
	for i := range int64(40) { // what is remembered stays bounded, and on the safe side
		publish(1)
		set(60 + i)
	}
	if got := promise(1); got != 5 {
		t.Errorf("since 1, after many changes: %d", got)
	}
}

func TestEpochs(t *testing.T) {
	nodes := start(t, 2)
	if _, err := migrations.Apply(t.Context(), nodes[0], migrations.Options{}); err != nil {
		t.Fatal(err)
	}
	var both [2]*migrations.Epochs
	for i, js := range nodes {
		var err error
		if both[i], err = migrations.OpenEpochs(t.Context(), js); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := both[0].Now(t.Context(), "s"); !errors.Is(err, migrations.ErrNoEpoch) {
		t.Errorf("before there is one: %v", err)
	}
	first, err := both[0].Get(t.Context(), "s")
	if err != nil || first.ID == "" {
		t.Fatal(first, err)
	}
	if again, err := both[1].Get(t.Context(), "s"); err != nil || again != first {
		t.Errorf("the other node has %+v, %v", again, err)
	}
	if _, err := both[0].Get(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}
	raised, err := both[1].Raise(t.Context(), "s", first)
	if err != nil || raised.ID == first.ID {
		t.Fatalf("%+v, %v", raised, err)
	}
	if late, err := both[0].Raise(t.Context(), "s", first); err != nil || late != raised {
		t.Errorf("raised twice: %+v, %v", late, err)
	}
	if n, err := both[0].RaiseAll(t.Context()); err != nil || n != 2 {
		t.Errorf("all: %d, %v", n, err)
	}
	if now, err := both[1].Now(t.Context(), "s"); err != nil || now == raised {
		t.Errorf("after all: %+v, %v", now, err)
	}
}

func TestSpecNamesWhatIsWrong(t *testing.T) {
	for field, spec := range map[string]migrations.Spec{
		"name":              {Name: "Chat"},
		"partitions":        {Name: "a", Partitions: 1000},
		"replicas":          {Name: "a", Replicas: 2},
		"max_age":           {Name: "a", MaxAge: time.Millisecond},
		"max_message_bytes": {Name: "a", MaxMessageBytes: 64 << 20},
		"max_bytes":         {Name: "a", MaxBytes: 1000},
		"duplicate_window":  {Name: "a", DuplicateWindow: 48 * time.Hour, MaxAge: -1},
		"max_consumers":     {Name: "a", MaxConsumers: -1},
	} {
		err := spec.WithDefaults().Validate()
		if !errors.Is(err, migrations.ErrInvalidSpec) || !strings.Contains(err.Error(), ": "+field+": ") {
			t.Errorf("%s: %v", field, err)
		}
	}
	if err := (migrations.Spec{Name: "a"}).WithDefaults().Validate(); err != nil {
		t.Error(err)
	}
}
