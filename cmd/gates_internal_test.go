package cmd

import (
	"context"
	"testing"

	"github.com/rivulet-rt/rivulet/auth/hook"
	"github.com/rivulet-rt/rivulet/fanout"
)

// storesAll stands in for the log: what it costs itself is left out.
type storesAll struct{ outcomes []fanout.Outcome }

func (s *storesAll) Publish(context.Context, *fanout.Publication) (fanout.Receipt, error) {
	return fanout.Receipt{}, nil
}

func (s *storesAll) PublishAll(context.Context, []*fanout.Publication) []fanout.Outcome {
	return s.outcomes
}

func (s *storesAll) PublishAtomic(context.Context, []*fanout.Publication) ([]fanout.Receipt, error) {
	return nil, nil
}

func publications(tb testing.TB) []*fanout.Publication {
	tb.Helper()
	c, err := fanout.ParseChannel("chat:x")
	if err != nil {
		tb.Fatal(err)
	}
	return []*fanout.Publication{{Channel: c, Data: []byte("1")}}
}

// TestPublishingWithoutHooksIsUntouched: where there is no hook there is nothing between,
// and where others have one, not an allocation more for a single publish and for a batch.
func TestPublishingWithoutHooksIsUntouched(t *testing.T) {
	log := &storesAll{outcomes: make([]fanout.Outcome, 1)}
	none := &gates{}
	if none.publisher(log) != publisher(log) || none.slow() != nil || none.connect() != nil || none.subscribe() != nil {
		t.Error("something is between where there are no hooks")
	}
	pubs := publications(t)
	other := (&gates{pubs: map[string]*hook.Hook{"other": nil}}).publisher(log)
	if n := testing.AllocsPerRun(100, func() {
		_, _ = other.Publish(t.Context(), pubs[0])
		_ = other.PublishAll(t.Context(), pubs)
	}); n != 0 {
		t.Errorf("%v allocations in a namespace without a hook", n)
	}
}

func BenchmarkPublishWithoutHook(b *testing.B) {
	log := &storesAll{outcomes: make([]fanout.Outcome, 1)}
	pubs := publications(b)
	for name, p := range map[string]publisher{
		"none":      (&gates{}).publisher(log),
		"elsewhere": (&gates{pubs: map[string]*hook.Hook{"other": nil}}).publisher(log),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = p.PublishAll(b.Context(), pubs)
			}
		})
	}
}
