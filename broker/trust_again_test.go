package broker_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/broker"
)

// TestTrustOfABucketThatWasRolledBack: a bucket that is the one that was read, but of an
// earlier day, is read anew: what it gets next would lie before where the node reads on.
func TestTrustOfABucketThatWasRolledBack(t *testing.T) {
	o := remoteOptions(t, "one")
	r := startRemote(t, o)
	first := open(t, config(t, connected(r)))
	trusting(t, first)
	set(t, first, "user", "old", "1", time.Hour)
	closeNow(t, first)
	r.stop()
	earlier := filepath.Join(t.TempDir(), "earlier")
	if err := os.CopyFS(earlier, os.DirFS(o.StoreDir)); err != nil {
		t.Fatal(err)
	}
	r.start(t)
	b := open(t, config(t, connected(r)))
	w := &wholes{}
	if err := b.Trust().Start(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		set(t, b, "user", "lost", "1", time.Hour)
	}
	r.stop()
	if err := os.RemoveAll(o.StoreDir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(o.StoreDir, os.DirFS(earlier)); err != nil {
		t.Fatal(err)
	}
	r.start(t)
	second := open(t, config(t, connected(r)))
	trusting(t, second)
	set(t, second, "user", "new", "1", time.Hour) // one, where five were lost
	eventually(t, "the node to know what the bucket has", func() bool {
		all := w.all()
		return len(all) == 2 && all["user/old"] == "1" && all["user/new"] == "1"
	})
}

// TestTrustAfterALongOutage: that an entry was removed is kept for 30 days, so that a node
// that read nothing for as long reads everything.
func TestTrustAfterALongOutage(t *testing.T) {
	b := open(t, config(t))
	w := &wholes{}
	look, ago := broker.TrustForTest(b, w)
	read := func(wholes int) {
		t.Helper()
		if err := look(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.each) != wholes {
			t.Errorf("everything was read %d times, want %d", len(w.each), wholes)
		}
	}
	read(1)
	ago(29 * 24 * time.Hour)
	read(1)
	ago(30 * 24 * time.Hour)
	read(2)
	read(2)
}
