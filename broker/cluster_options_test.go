package broker_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// What the options promise with the embedded server, three replicas keep, too.
func TestOptionsInACluster(t *testing.T) {
	list := cluster(t)
	b := open(t, config(t, connected(list...), one(func(s *broker.NamespaceSpec) { s.MaxPerChannel = 5 })))
	other := publish(t, b, "t:other", "o")

	zero, stale := uint64(0), other.Offset
	p := publication(t, "t:a", "1")
	p.Expected, p.Key, p.Publisher = &zero, "k", "p"
	first, err := b.Publish(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := b.Publish(t.Context(), p); err != nil || !again.Duplicate || again.Position != first.Position {
		t.Errorf("repeated: %+v, %v", again, err)
	}
	p = publication(t, "t:a", "2")
	p.Expected = &stale
	if _, err := b.Publish(t.Context(), p); !errors.Is(err, fanout.ErrExpectedOffset) {
		t.Errorf("stale: %v", err)
	}
	batch := []*fanout.Publication{publication(t, "t:a", "2"), publication(t, "t:a", "3")}
	if receipts, err := b.PublishAtomic(t.Context(), batch); err != nil || receipts[1].Position.Offset != receipts[0].Position.Offset+1 {
		t.Errorf("atomic: %+v, %v", receipts, err)
	}
	if _, err := b.Delete(t.Context(), channel(t, "t:a"), first.Position.Offset); err != nil {
		t.Fatal(err)
	}
	if again, err := b.Delete(t.Context(), channel(t, "t:a"), first.Position.Offset); err != nil || !again.Duplicate {
		t.Errorf("deleted again: %+v, %v", again, err)
	}
	expect(t, b, "from the deleted one", "t:a", first.Position, "", "2", "3", "")
	expect(t, b, "from elsewhere", "t:a", other, "", "2", "3", "")

	lost := publish(t, b, "t:c", "lost")
	for range 12 {
		p := publication(t, "t:c", "short")
		p.TTL = time.Second
		if _, err := b.Publish(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the messages to reach the end of their TTL", func() bool { return len(all(t, b, "t:c")) == 0 })
	expect(t, b, "an overflow that expired", "t:c", lost, protocol.ReasonRetention)

	id := schedule(t, b, later(t, "t:d", "later", 300*time.Millisecond))
	cancelled := schedule(t, b, later(t, "t:d", "never", time.Hour))
	if err := b.Cancel(t.Context(), cancelled); err != nil {
		t.Fatal(err)
	}
	idle(t, b)
	// A replica may have it later than the leader has acknowledged it.
	eventually(t, "what was scheduled to be read as "+id, func() bool { return len(all(t, b, "t:d")) > 0 })
	if got := all(t, b, "t:d"); fmt.Sprint(got) != "[later]" {
		t.Errorf("scheduled %s: stored %v", id, got)
	}
}
