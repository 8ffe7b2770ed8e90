package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/migrations"
)

// What a namespace reserves that an open node makes at its first use: such a part of the
// budget, within bounds, so that some hundreds fit into it.
const (
	openShare     = 256
	leastOpen     = 16 << 20
	mostOpen      = 256 << 20
	openRemote    = 64 << 20 // of NATS servers, whose budget this node does not know
	megabyte      = 1 << 20
	refusedSilent = time.Minute // between two lines of the log on namespaces that are refused
)

// Reserved is what the streams in a data directory reserve of the disk, in bytes:
// JetStream counts the whole limit of each, whatever is in it.
type Reserved struct {
	Namespaces map[string]int64
	Other      int64 // of the buckets, the events, the schedules
}

// Total is the sum of all.
func (r Reserved) Total() int64 {
	sum := r.Other
	for _, n := range r.Namespaces {
		sum += n
	}
	return sum
}

// Floor is the least limit with which JetStream lets the streams be changed, and a later
// version's be made that are not of a namespace.
func (r Reserved) Floor() int64 { return r.Total() - r.Other + max(r.Other, leastBudget) }

// ReadReserved reads what the streams in a data directory reserve, also while a node
// runs on it. There is nothing where there is no directory.
func ReadReserved(dir string) (Reserved, error) {
	r := Reserved{Namespaces: map[string]int64{}}
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, fmt.Errorf("broker: look for streams: %w", err)
	}
	defer func() { _ = root.Close() }() // nothing was written
	// The server tells only when it runs, and then has its limit already.
	files, err := fs.Glob(root.FS(), storeName+"/jetstream/*/streams/*/meta.inf")
	if err != nil {
		return r, fmt.Errorf("broker: look for streams in %s: %w", dir, err)
	}
	for _, file := range files {
		text, err := root.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a node that runs has removed it
		}
		if err != nil {
			return r, fmt.Errorf("broker: read what a stream reserves: %w", err)
		}
		var meta struct {
			Name     string `json:"name"`
			MaxBytes int64  `json:"max_bytes"`
		}
		if json.Unmarshal(text, &meta) != nil {
			continue // nor does the server serve it
		}
		if name, _, _, ok := migrations.ParseStream(meta.Name); ok {
			r.Namespaces[name] += max(meta.MaxBytes, 0)
		} else {
			r.Other += max(meta.MaxBytes, 0)
		}
	}
	return r, nil
}

// DiskBudget is how many bytes an embedded log in dir may reserve where so many are
// configured. 0 is the smaller of 16 GiB and half of what is free or already used there: a
// log that grew must not shrink its budget. That is never below what its streams reserve,
// as free space comes and goes, and what was promised to a namespace stays.
func DiskBudget(dir string, configured int64) (int64, error) {
	if configured != 0 {
		return configured, nil
	}
	free, err := freeAt(dir)
	if err != nil {
		return 0, fmt.Errorf("broker: free space of %s: %w", dir, err)
	}
	used, err := usedBytes(dir)
	if err != nil {
		return 0, fmt.Errorf("broker: size of %s: %w", dir, err)
	}
	have, err := ReadReserved(dir)
	if err != nil {
		return 0, err
	}
	return max(min((free+used)/2, defaultBudget), have.Floor()), nil
}

// freeAt is freeBytes of dir, or of the folder in which it will be made.
func freeAt(dir string) (int64, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return 0, err
	}
	for {
		free, err := freeBytes(dir)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || filepath.Dir(dir) == dir {
			return free, err
		}
		dir = filepath.Dir(dir)
	}
}

func usedBytes(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // not yet, or no longer, where a node runs
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}

// OpenBytes is what a namespace reserves that an open node makes, of a budget of so many
// bytes, where Config.Defaults does not say.
func OpenBytes(budget int64) int64 {
	share := budget / openShare
	return min(max(share-share%megabyte, leastOpen), mostOpen)
}

// openSpec is the namespace that an open node makes at its first use.
func (b *Broker) openSpec(name string) NamespaceSpec {
	spec := b.cfg.Defaults
	spec.Name = name
	if spec.MaxBytes == 0 {
		spec.MaxBytes = openRemote
		if b.srv != nil {
			spec.MaxBytes = OpenBytes(b.srv.budget)
		}
	}
	return b.cfg.fill(spec)
}

// reserved is what the streams of the embedded server reserve now, in bytes.
func (e *embedded) reserved() int64 {
	srv := e.srv.Load()
	if srv == nil {
		return 0
	}
	_, n, err := srv.JetStreamReservedResources()
	if err != nil {
		return 0 // it is being stopped
	}
	return n
}

// recorded is what an open node makes of a namespace of which there is a record, and how many
// bytes more that reserves. What was promised when it was made is not taken back; one whose
// streams did not all find room, and that never took a message, was promised to nobody.
func (b *Broker) recorded(ctx context.Context, have migrations.Namespace) (NamespaceSpec, int64, error) {
	parts, err := have.Parts(ctx, b.js)
	if err != nil {
		return NamespaceSpec{}, 0, unavailable(fmt.Sprintf("look for namespace %q", have.Spec.Name), err)
	}
	spec := have.Spec
	if parts.Missing > 0 && !parts.Stored {
		spec = b.openSpec(spec.Name)
		spec.Partitions = have.Spec.Partitions
		return spec, spec.MaxBytes - parts.Reserved, nil
	}
	return spec, spec.MaxBytes / int64(spec.Partitions) * int64(parts.Missing), nil
}

// shortage is how many bytes the budget would have to be for so many more; 0 if it has room,
// or the server is a remote one, which decides itself.
func (b *Broker) shortage(more int64) int64 {
	if b.srv == nil || more <= 0 {
		return 0
	}
	if need := b.srv.reserved() + more; need > b.srv.budget {
		return (need + megabyte - 1) / megabyte * megabyte
	}
	return 0
}

// noRoom is the refusal of a namespace that would be made at its first use, and reserve so
// many bytes more. The caller has the turn to create.
func (b *Broker) noRoom(name string, more int64) error {
	least := b.shortage(more)
	problem := fmt.Sprintf("the namespace %q is not there yet, and cannot be made: ", name)
	switch {
	case least > 0:
		problem += fmt.Sprintf("the disk budget has no room for another; start the node with --disk-budget %dMiB or more (broker.disk_budget)", least/megabyte)
	case b.srv != nil:
		problem += "the disk budget has no room for another; start the node with a larger --disk-budget (broker.disk_budget)"
	default:
		problem += "the NATS servers have no room for another; raise their max_file_store, or delete streams that nobody needs"
	}
	b.met.refused.Inc()
	if now := time.Now(); now.Sub(b.reg.refusedAt) >= refusedSilent {
		b.reg.refusedAt = now
		b.log.Warn("a namespace is refused, there is no room for another", slog.String("namespace", name), slog.String("problem", problem))
	}
	return &fanout.RoomError{Namespace: name, Problem: problem}
}

// Refused says what is refused although the node is ready, "" for nothing.
func (b *Broker) Refused() string {
	if !b.cfg.Open || b.shortage(b.openSpec("x").MaxBytes) == 0 {
		return ""
	}
	return "namespaces that are not there yet: the disk budget has no room for another; raise broker.disk_budget (--disk-budget)"
}
