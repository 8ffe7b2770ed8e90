package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/migrations"
)

// registry holds the namespaces that this node serves.
type registry struct {
	mu      sync.RWMutex // guards the following
	byName  map[string]*namespace
	streams map[fanout.StreamID]*stream
	heads   map[string]*stream // by the head of republished subjects

	// creating lets one namespace be created at a time, at its first use.
	creating *semaphore.Weighted
	// refusedAt is when the log was last told of one that is refused; whoever creates has it.
	refusedAt time.Time
}

func newRegistry() *registry {
	return &registry{
		byName:   map[string]*namespace{},
		streams:  map[fanout.StreamID]*stream{},
		heads:    map[string]*stream{},
		creating: semaphore.NewWeighted(1),
	}
}

func (r *registry) namespace(name string) *namespace {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.byName[name]
}

func (r *registry) byHead(head string) *stream {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.heads[head]
}

func (r *registry) byStream(id fanout.StreamID) *stream {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.streams[id]
}

// add registers a namespace, or replaces it when its specification changed; its
// streams stay the same objects.
func (r *registry) add(ns *namespace) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byName[ns.name] = ns
	for _, s := range ns.streams {
		r.streams[s.id()] = s
		r.heads[s.head] = s
	}
}

func (r *registry) all() []*namespace {
	r.mu.RLock()
	defer r.mu.RUnlock()
	list := make([]*namespace, 0, len(r.byName))
	for _, ns := range r.byName {
		list = append(list, ns)
	}
	return list
}

// stream finds a stream by the name that Locate gave.
func (b *Broker) stream(id fanout.StreamID) (*stream, error) {
	if s := b.reg.byStream(id); s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("%w: stream %q", fanout.ErrUnknownNamespace, id)
}

// Locate implements fanout.Log.
func (b *Broker) Locate(ctx context.Context, c fanout.Channel) ([]fanout.StreamID, error) {
	ns, err := b.namespace(ctx, c.Namespace())
	if err != nil {
		return nil, err
	}
	if !c.IsPattern() {
		return []fanout.StreamID{ns.home(c).id()}, nil
	}
	ids := make([]fanout.StreamID, len(ns.streams))
	for p, s := range ns.streams {
		ids[p] = s.id()
	}
	return ids, nil
}

// home is the stream of a channel.
func (n *namespace) home(c fanout.Channel) *stream {
	return n.streams[n.layout.Partition(c.String())]
}

// namespace finds one that is served, and on an open node creates it.
func (b *Broker) namespace(ctx context.Context, name string) (*namespace, error) {
	if ns := b.reg.namespace(name); ns != nil {
		return ns, nil
	}
	if !b.cfg.Open {
		return nil, fmt.Errorf("%w: %q is not configured", fanout.ErrUnknownNamespace, name)
	}
	if err := b.reg.creating.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer b.reg.creating.Release(1)
	if ns := b.reg.namespace(name); ns != nil {
		return ns, nil
	}
	have, existed, err := migrations.ReadNamespace(ctx, b.js, name)
	if err != nil {
		return nil, unavailable(fmt.Sprintf("look for namespace %q", name), err)
	}
	spec := b.openSpec(name)
	more := spec.MaxBytes
	if existed {
		if spec, more, err = b.recorded(ctx, have); err != nil {
			return nil, err
		}
	}
	if b.shortage(more) > 0 { // asked before, as some streams may find room, and keep it
		return nil, fmt.Errorf("create namespace %q: %w", name, b.noRoom(name, more))
	}
	ns, err := b.ensure(ctx, spec)
	if errors.Is(err, migrations.ErrNoRoom) {
		return nil, fmt.Errorf("create namespace %q: %w: %w", name, b.noRoom(name, more), err)
	}
	if err != nil {
		return nil, unavailable(fmt.Sprintf("create namespace %q", name), err)
	}
	if !existed {
		b.log.Info("namespace created at first use", slog.String("namespace", name))
	}
	return ns, nil
}

// ensureAll makes the configured namespaces as specified: first those that shrink, which
// others may need to grow.
func (b *Broker) ensureAll(ctx context.Context) error {
	specs := make([]NamespaceSpec, len(b.cfg.Namespaces))
	grows := make(map[string]int64, len(specs))
	for i, spec := range b.cfg.Namespaces {
		specs[i] = b.cfg.fill(spec)
		have, _, err := migrations.ReadNamespace(ctx, b.js, spec.Name)
		if err != nil {
			return fmt.Errorf("broker: namespace %s: %w", spec.Name, err)
		}
		grows[spec.Name] = specs[i].MaxBytes - have.Spec.MaxBytes
	}
	slices.SortStableFunc(specs, func(a, b NamespaceSpec) int { return cmp.Compare(grows[a.Name], grows[b.Name]) })
	for _, spec := range specs {
		if _, err := b.ensure(ctx, spec); err != nil {
			return fmt.Errorf("broker: namespace %s: %w", spec.Name, err)
		}
	}
	return nil
}

// ensure makes a namespace as specified and serves it.
func (b *Broker) ensure(ctx context.Context, spec NamespaceSpec) (*namespace, error) {
	record, err := migrations.EnsureNamespace(ctx, b.js, spec, b.cfg.Node)
	if errors.Is(err, migrations.ErrPartitionsFixed) {
		b.log.Warn("namespace keeps its partitions", slog.String("namespace", spec.Name), slog.Any("err", err))
		err = nil
	}
	if err != nil {
		return nil, err
	}
	ns := b.build(record)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for _, s := range ns.streams {
		group.Go(func() error {
			_, err := b.refresh(ctx, s)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	b.serve(ns)
	return ns, nil
}

// serve registers a namespace and begins to run what its new streams need.
func (b *Broker) serve(ns *namespace) {
	for _, s := range ns.streams {
		if s.batch != nil && b.reg.byStream(s.id()) == nil {
			b.wg.Go(func() { s.batch.run(b.ctx) })
		}
	}
	b.reg.add(ns)
}

// build makes the namespace of a record, with the streams that are served
// already.
func (b *Broker) build(record migrations.Namespace) *namespace {
	ns := &namespace{name: record.Spec.Name, spec: record.Spec, layout: record.Layout()}
	if have := b.reg.namespace(ns.name); have != nil && have.layout == ns.layout {
		ns.streams = slices.Clone(have.streams)
		return ns
	}
	for p := range ns.layout.Partitions {
		s := &stream{
			name:      ns.layout.Stream(p),
			layout:    ns.layout,
			partition: p,
			head:      ns.layout.LiveHead(p),
			recent:    newRecent(),
			reads:     semaphore.NewWeighted(readsPerStream),
		}
		if b.srv != nil && b.cfg.Sync == SyncAlways {
			s.batch = newBatcher(b)
		}
		ns.streams = append(ns.streams, s)
	}
	return ns
}

// NamespaceInfo is what a namespace allows and keeps.
type NamespaceInfo struct {
	Name            string
	Partitions      int
	Replicas        int
	MaxMessageBytes int   // of one message's data
	MaxPerChannel   int64 // messages; 0 is unlimited
	Retention       int64 // nanoseconds; 0 is unlimited
	MaxBytes        int64
	DuplicateWindow int64 // nanoseconds that an idempotency key is remembered
}

// NamespaceInfo describes a namespace; on an open node that is the one it would
// create. The error wraps fanout.ErrUnknownNamespace.
func (b *Broker) NamespaceInfo(name string) (NamespaceInfo, error) {
	var spec NamespaceSpec
	if ns := b.reg.namespace(name); ns != nil {
		spec = ns.spec
	} else if b.cfg.Open {
		spec = b.openSpec(name)
	} else {
		return NamespaceInfo{}, fmt.Errorf("%w: %q is not configured", fanout.ErrUnknownNamespace, name)
	}
	return NamespaceInfo{
		Name: name, Partitions: spec.Partitions, Replicas: spec.Replicas,
		MaxMessageBytes: spec.MaxMessageBytes, MaxPerChannel: max(spec.MaxPerChannel, 0),
		Retention: max(int64(spec.MaxAge), 0), MaxBytes: spec.MaxBytes,
		DuplicateWindow: int64(spec.DuplicateWindow),
	}, nil
}
