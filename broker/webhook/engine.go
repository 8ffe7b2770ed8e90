package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/fanout"
)

// Partitions is how many partitions events have, and how many leases share out the work.
const Partitions = 8

// Publisher stores dead letters.
type Publisher interface {
	Publish(ctx context.Context, p *fanout.Publication) (fanout.Receipt, error)
}

// Services are what an Engine stands on.
type Services struct {
	Log       Log
	Leases    Leases
	Publisher Publisher
	// Acknowledged is needed where Config.Undelivered is not empty.
	Acknowledged Acknowledged
	// Relay and Ledger are needed where a webhook asks who is subscribed.
	Relay  Relay
	Ledger Ledger
}

// Engine delivers the events of all webhooks, together with those of the other nodes.
type Engine struct {
	// Static after New, the contexts after Start.
	cfg   Config
	svc   Services
	hooks []*hook
	log   *slog.Logger
	met   *metrics
	lanes laneTable
	crowd *crowd // nil unless a webhook asks who is subscribed

	// quit ends what need not be finished, ctx everything.
	quit, ctx     context.Context //nolint:containedctx // the lifetime of the engine's goroutines, not of a call
	leave, cancel context.CancelFunc
	wg            sync.WaitGroup
	active        atomic.Int64 // lanes that run
}

// hook is a webhook at work on this node.
type hook struct {
	Hook
	sender   *sender
	turns    chan struct{} // one for each request under way
	disabled atomic.Bool

	delivered, retried, dead prometheus.Counter
	gone                     prometheus.Gauge
	seconds                  prometheus.Observer
}

// disable stops the webhook until the node restarts.
func (h *hook) disable(log *slog.Logger) {
	if h.disabled.CompareAndSwap(false, true) {
		h.gone.Set(1)
		log.Warn("webhook is disabled until the node restarts: its receiver answered 410 Gone", slog.String("webhook", h.Name))
	}
}

// New prepares an Engine; cfg must be valid, and its webhooks have their defaults.
func New(cfg Config, svc Services, logger *slog.Logger, reg prometheus.Registerer) *Engine {
	e := &Engine{cfg: cfg, svc: svc, log: logger, met: newMetrics(reg, cfg.Hooks)}
	for _, h := range cfg.Hooks {
		run := &hook{
			Hook: h, turns: make(chan struct{}, h.Concurrency),
			delivered: e.met.delivered.WithLabelValues(h.Name),
			retried:   e.met.retried.WithLabelValues(h.Name),
			dead:      e.met.dead.WithLabelValues(h.Name),
			gone:      e.met.disabled.WithLabelValues(h.Name),
			seconds:   e.met.seconds.WithLabelValues(h.Name),
		}
		run.sender = newSender(&run.Hook)
		e.hooks = append(e.hooks, run)
	}
	if cfg.Wanted(ChannelOccupied, ChannelVacated, MemberJoined, MemberLeft) {
		e.crowd = newCrowd(e)
	}
	return e
}

// Start begins to take part, until Stop. It is called once; ctx does not bound the
// engine's life.
func (e *Engine) Start(ctx context.Context) {
	e.ctx, e.cancel = context.WithCancel(context.WithoutCancel(ctx))
	e.quit, e.leave = context.WithCancel(e.ctx)
	e.wg.Go(func() { e.svc.Leases.Lead(e.ctx, Partitions, e.work, e.noteOf) })
	e.wg.Go(e.measure)
	if e.crowd != nil {
		e.crowd.start()
	}
}

// stopWait bounds how long Stop waits for requests that are under way.
const (
	stopWait = 5 * time.Second
	stopPoll = 10 * time.Millisecond
)

// Stop lets requests that are under way end, for some seconds and at most until ctx
// ends; what is cut is sent again by whoever is next. It gives the leases back, and waits
// for all goroutines.
func (e *Engine) Stop(ctx context.Context) error {
	e.leave()
	ctx, cancel := context.WithTimeout(ctx, stopWait)
	defer cancel()
	defer context.AfterFunc(ctx, e.cancel)()
	for e.active.Load() > 0 && pause(ctx, stopPoll) == nil {
	}
	e.cancel()
	e.wg.Wait()
	for _, h := range e.hooks {
		h.sender.close()
	}
	return nil
}

// work does what is to be done in one partition while this node has its lease.
func (e *Engine) work(ctx context.Context, task int) {
	defer e.lanes.clear(task)
	var wg sync.WaitGroup
	defer wg.Wait()
	if e.crowd != nil {
		wg.Go(func() { e.crowd.decide(ctx, task) })
	}
	for _, h := range e.hooks {
		if h.wantsEvents() {
			e.lane(ctx, &wg, task, e.eventLane(h, task))
		}
	}
	for _, h := range e.hooks {
		if !h.wants(MessagePublished) {
			continue
		}
		for ns, patterns := range h.patterns() {
			for _, id := range e.streams(ctx, task, patterns) {
				e.lane(ctx, &wg, task, e.messageLane(h, ns, patterns, id))
			}
		}
	}
	e.watchInboxes(ctx, &wg, task)
	if ctx.Err() == nil {
		e.lanes.complete(task)
	}
	<-ctx.Done() // the lease is kept also where there is nothing to do
}

// lane runs a lane.
func (e *Engine) lane(ctx context.Context, wg *sync.WaitGroup, task int, l *lane) {
	e.lanes.add(task, l)
	e.active.Add(1)
	wg.Go(func() {
		defer e.active.Add(-1)
		l.run(ctx)
	})
}

// streams are those of the patterns that belong to the task; none where ctx ended.
func (e *Engine) streams(ctx context.Context, task int, patterns []fanout.Channel) (mine []fanout.StreamID) {
	seen := map[fanout.StreamID]bool{}
	for _, p := range patterns {
		for failures := 1; ; failures++ {
			ids, err := e.svc.Log.Locate(ctx, p)
			if err == nil {
				for _, id := range ids {
					if !seen[id] && taskOf(string(id)) == task {
						mine = append(mine, id)
					}
					seen[id] = true
				}
				break
			}
			e.log.Warn("webhooks cannot find their channels, will try again", slog.Any("err", err))
			if pause(ctx, backoff(failures, reopenLeast, reopenMost)) != nil {
				return nil
			}
		}
	}
	return mine
}

// taskOf is the partition of a channel or stream; of a channel that of its events.
func taskOf(name string) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	return int(h.Sum64() % Partitions)
}

// consumerPrefix begins the names of the places of webhooks.
const consumerPrefix = "webhook_"

func (h *hook) wantsEvents() bool {
	for _, t := range Types() {
		if t != MessagePublished && h.wants(t) {
			return true
		}
	}
	return false
}

func (e *Engine) eventLane(h *hook, task int) *lane {
	return &lane{
		e: e, hook: h,
		open: func(ctx context.Context) (Reader, error) {
			return e.svc.Log.ReadEvents(ctx, task, consumerPrefix+h.Name)
		},
		take: func(item Item) (ready, bool) {
			var event Event
			if json.Unmarshal(item.Event, &event) != nil || !h.wants(event.Type) || !h.concerns(&event) {
				return ready{}, false
			}
			return ready{item: item, id: event.ID, data: item.Event, time: event.Time}, true
		},
	}
}

// concerns reports whether one of the event's channels is the webhook's.
func (h *hook) concerns(e *Event) bool {
	if e.Channel != "" {
		c, err := fanout.ParseChannel(e.Channel)
		return err == nil && h.covers(c)
	}
	for _, name := range e.Channels {
		if c, err := fanout.ParseChannel(name); err == nil && h.covers(c) {
			return true
		}
	}
	return false
}

func (e *Engine) messageLane(h *hook, namespace string, patterns []fanout.Channel, id fanout.StreamID) *lane {
	var filter fanout.Channel // none where the server would have to look at several
	if len(patterns) == 1 && patterns[0].Name() != ">" {
		filter = patterns[0]
	}
	return &lane{
		e: e, hook: h,
		open: func(ctx context.Context) (Reader, error) {
			return e.svc.Log.ReadMessages(ctx, id, filter, consumerPrefix+h.Name)
		},
		take: func(item Item) (ready, bool) {
			m := item.Message
			if m == nil || !h.covers(m.Channel) || e.isDeadLetters(m.Channel) {
				return ready{}, false
			}
			event := Event{
				ID: messageID(MessagePublished, m), Type: MessagePublished, Time: m.UnixMilli(),
				Channel: m.Channel.String(), Message: messageOf(m),
			}
			data, err := encode(&event)
			if err != nil { // only data that is no JSON, which nobody lets in
				e.log.Error("message cannot be told of", slog.String("channel", event.Channel), slog.String("namespace", namespace), slog.Any("err", err))
				return ready{}, false
			}
			return ready{item: item, id: event.ID, data: data, time: event.Time}, true
		},
	}
}

// isDeadLetters reports whether messages of the channel are dead letters, of which no
// webhook is told: one that fails would be told of its own.
func (e *Engine) isDeadLetters(c fanout.Channel) bool {
	for _, h := range e.hooks {
		if h.DeadLetters == c {
			return true
		}
	}
	return false
}

// write stores events, and counts those that are new.
func (e *Engine) write(ctx context.Context, key string, events ...*Event) error {
	list := make([]Record, len(events))
	for i, event := range events {
		r, err := event.record(key)
		if err != nil {
			return fmt.Errorf("write events: %w", err)
		}
		list[i] = r
	}
	fresh, err := e.svc.Log.WriteEvents(ctx, list)
	if err != nil {
		return err
	}
	for i, event := range events {
		if fresh[i] {
			e.met.written.WithLabelValues(string(event.Type)).Inc()
		}
	}
	return nil
}

// measureEvery is how often the lag is brought into the metrics.
const measureEvery = 2 * time.Second

// ledgerEvery is after how many of these it is measured how full the ledger is.
const ledgerEvery = 15

// measure keeps the gauges of the lag and of the ledger.
func (e *Engine) measure() {
	for n := 0; pause(e.ctx, measureEvery) == nil; n++ {
		if e.crowd != nil && n%ledgerEvery == 0 {
			e.crowd.measure(e.ctx)
		}
		sums := map[string]uint64{}
		for task := range Partitions {
			lanes, _ := e.lanes.of(task)
			for _, l := range lanes {
				sums[l.hook.Name] += l.state.get().lag
			}
		}
		for _, h := range e.hooks {
			e.met.lag.WithLabelValues(h.Name).Set(float64(sums[h.Name]))
		}
	}
}

// Wanted reports whether any webhook asks for the type.
func (c Config) Wanted(types ...Type) bool {
	for i := range c.Hooks {
		if c.Hooks[i].wants(types...) {
			return true
		}
	}
	return false
}
