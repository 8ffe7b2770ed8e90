package broker_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/migrations"
)

// dev is of a broker that makes namespaces of 256 MiB at their first use.
func dev(c *broker.Config) {
	c.Open, c.Namespaces = true, nil
	c.Defaults = broker.NamespaceSpec{Partitions: 2, MaxBytes: 256 << 20}
}

// A budget that is smaller than what is reserved keeps what is there, and nothing new.
func TestSmallerBudgetKeepsNamespaces(t *testing.T) {
	cfg := config(t, dev)
	b := open(t, cfg)
	names := []string{"one", "two", "three"}
	for _, ns := range names {
		publish(t, b, ns+":a", "1")
	}
	want := b.Reserved()
	if have, err := broker.ReadReserved(cfg.Data); err != nil || have.Total() != want || have.Namespaces["two"] != 256<<20 || len(have.Namespaces) != 3 {
		t.Errorf("read %+v, %v; the server says %d", have, err, want)
	}
	closeNow(t, b)
	if have, err := broker.ReadReserved(cfg.Data); err != nil || have.Total() != want {
		t.Errorf("read %+v, %v; the server said %d", have, err, want)
	}
	cfg.DiskBudget = 800 << 20
	var log bytes.Buffer
	reg := prometheus.NewRegistry()
	b, err := broker.Open(t.Context(), cfg, slog.New(slog.NewTextHandler(&log, nil)), reg)
	if err != nil {
		t.Fatalf("open with a smaller budget: %v", err)
	}
	for _, ns := range names {
		publish(t, b, ns+":a", "2")
	}
	if b.Refused() == "" {
		t.Error("nothing is said to be refused")
	}
	least := 0
	for i := range 3 {
		_, err := b.Publish(t.Context(), publication(t, fmt.Sprintf("new%d:a", i), "1"))
		room, ok := errors.AsType[*fanout.RoomError](err)
		if !ok || !errors.Is(err, fanout.ErrUnknownNamespace) || errors.Is(err, fanout.ErrUnavailable) {
			t.Fatalf("over the budget: %v", err)
		}
		if _, err := fmt.Sscanf(room.Problem[strings.Index(room.Problem, "--disk-budget"):], "--disk-budget %dMiB", &least); err != nil {
			t.Fatalf("%q names no budget: %v", room.Problem, err)
		}
	}
	if _, err := b.Locate(t.Context(), channel(t, "new:a")); !errors.Is(err, fanout.ErrUnknownNamespace) {
		t.Errorf("to subscribe: %v", err)
	}
	if have, err := broker.ReadReserved(cfg.Data); err != nil || have.Total() != want {
		t.Errorf("what was refused has left %+v, %v", have, err)
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP rivulet_broker_namespaces_refused_total Uses of namespaces that are not there and cannot be made, as there is no room for another.
# TYPE rivulet_broker_namespaces_refused_total counter
rivulet_broker_namespaces_refused_total 4
`), "rivulet_broker_namespaces_refused_total"); err != nil {
		t.Error(err)
	}
	closeNow(t, b)
	if text := log.String(); strings.Count(text, "a namespace is refused") != 1 || !strings.Contains(text, "namespace=new0") || !strings.Contains(text, "the disk budget is below") {
		t.Errorf("the log says:\n%s", text)
	}
	// The budget that the error named is the least that works.
	cfg.DiskBudget = int64(least-1) << 20
	b = open(t, cfg)
	if _, err := b.Publish(t.Context(), publication(t, "new0:a", "1")); err == nil {
		t.Errorf("%d MiB were enough, %d were said to be needed", least-1, least)
	}
	closeNow(t, b)
	cfg.DiskBudget = int64(least) << 20
	publish(t, open(t, cfg), "new0:a", "1")
}

// Where no budget is configured, a disk with less free than before changes nothing.
func TestDefaultBudgetCoversWhatIsReserved(t *testing.T) {
	cfg := config(t, dev, func(c *broker.Config) {
		c.DiskBudget, c.Defaults.MaxBytes = 64<<30, 20<<30 // more than the default may be
	})
	b := open(t, cfg)
	publish(t, b, "big:a", "1")
	reserved := b.Reserved()
	closeNow(t, b)
	if n, err := broker.DiskBudget(cfg.Data, 0); err != nil || n < reserved {
		t.Errorf("the budget is %d, %v; %d are reserved", n, err, reserved)
	}
	cfg.DiskBudget = 0
	b = open(t, cfg)
	publish(t, b, "big:a", "2")
}

func TestBudgetOfNoDirectoryYet(t *testing.T) {
	dir := t.TempDir()
	want, err := broker.DiskBudget(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	have, err := broker.DiskBudget(filepath.Join(dir, "not", "yet[*]"), 0)
	if err != nil || have < want/2 || have > 2*want { // others use the disk
		t.Errorf("%d, %v; that of the folder above is %d", have, err, want)
	}
	if have, err := broker.ReadReserved(filepath.Join(dir, "no[t")); err != nil || have.Total() != 0 {
		t.Errorf("%+v, %v", have, err)
	}
}

// Hundreds of namespaces fit into a budget of any size that is not small.
func TestOpenNamespacesAreAPartOfTheBudget(t *testing.T) {
	for budget, want := range map[int64]int64{1 << 30: 16 << 20, 5<<30 + 12345: 20 << 20, 16 << 30: 64 << 20, 1 << 40: 256 << 20} {
		b := open(t, config(t, dev, func(c *broker.Config) { c.DiskBudget, c.Defaults.MaxBytes = budget, 0 }))
		publish(t, b, "a:a", "1")
		if info, err := b.NamespaceInfo("a"); err != nil || info.MaxBytes != want || info.Partitions != 2 {
			t.Errorf("budget %d: %+v, %v", budget, info, err)
		}
		if b.Refused() != "" {
			t.Errorf("budget %d: refused: %s", budget, b.Refused())
		}
		closeNow(t, b)
	}
}

// What an open node has made stays as it was made: a smaller budget would shrink it, and
// drop messages.
func TestOpenNodeKeepsWhatItMade(t *testing.T) {
	cfg := config(t, dev)
	b := open(t, cfg)
	publish(t, b, "kept:a", "1")
	closeNow(t, b)
	cfg.Defaults = broker.NamespaceSpec{Partitions: 4, MaxBytes: 32 << 20}
	b = open(t, cfg)
	publish(t, b, "kept:a", "2")
	if info, err := b.NamespaceInfo("kept"); err != nil || info.MaxBytes != 256<<20 || info.Partitions != 2 {
		t.Errorf("%+v, %v", info, err)
	}
}

// The server stops its streams one after the other: many are given longer.
func TestCloseWaitsForManyStreams(t *testing.T) {
	b := open(t, config(t, dev))
	before := b.StopWait()
	publish(t, b, "a:a", "1")
	if got, least := b.StopWait()-before, 2*10*time.Millisecond; got < least {
		t.Errorf("two streams more have %v more, and take %v", got, least)
	}
}

// NATS servers decide for themselves: what they answer is told in terms of them.
func TestNoRoomOnRemoteServers(t *testing.T) {
	b := open(t, config(t, dev, connected(startRemote(t, remoteOptions(t, "one"))), func(c *broker.Config) {
		c.Defaults.MaxBytes = 2 << 30 // they have 1 GiB
	}))
	for range 2 { // the second finds what the first has left
		_, err := b.Publish(t.Context(), publication(t, "big:a", "1"))
		if room, ok := errors.AsType[*fanout.RoomError](err); !ok || !strings.Contains(room.Problem, "max_file_store") || strings.Contains(room.Problem, "--disk-budget") {
			t.Errorf("over what the server has: %v", err)
		}
	}
	if refused := b.Refused(); refused != "" {
		t.Errorf("refused: %s", refused)
	}
}

// A namespace that was recorded, and whose streams did not all find room, never took a
// message: an open node makes it as small as those that it makes now.
func TestNamespaceThatNeverWasWhole(t *testing.T) {
	cfg := config(t, dev)
	cfg.Defaults.MaxBytes = 0
	b := open(t, cfg)
	half := broker.NamespaceSpec{Name: "half", Partitions: 16, MaxBytes: 256 << 20}
	if _, err := migrations.EnsureNamespace(t.Context(), b.JetStream(), half, "an earlier version"); err != nil {
		t.Fatal(err)
	}
	for p := 12; p < half.Partitions; p++ {
		if err := b.JetStream().DeleteStream(t.Context(), fmt.Sprintf("CH_half_1_%d", p)); err != nil {
			t.Fatal(err)
		}
	}
	cfg.DiskBudget = b.Reserved() + 1<<20
	closeNow(t, b)
	b = open(t, cfg)
	publish(t, b, "half:a", "1")
	if info, err := b.NamespaceInfo("half"); err != nil || info.Partitions != 16 || info.MaxBytes != 16<<20 {
		t.Errorf("%+v, %v", info, err)
	}
	publish(t, b, "other:a", "1") // has the room
	if n := b.Reserved(); n > cfg.DiskBudget {
		t.Errorf("%d are reserved, the budget is %d", n, cfg.DiskBudget)
	}
}

// One that has messages, and of which a stream is gone, takes nothing of the budget before it
// is whole, and the error names the budget with which it is.
func TestNamespaceThatLacksStreams(t *testing.T) {
	cfg := config(t, dev, func(c *broker.Config) { c.Defaults.Partitions = 4 }) // of 64 MiB
	b := open(t, cfg)
	publish(t, b, "kept:a", "1")
	where, err := b.Locate(t.Context(), channel(t, "kept:a"))
	if err != nil {
		t.Fatal(err)
	}
	gone := 0
	for p := range 4 {
		name := fmt.Sprintf("CH_kept_1_%d", p)
		if name == string(where[0]) || gone == 2 {
			continue
		}
		if err := b.JetStream().DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		gone++
	}
	want := b.Reserved()
	closeNow(t, b)
	cfg.DiskBudget = want + 100<<20 // has room for one
	b = open(t, cfg)
	_, err = b.Publish(t.Context(), publication(t, "kept:a", "2"))
	room, ok := errors.AsType[*fanout.RoomError](err)
	if !ok {
		t.Fatalf("without two of its streams: %v", err)
	}
	if n := b.Reserved(); n != want {
		t.Errorf("%d are reserved, and were %d", n, want)
	}
	if least := fmt.Sprintf("--disk-budget %dMiB", (want+128<<20)>>20); !strings.Contains(room.Problem, least) {
		t.Errorf("%q, want %s", room.Problem, least)
	}
	closeNow(t, b)
	cfg.DiskBudget = want + 128<<20
	b = open(t, cfg)
	if at := publish(t, b, "kept:a", "2"); at.Offset != 2 {
		t.Errorf("the second message is at %v", at)
	}
	if info, err := b.NamespaceInfo("kept"); err != nil || info.MaxBytes != 256<<20 {
		t.Errorf("%+v, %v", info, err)
	}
}

// What one namespace gives up at a start is there for another, whichever is named first.
func TestNamespaceGetsWhatAnotherGivesUp(t *testing.T) {
	spaces := func(a, b int64) func(*broker.Config) {
		return func(c *broker.Config) {
			c.DiskBudget = 512 << 20
			c.Namespaces = []broker.NamespaceSpec{{Name: "a", Partitions: 1, MaxBytes: a << 20}, {Name: "b", Partitions: 1, MaxBytes: b << 20}}
		}
	}
	cfg := config(t, spaces(92, 300))
	closeNow(t, open(t, cfg))
	for _, sizes := range [][2]int64{{192, 200}, {92, 300}} {
		spaces(sizes[0], sizes[1])(&cfg)
		b := open(t, cfg)
		publish(t, b, "a:a", "1")
		publish(t, b, "b:a", "1")
		closeNow(t, b)
	}
}
