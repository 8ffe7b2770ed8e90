package limit

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/rivulet-rt/rivulet/fanout"
)

// Store is where publications go that are within the limits.
type Store interface {
	Publish(ctx context.Context, p *fanout.Publication) (fanout.Receipt, error)
	PublishAll(ctx context.Context, list []*fanout.Publication) []fanout.Outcome
	PublishAtomic(ctx context.Context, list []*fanout.Publication) ([]fanout.Receipt, error)
}

// Publisher holds whoever publishes to the limits, before anything is stored. Every way
// to publish goes through one.
type Publisher struct {
	store  Store
	limits *Limiter
}

// NewPublisher returns a Publisher in front of store. Its errors are the store's, and
// *Error.
func NewPublisher(store Store, limits *Limiter) *Publisher { return &Publisher{store, limits} }

// Publish stores a message.
func (p *Publisher) Publish(ctx context.Context, m *fanout.Publication) (fanout.Receipt, error) {
	if err := p.limits.batch(1, len(m.Data)); err != nil {
		return fanout.Receipt{}, err
	}
	if err := p.limits.Publish(m, 1); err != nil {
		p.limits.hold(ctx, err)
		return fanout.Receipt{}, err
	}
	return p.store.Publish(ctx, m)
}

// PublishAll stores messages, each for itself: those over a limit have it as their
// outcome.
func (p *Publisher) PublishAll(ctx context.Context, list []*fanout.Publication) []fanout.Outcome {
	if err := p.limits.batch(len(list), size(list)); err != nil {
		out := make([]fanout.Outcome, len(list))
		for i := range out {
			out[i].Err = err
		}
		return out
	}
	passed := list
	var out []fanout.Outcome // nil until one is refused
	for i, m := range list {
		err := p.limits.Publish(m, 1)
		switch {
		case err != nil && out == nil:
			out = make([]fanout.Outcome, len(list))
			passed = append(make([]*fanout.Publication, 0, len(list)), list[:i]...)
			out[i].Err = err
		case err != nil:
			out[i].Err = err
		case out != nil:
			passed = append(passed, m)
		}
	}
	if out == nil {
		return p.store.PublishAll(ctx, list)
	}
	if len(passed) > 0 {
		stored := p.store.PublishAll(ctx, passed)
		for i := range out {
			if out[i].Err == nil {
				out[i], stored = stored[0], stored[1:]
			}
		}
	}
	// To refuse a message costs nearly as much as to store it.
	if refused := len(list) - len(passed); refused > len(list)/2 {
		p.limits.linger(ctx)
	}
	return out
}

// PublishAtomic stores all or none: where one is over a limit, none counts.
func (p *Publisher) PublishAtomic(ctx context.Context, list []*fanout.Publication) ([]fanout.Receipt, error) {
	if err := p.limits.batch(len(list), size(list)); err != nil {
		return nil, &fanout.BatchError{Index: -1, Err: err}
	}
	for i, m := range list {
		if err := p.limits.Publish(m, 1); err != nil {
			for _, before := range list[:i] {
				p.limits.unpublish(before, 1)
			}
			p.limits.hold(ctx, err)
			return nil, &fanout.BatchError{Index: -1, Err: err}
		}
	}
	return p.store.PublishAtomic(ctx, list)
}

// hold has who got nothing stored wait for the answer.
func (l *Limiter) hold(ctx context.Context, err error) {
	if _, ok := errors.AsType[*Error](err); ok {
		l.linger(ctx)
	}
}

func size(list []*fanout.Publication) (n int) {
	for _, m := range list {
		n += len(m.Data)
	}
	return n
}

// batch says whether a publish of so many messages and bytes may be taken now.
func (l *Limiter) batch(messages, bytes int) error {
	if l.Stage() < NoBatches || messages < LargeBatch && bytes < LargeBody {
		return nil
	}
	return l.refuse(Error{
		Reason: ReasonMemoryBatch, Node: true, RetryAfter: spread(memoryRetry),
		Problem: fmt.Sprintf("the node is short of memory and takes less than %d messages and %d KiB at a time; nothing was stored, send fewer, or later", LargeBatch, LargeBody>>10),
	})
}

// Publish takes n publishes like m from the buckets of who publishes, of the channel and
// of the namespace, or returns an *Error and takes none.
func (l *Limiter) Publish(m *fanout.Publication, n int64) error {
	if l == nil {
		return nil
	}
	who, reason := l.publisherRate(m)
	publisher := bucketOf(m)
	if wait := l.publishers.Take(publisher, who, n); wait > 0 {
		return l.refuse(Error{Reason: reason, RetryAfter: wait, Problem: tooOften(l.publisherLimit(m, who, reason), who)})
	}
	channel, namespace := l.channelRates(m.Channel)
	if wait := l.channels.Take(m.Channel, channel, n); wait > 0 {
		l.publishers.Give(publisher, who, n)
		return l.refuse(Error{Reason: ReasonPublishesChannel, Field: "channel", RetryAfter: wait, Problem: tooOften(l.channelLimit(m.Channel), channel)})
	}
	if wait := l.namespaces.Take(m.Channel.Namespace(), namespace, n); wait > 0 {
		l.publishers.Give(publisher, who, n)
		l.channels.Give(m.Channel, channel, n)
		return l.refuse(Error{Reason: ReasonPublishesNamespace, Field: "channel", RetryAfter: wait, Problem: tooOften(l.namespaceLimit(m.Channel), namespace)})
	}
	return nil
}

// bytesPerPublish is how many bytes of a request there are for each publish, for Ready.
const bytesPerPublish = 256

// Ready says before a request is read whether who sends it may publish as much as its
// size, -1 where that is not known, makes likely: what would be refused is not worth
// reading. It takes nothing.
func (l *Limiter) Ready(ctx context.Context, m *fanout.Publication, size int64) error {
	if l == nil {
		return nil
	}
	rate, reason := l.publisherRate(m)
	if rate.IsZero() {
		return nil
	}
	most := max(rate.Burst/2, 1)
	n := most
	if size >= 0 {
		n = min(1+size/bytesPerPublish, most)
	}
	wait := l.publishers.Peek(bucketOf(m), rate, n)
	if wait == 0 {
		return nil
	}
	l.linger(ctx)
	return l.refuse(Error{Reason: reason, RetryAfter: wait, Problem: tooOften(l.publisherLimit(m, rate, reason), rate)})
}

// unpublish takes a Publish back that stored nothing.
func (l *Limiter) unpublish(m *fanout.Publication, n int64) {
	if l == nil {
		return
	}
	who, _ := l.publisherRate(m)
	publisher := bucketOf(m)
	channel, namespace := l.channelRates(m.Channel)
	l.publishers.Give(publisher, who, n)
	l.channels.Give(m.Channel, channel, n)
	l.namespaces.Give(m.Channel.Namespace(), namespace, n)
}

// publisherRate is that of a key or a user, made tighter by its own; nobody has none but
// its own.
func (l *Limiter) publisherRate(m *fanout.Publication) (Rate, Reason) {
	rate, reason := l.cfg.PublishesPerUser, ReasonPublishesUser
	switch {
	case strings.HasPrefix(m.Publisher, "key:"):
		rate, reason = l.cfg.PublishesPerKey, ReasonPublishesKey
	case m.User == "":
		rate = Rate{}
	}
	return rate.Tighten(int64(m.PublishesPerSecond)), reason
}

// bucketOf names who publishes: the key, the user, or of those without a name the
// connection, or the address where they have none.
func bucketOf(m *fanout.Publication) string {
	if m.User != "" || m.PublishesPerSecond == 0 || strings.HasPrefix(m.Publisher, "key:") {
		return m.Publisher
	}
	if m.Client == "" {
		return "address:" + m.Address
	}
	return "client:" + m.Client
}

func (l *Limiter) channelRates(c fanout.Channel) (channel, namespace Rate) {
	channel, namespace = l.cfg.PublishesPerChannel, l.cfg.PublishesPerNamespace
	if own, ok := l.cfg.Namespaces[c.Namespace()]; ok {
		if !own.Channel.IsZero() {
			channel = own.Channel
		}
		if !own.Namespace.IsZero() {
			namespace = own.Namespace
		}
	}
	return channel, namespace
}

// named is who has a limit, and what sets it.
type named struct{ who, by string }

func (l *Limiter) publisherLimit(m *fanout.Publication, r Rate, reason Reason) named {
	n, common := named{"the user", "limits.publishes_per_user"}, l.cfg.PublishesPerUser
	switch {
	case reason == ReasonPublishesKey:
		n, common = named{"the API key", "limits.publishes_per_key"}, l.cfg.PublishesPerKey
	case m.User == "":
		n = named{who: "the caller"}
	}
	if r != common {
		n.by = "its token's or key's own publishes"
	}
	return n
}

func (l *Limiter) channelLimit(c fanout.Channel) named {
	if !l.cfg.Namespaces[c.Namespace()].Channel.IsZero() {
		return named{"the channel", "namespaces." + c.Namespace() + ".channel_publish_rate"}
	}
	return named{"the channel", "limits.publishes_per_channel"}
}

func (l *Limiter) namespaceLimit(c fanout.Channel) named {
	if !l.cfg.Namespaces[c.Namespace()].Namespace.IsZero() {
		return named{"the namespace", "namespaces." + c.Namespace() + ".publish_rate"}
	}
	return named{"the namespace", "limits.publishes_per_namespace"}
}

func tooOften(n named, r Rate) string {
	return fmt.Sprintf("%s has %d publishes a second, as many as it may (%s); nothing was stored, send it again after retry_after_ms", n.who, r.PerSecond, n.by)
}

// Historian reads stored messages.
type Historian interface {
	History(ctx context.Context, q fanout.HistoryQuery) (fanout.HistoryPage, error)
}

// Reader holds reads of the log to what memory allows.
type Reader struct {
	log    Historian
	limits *Limiter
}

// NewReader returns a Reader in front of log. Its errors are the log's, and *Error.
func NewReader(log Historian, limits *Limiter) *Reader { return &Reader{log, limits} }

// History reads a page.
func (r *Reader) History(ctx context.Context, q fanout.HistoryQuery) (fanout.HistoryPage, error) {
	if err := r.limits.History(q.Limit); err != nil {
		return fanout.HistoryPage{}, err
	}
	return r.log.History(ctx, q)
}
