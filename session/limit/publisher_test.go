package limit_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/session/limit"
)

// store keeps what it is given.
type store struct{ stored []*fanout.Publication }

func (s *store) Publish(_ context.Context, p *fanout.Publication) (fanout.Receipt, error) {
	s.stored = append(s.stored, p)
	return fanout.Receipt{}, nil
}

func (s *store) PublishAll(_ context.Context, list []*fanout.Publication) []fanout.Outcome {
	s.stored = append(s.stored, list...)
	out := make([]fanout.Outcome, len(list))
	for i := range out {
		out[i].Receipt.Position.Offset = uint64(len(list[i].Data))
	}
	return out
}

func (s *store) PublishAtomic(_ context.Context, list []*fanout.Publication) ([]fanout.Receipt, error) {
	s.stored = append(s.stored, list...)
	return make([]fanout.Receipt, len(list)), nil
}

func publication(t *testing.T, channel, publisher string) *fanout.Publication {
	t.Helper()
	c, err := fanout.ParseChannel(channel)
	if err != nil {
		t.Fatal(err)
	}
	p := &fanout.Publication{Channel: c, Publisher: publisher}
	if len(publisher) > 5 && publisher[:5] == "user:" {
		p.User = publisher[5:]
	}
	return p
}

// publishLimit is a limit of publishes that is to be passed.
type publishLimit struct {
	name   string
	change func(*limit.Config)
	over   func() *fanout.Publication // the same every time: over the limit at the sixth
	other  func() *fanout.Publication // not concerned
	reason limit.Reason
}

func TestPublishLimits(t *testing.T) {
	for _, tc := range []publishLimit{
		{
			"key", func(c *limit.Config) { c.PublishesPerKey = limit.Rate{PerSecond: 1, Burst: 5} },
			func() *fanout.Publication { return publication(t, "a:x", "key:ci") },
			func() *fanout.Publication { return publication(t, "a:x", "user:ci") },
			limit.ReasonPublishesKey,
		},
		{
			"user", func(c *limit.Config) { c.PublishesPerUser = limit.Rate{PerSecond: 1, Burst: 5} },
			func() *fanout.Publication { return publication(t, "a:x", "user:ann") },
			func() *fanout.Publication { return publication(t, "a:x", "user:bob") },
			limit.ReasonPublishesUser,
		},
		{
			"token", func(*limit.Config) {},
			func() *fanout.Publication {
				p := publication(t, "a:x", "user:ann")
				p.PublishesPerSecond = 1
				return p
			},
			func() *fanout.Publication { return publication(t, "a:x", "user:bob") },
			limit.ReasonPublishesUser,
		},
		{
			"channel", func(c *limit.Config) { c.PublishesPerChannel = limit.Rate{PerSecond: 1, Burst: 5} },
			func() *fanout.Publication { return publication(t, "a:x", "user:ann") },
			func() *fanout.Publication { return publication(t, "a:y", "user:ann") },
			limit.ReasonPublishesChannel,
		},
		{
			"namespace", func(c *limit.Config) { c.PublishesPerNamespace = limit.Rate{PerSecond: 1, Burst: 5} },
			func() *fanout.Publication { return publication(t, "a:x", "user:ann") },
			func() *fanout.Publication { return publication(t, "b:x", "user:ann") },
			limit.ReasonPublishesNamespace,
		},
		{
			"one namespace", func(c *limit.Config) {
				c.Namespaces = map[string]limit.NamespaceRates{"a": {Namespace: limit.Rate{PerSecond: 1, Burst: 5}}}
			},
			func() *fanout.Publication { return publication(t, "a:x", "user:ann") },
			func() *fanout.Publication { return publication(t, "b:x", "user:ann") },
			limit.ReasonPublishesNamespace,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { passPublishLimit(t, tc) })
		})
	}
}

func passPublishLimit(t *testing.T, tc publishLimit) {
	t.Helper()
	var s store
	p := limit.NewPublisher(&s, newLimiter(t, tc.change))
	list := slices.Repeat([]*fanout.Publication{tc.over()}, 3)
	for _, o := range p.PublishAll(t.Context(), list) { // a batch counts each
		if o.Err != nil {
			t.Fatal(o.Err)
		}
	}
	if _, err := p.PublishAtomic(t.Context(), slices.Repeat(list[:1], 1)); err != nil {
		t.Fatal(err)
	}
	// The fourth and fifth are within it; of an atomic batch over it, none is taken.
	out := p.PublishAll(t.Context(), list)
	if tc.name != "token" && (out[0].Err != nil || out[1].Err == nil || out[2].Err == nil) {
		t.Fatalf("the fifth to seventh: %v", out)
	}
	e := refusal(t, out[2].Err, tc.reason)
	if e.Node || e.RetryAfter <= 0 {
		t.Errorf("%+v: want 429 with a time", e)
	}
	_, err := p.PublishAtomic(t.Context(), []*fanout.Publication{tc.other(), tc.over()})
	if batch, ok := errors.AsType[*fanout.BatchError](err); !ok {
		t.Errorf("an atomic batch with one over the limit: %v", err)
	} else {
		_ = refusal(t, batch, tc.reason)
	}
	if _, err := p.Publish(t.Context(), tc.other()); err != nil {
		t.Errorf("somebody who is not concerned: %v", err)
	}
	time.Sleep(2 * e.RetryAfter) //nolint:forbidigo // the bubble's clock
	before := len(s.stored)
	if _, err := p.Publish(t.Context(), tc.over()); err != nil || len(s.stored) != before+1 {
		t.Errorf("after the time that was told: %v", err)
	}
}

func TestOutcomesStayWithTheirMessages(t *testing.T) {
	var s store
	p := limit.NewPublisher(&s, newLimiter(t, func(c *limit.Config) { c.PublishesPerKey = limit.Rate{PerSecond: 1, Burst: 2} }))
	var list []*fanout.Publication
	for i := range 20 {
		m := publication(t, "a:x", "key:ci")
		if i%3 == 0 {
			m.Publisher = "user:"
		}
		m.Data = make([]byte, i)
		list = append(list, m)
	}
	refused := 0
	for i, o := range p.PublishAll(t.Context(), list) {
		switch {
		case o.Err != nil:
			refused++
		case o.Receipt.Position.Offset != uint64(i):
			t.Errorf("message %d has the receipt of %d", i, o.Receipt.Position.Offset)
		}
	}
	if refused != 11 || len(s.stored) != 9 {
		t.Errorf("%d were refused and %d stored, want 11 and 9", refused, len(s.stored))
	}
}

// TestBatchesThatAreMostlyRefusedWait: what a namespace takes is soon used up, and each of
// the batches that come on and on costs nearly as much as one that is stored.
func TestBatchesThatAreMostlyRefusedWait(t *testing.T) {
	for _, tc := range []struct {
		name  string
		count int // 4 of them are stored
		waits bool
	}{
		{"one of five is refused", 5, false},
		{"half is", 8, false},
		{"most are", 9, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s store
				p := limit.NewPublisher(&s, newLimiter(t, func(c *limit.Config) { c.PublishesPerNamespace = limit.Rate{PerSecond: 1, Burst: 4} }))
				began := time.Now()
				_ = p.PublishAll(t.Context(), slices.Repeat([]*fanout.Publication{publication(t, "a:x", "key:ci")}, tc.count))
				if waited := time.Since(began) > 0; waited != tc.waits || len(s.stored) != 4 {
					t.Errorf("the answer waited: %v, and %d were stored, want %v and 4", waited, len(s.stored), tc.waits)
				}
			})
		})
	}
}

func TestAPublisherWithinLimitsAllocatesLittle(t *testing.T) {
	p := limit.NewPublisher(noStore{}, newLimiter(t, func(*limit.Config) {}))
	m := publication(t, "a:x", "key:ci")
	if n := testing.AllocsPerRun(1000, func() { _, _ = p.Publish(t.Context(), m) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

type noStore struct{}

func (noStore) Publish(context.Context, *fanout.Publication) (fanout.Receipt, error) {
	return fanout.Receipt{}, nil
}

func (noStore) PublishAll(context.Context, []*fanout.Publication) []fanout.Outcome { return nil }

func (noStore) PublishAtomic(context.Context, []*fanout.Publication) ([]fanout.Receipt, error) {
	return nil, nil
}

// TestPublishLimitsAreNamed: who is refused is told which key of the configuration, or whose own
// limit, is the reason.
func TestPublishLimitsAreNamed(t *testing.T) {
	own := func(p *fanout.Publication) *fanout.Publication {
		p.PublishesPerSecond = 3
		return p
	}
	for name, tc := range map[string]struct {
		change func(*limit.Config)
		over   *fanout.Publication
		want   string
	}{
		"key":        {nil, publication(t, "a:x", "key:ci"), "the API key has 10000 publishes a second, as many as it may (limits.publishes_per_key)"},
		"user":       {nil, publication(t, "a:x", "user:ann"), "the user has 500 publishes a second, as many as it may (limits.publishes_per_user)"},
		"key's own":  {nil, own(publication(t, "a:x", "key:ci")), "the API key has 3 publishes a second, as many as it may (its token's or key's own publishes)"},
		"user's own": {nil, own(publication(t, "a:x", "user:ann")), "the user has 3 publishes a second, as many as it may (its token's or key's own publishes)"},
		"nameless":   {nil, own(publication(t, "a:x", "user:")), "the caller has 3 publishes a second, as many as it may (its token's or key's own publishes)"},
		"channel": {
			func(c *limit.Config) { c.PublishesPerChannel = limit.Times(2, 1) },
			publication(t, "a:x", "user:"), "the channel has 2 publishes a second, as many as it may (limits.publishes_per_channel)",
		},
		"namespace": {
			func(c *limit.Config) { c.PublishesPerNamespace = limit.Times(2, 1) },
			publication(t, "a:x", "user:"), "the namespace has 2 publishes a second, as many as it may (limits.publishes_per_namespace)",
		},
		"the namespace's own": {
			func(c *limit.Config) {
				c.Namespaces = map[string]limit.NamespaceRates{"a": {Namespace: limit.Times(4, 1)}}
			},
			publication(t, "a:x", "user:"), "the namespace has 4 publishes a second, as many as it may (namespaces.a.publish_rate)",
		},
		"a channel of the namespace": {
			func(c *limit.Config) {
				c.Namespaces = map[string]limit.NamespaceRates{"a": {Channel: limit.Times(4, 1)}}
			},
			publication(t, "a:x", "user:"), "the channel has 4 publishes a second, as many as it may (namespaces.a.channel_publish_rate)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			change := tc.change
			if change == nil {
				change = func(*limit.Config) {}
			}
			l := newLimiter(t, change)
			_ = l.Publish(tc.over, 100_000) // once, more than comes at once
			e, ok := errors.AsType[*limit.Error](l.Publish(tc.over, 1))
			if !ok || !strings.HasPrefix(e.Problem, tc.want+"; nothing was stored") {
				t.Errorf("%+v, want %s", e, tc.want)
			}
		})
	}
}
