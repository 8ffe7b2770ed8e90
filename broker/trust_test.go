package broker_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
)

// known is what a node was told of keys and revocations.
type known struct {
	mu     sync.Mutex
	values map[string]string
	wholes int
}

func (k *known) Trusted(list []fanout.TrustEntry, whole bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if whole {
		k.values = map[string]string{}
		k.wholes++
	}
	for _, e := range list {
		if len(e.Value) == 0 {
			delete(k.values, e.Kind+"/"+e.Name)
			continue
		}
		k.values[e.Kind+"/"+e.Name] = string(e.Value)
	}
}

func (k *known) all() map[string]string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.values)
}

func trusting(tb testing.TB, b *broker.Broker) *known {
	tb.Helper()
	k := &known{}
	if err := b.Trust().Start(tb.Context(), k); err != nil {
		tb.Fatal(err)
	}
	return k
}

func set(tb testing.TB, b *broker.Broker, kind, name, value string, ttl time.Duration) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 10*time.Second)
	defer cancel()
	if err := b.Trust().Change(ctx, kind, name, func([]byte) ([]byte, time.Duration, error) { return []byte(value), ttl, nil }); err != nil {
		tb.Fatal(err)
	}
}

func TestTrustIsKeptAndForgotten(t *testing.T) {
	cfg := config(t)
	b := open(t, cfg)
	k := trusting(t, b)
	odd := "a b.*>\xff/=" + strings.Repeat("é", 100)
	set(t, b, "user", odd, "1", time.Hour)
	set(t, b, "key", "ci", "2", 0)
	set(t, b, "all", "", "3", time.Second)
	set(t, b, "key", "gone", "4", 0)
	set(t, b, "key", "gone", "", 0)
	set(t, b, "key", "ci", "5", 0)
	want := map[string]string{"user/" + odd: "1", "key/ci": "5", "all/": "3"}
	if got := k.all(); !maps.Equal(got, want) { // Change returned: this node knows
		t.Errorf("got %q, want %q", got, want)
	}
	delete(want, "all/")
	eventually(t, "what has expired to go", func() bool { return maps.Equal(k.all(), want) })
	refused := errors.New("no")
	if err := b.Trust().Change(t.Context(), "key", "ci", func(have []byte) ([]byte, time.Duration, error) {
		if string(have) != "5" {
			t.Errorf("has %q", have)
		}
		return nil, 0, refused
	}); !errors.Is(err, refused) {
		t.Errorf("refused by the caller: %v", err)
	}
	closeNow(t, b)
	if got := trusting(t, open(t, cfg)).all(); !maps.Equal(got, want) {
		t.Errorf("after a restart: %q, want %q", got, want)
	}
}

// Many pages are read, and none of what changes meanwhile is left out.
func TestTrustReadsAll(t *testing.T) {
	cfg := config(t)
	b := open(t, cfg)
	k := trusting(t, b)
	const n = 700
	var work sync.WaitGroup
	for part := range 7 {
		work.Go(func() {
			for i := range n / 7 {
				set(t, b, "token", fmt.Sprint(part*1000+i), "x", time.Hour)
			}
		})
	}
	work.Wait()
	if got := len(k.all()); got != n {
		t.Errorf("%d of %d", got, n)
	}
	closeNow(t, b)
	if got := len(trusting(t, open(t, cfg)).all()); got != n {
		t.Errorf("after a restart %d of %d", got, n)
	}
}

// Of two who write at once, each sees what the other has written.
func TestTrustChangesOneAfterTheOther(t *testing.T) {
	r := startRemote(t, remoteOptions(t, "one"))
	nodes := []*broker.Broker{open(t, config(t, connected(r))), open(t, config(t, connected(r)))}
	seen := []*known{trusting(t, nodes[0]), trusting(t, nodes[1])}
	var work sync.WaitGroup
	for _, b := range nodes {
		work.Go(func() {
			for done := 0; done < 10; {
				err := b.Trust().Change(t.Context(), "key", "n", func(have []byte) ([]byte, time.Duration, error) {
					return append(have, 'x'), 0, nil
				})
				if err == nil {
					done++
				} else if !errors.Is(err, fanout.ErrUnavailable) {
					t.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	for _, k := range seen {
		eventually(t, "both nodes to know all", func() bool { return k.all()["key/n"] == strings.Repeat("x", 20) })
	}
}

// The log goes away and comes back: what is known holds meanwhile, and what was changed
// by others is learned.
func TestTrustWhileTheLogIsAway(t *testing.T) {
	o := remoteOptions(t, "one")
	r := startRemote(t, o)
	a := open(t, config(t, connected(r)))
	k := trusting(t, a)
	set(t, a, "user", "ann", "1", time.Hour)
	r.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	err := a.Trust().Change(ctx, "user", "bob", func([]byte) ([]byte, time.Duration, error) { return []byte("2"), time.Hour, nil })
	cancel()
	if !errors.Is(err, fanout.ErrUnavailable) {
		t.Errorf("changed without a log: %v", err)
	}
	if got := k.all(); len(got) != 1 {
		t.Errorf("without the log: %q", got)
	}
	r.start(t)
	b := open(t, config(t, connected(r)))
	trusting(t, b)
	set(t, b, "user", "carl", "3", time.Hour)
	set(t, b, "user", "ann", "", 0)
	eventually(t, "the node to learn what was changed", func() bool {
		got := k.all()
		return got["user/carl"] == "3" && got["user/ann"] == ""
	})

	// Another log: nothing of the first holds.
	r.stop()
	o.StoreDir = filepath.Join(t.TempDir(), "empty")
	r.start(t)
	closeNow(t, b)
	b = open(t, config(t, connected(r)))
	trusting(t, b)
	set(t, b, "user", "dora", "4", time.Hour)
	eventually(t, "the node to know what the new log has", func() bool {
		return maps.Equal(k.all(), map[string]string{"user/dora": "4"})
	})
}
