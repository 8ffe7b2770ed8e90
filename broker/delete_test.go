package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

func TestDelete(t *testing.T) {
	for level, change := range levels() {
		t.Run(level, func(t *testing.T) {
			cfg := config(t, change)
			b := open(t, cfg)
			h := started(t, b)
			publish(t, b, "t:a", "1")
			original := publish(t, b, "t:a", "a secret that must leave the disk")
			elsewhere := publish(t, b, "t:b", "1")
			version := publication(t, "t:a", "another secret that must leave the disk")
			version.Updates = original.Offset
			if _, err := b.Publish(t.Context(), version); err != nil {
				t.Fatal(err)
			}
			publish(t, b, "t:a", "2")

			r, err := b.Delete(t.Context(), channel(t, "t:a"), original.Offset)
			if err != nil || r.Duplicate {
				t.Fatalf("%+v, %v", r, err)
			}
			events := h.wait(t, "the marker", func(e []event) bool { return len(messages(e)) == 6 })
			if m := messages(events)[5]; m.Kind != fanout.KindDeleted || m.Target != original.Offset || m.Position != r.Position || len(m.Data) != 0 {
				t.Errorf("marker %+v", m)
			}
			left := read(t, b, fanout.Query{Source: source(t, b, "t:a"), Limit: 10}).Messages
			if got := texts(left); fmt.Sprint(got) != "[1 2 ]" {
				t.Errorf("left %q", got)
			}
			if again, err := b.Delete(t.Context(), channel(t, "t:a"), original.Offset); err != nil || !again.Duplicate || again.Position != r.Position {
				t.Errorf("again: %+v, %v; want %+v", again, err, r)
			}
			for name, offset := range map[string]uint64{"another channel's": elsewhere.Offset, "a marker": r.Position.Offset, "none": 99, "the first offset": 0} {
				if r, err := b.Delete(t.Context(), channel(t, "t:a"), offset); !errors.Is(err, fanout.ErrNoMessage) {
					t.Errorf("%s: %+v, %v", name, r, err)
				}
			}
			if _, err := b.Delete(t.Context(), channel(t, "nowhere:a"), 1); !errors.Is(err, fanout.ErrUnknownNamespace) {
				t.Errorf("unknown namespace: %v", err)
			}
			if _, err := b.Delete(t.Context(), channel(t, "t:a.*"), 1); err == nil {
				t.Error("a pattern is a channel")
			}
			closeNow(t, b)
			if file := holding(t, cfg.Data, "secret that must leave the disk"); file != "" {
				t.Errorf("%s still has what was deleted", file)
			}
		})
	}
}

// holding names a file under dir with the text in it, "" if there is none.
func holding(t *testing.T, dir, text string) (file string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(text)) {
			file = path
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// A deletion that stopped after its marker is finished by the next one, and the
// subscribers are not told twice.
func TestDeleteInterrupted(t *testing.T) {
	b := open(t, config(t))
	x := publish(t, b, "t:a", "1")
	marked, err := b.MarkDeleted(t.Context(), channel(t, "t:a"), x.Offset)
	if err != nil {
		t.Fatal(err)
	}
	r, err := b.Delete(t.Context(), channel(t, "t:a"), x.Offset)
	if err != nil || !r.Duplicate || r.Position != marked.Position {
		t.Errorf("%+v, %v; want %+v", r, err, marked)
	}
	if left := read(t, b, fanout.Query{Source: source(t, b, "t:a"), Limit: 10}).Messages; len(left) != 1 || left[0].Kind != fanout.KindDeleted {
		t.Errorf("left %+v", left)
	}
}

func TestDeleteAtOnce(t *testing.T) {
	b := open(t, config(t))
	x := publish(t, b, "t:a", "1")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := b.Delete(t.Context(), channel(t, "t:a"), x.Offset); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if left := read(t, b, fanout.Query{Source: source(t, b, "t:a"), Limit: 10}).Messages; len(left) != 1 {
		t.Errorf("left %d", len(left))
	}
}

// A full channel whose marker evicts a message looks as if it had never overflowed.
func TestEvidenceOfDeletions(t *testing.T) {
	b := open(t, config(t, one(func(s *broker.NamespaceSpec) { s.MaxPerChannel = 5 })))
	before := publish(t, b, "t:other", "o")
	a := publishMany(t, b, "t:a", 0, 6) // one more than promised: all are stored
	expect(t, b, "an empty channel", "t:none", before, "")
	if _, err := b.Delete(t.Context(), channel(t, "t:a"), a[3].Offset); err != nil {
		t.Fatal(err)
	}
	expect(t, b, "the marker evicted the first", "t:a", before, protocol.ReasonRetention, "1", "2", "4", "5", "")
	expect(t, b, "the same, by a pattern", "t:*", before, protocol.ReasonRetention)
	expect(t, b, "from the first", "t:a", a[0], "", "1", "2", "4", "5", "")
	expect(t, b, "from the deleted one", "t:a", a[3], "", "4", "5", "")

	few := publishMany(t, b, "t:few", 0, 3)
	if _, err := b.Delete(t.Context(), channel(t, "t:few"), few[1].Offset); err != nil {
		t.Fatal(err)
	}
	expect(t, b, "nothing was evicted", "t:few", few[0], "", "2", "")
	expect(t, b, "nothing was evicted, from elsewhere", "t:few", a[5], "", "0", "2", "")
}

// Versions that are published while their original is being deleted go with it.
func TestDeleteAmongVersions(t *testing.T) {
	b := open(t, config(t))
	for round := range 20 {
		ch := fmt.Sprint("t:a", round)
		x := publish(t, b, ch, "original")
		stored, stop, done := make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for {
				p := publication(t, ch, "version")
				p.Updates = x.Offset
				_, err := b.Publish(t.Context(), p)
				if err != nil && !errors.Is(err, fanout.ErrNoMessage) {
					t.Error(err)
				}
				select {
				case stored <- struct{}{}:
				case <-stop:
					return
				default:
				}
			}
		}()
		<-stored
		if _, err := b.Delete(t.Context(), channel(t, ch), x.Offset); err != nil {
			t.Fatal(err)
		}
		close(stop)
		<-done
		if left := all(t, b, ch); fmt.Sprintf("%q", left) != `[""]` { // the marker
			t.Fatalf("round %d: left %q", round, left)
		}
	}
}

// A deletion goes on without whoever asked for it, and whoever asks again waits for it.
func TestDeleteOutlivesItsRequest(t *testing.T) {
	b := open(t, config(t))
	x := publish(t, b, "t:a", "original")
	version := publication(t, "t:a", "version")
	version.Updates = x.Offset
	if _, err := b.Publish(t.Context(), version); err != nil {
		t.Fatal(err)
	}
	release := b.HoldReads(channel(t, "t:a"))
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan error, 1)
	go func() {
		_, err := b.Delete(ctx, channel(t, "t:a"), x.Offset)
		answered <- err
	}()
	eventually(t, "an erasure at work", func() bool { return b.Erasures() == 1 })
	cancel()
	if err := <-answered; !errors.Is(err, fanout.ErrOutcomeUnknown) {
		t.Errorf("given up: %v", err)
	}
	again := make(chan fanout.Receipt, 1)
	go func() {
		r, err := b.Delete(t.Context(), channel(t, "t:a"), x.Offset)
		if err != nil {
			t.Error(err)
		}
		again <- r
	}()
	release()
	if r := <-again; !r.Duplicate {
		t.Errorf("again: %+v", r)
	}
	eventually(t, "the end of the erasure", func() bool { return b.Erasures() == 0 })
	if left := all(t, b, "t:a"); fmt.Sprintf("%q", left) != `[""]` {
		t.Errorf("left %q", left)
	}
}

// A repetition erases what an earlier deletion left, however far back its marker is.
func TestDeleteAgainLongAfter(t *testing.T) {
	b := open(t, config(t))
	x := publish(t, b, "t:a", "original")
	version := publication(t, "t:a", "version")
	version.Updates = x.Offset
	if _, err := b.Publish(t.Context(), version); err != nil {
		t.Fatal(err)
	}
	marked, err := b.MarkDeleted(t.Context(), channel(t, "t:a"), x.Offset)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Remove(t.Context(), channel(t, "t:a"), x.Offset); err != nil {
		t.Fatal(err)
	}
	publishMany(t, b, "t:a", 0, 600)
	r, err := b.Delete(t.Context(), channel(t, "t:a"), x.Offset)
	if err != nil || !r.Duplicate || r.Position != marked.Position {
		t.Errorf("%+v, %v; want %+v", r, err, marked)
	}
	if left := all(t, b, "t:a"); slices.Contains(left, "version") || len(left) != 601 {
		t.Errorf("left %d, the version among them: %v", len(left), slices.Contains(left, "version"))
	}
}
