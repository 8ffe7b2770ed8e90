package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rivulet-rt/rivulet/broker/webhook"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/migrations"
)

const (
	// fetchWait is how long a fetch waits for its first message; fetchSlack how much later
	// than asked for the server may say that there is none.
	fetchWait  = 20 * time.Second
	fetchSlack = 5 * time.Second
	fetchBytes = 4 << 20
	// consumerAckWait is long: what is fetched is held, and delivered again by whoever
	// opens the place next.
	consumerAckWait = 4 * time.Hour
	// consumerIdle is how long the place of a webhook that is no longer configured is kept.
	consumerIdle = 7 * 24 * time.Hour

	statusConflict = "409"
	statusTimeout  = "408"
)

var errFetch = errors.New("broker: the consumer answered out of order")

// consumer is a durable place in a stream, read by pulling. One goroutine uses it.
type consumer struct {
	e      *Events
	stream string
	name   string
	decode func(*nats.Msg, *nats.MsgMetadata, *webhook.Item)
	whole  bool // the stream's sequences have no holes but what was discarded

	seq     uint64 // of the stream, of the last message
	ordinal uint64 // of the consumer, of the last message
}

// ReadEvents implements webhook.Log.
func (e *Events) ReadEvents(ctx context.Context, partition int, name string) (webhook.Reader, error) {
	c := &consumer{e: e, stream: migrations.EventStream(partition), name: name, whole: true}
	c.decode = func(m *nats.Msg, _ *nats.MsgMetadata, item *webhook.Item) { item.Event = m.Data }
	return c, c.open(ctx, "")
}

// ReadMessages implements webhook.Log.
func (e *Events) ReadMessages(ctx context.Context, id fanout.StreamID, filter fanout.Channel, name string) (webhook.Reader, error) {
	s, err := e.b.stream(id)
	if err != nil {
		return nil, err
	}
	subjects := ""
	if !filter.IsZero() {
		subjects = s.filter(filter)
	}
	c := &consumer{e: e, stream: s.name, name: name}
	c.decode = func(m *nats.Msg, meta *nats.MsgMetadata, item *webhook.Item) {
		msg, ok := e.b.dec.decode(s, stored{
			subject: m.Subject, seq: meta.Sequence.Stream, time: meta.Timestamp.UnixNano(), header: m.Header, data: m.Data,
		})
		if ok && msg.Kind == fanout.KindData {
			item.Message = msg
		}
	}
	return c, c.open(ctx, subjects)
}

// open makes the consumer, or takes it over: what was delivered and not acknowledged
// comes again, first.
func (c *consumer) open(ctx context.Context, filter string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*apiTimeout)
	defer cancel()
	cfg := jetstream.ConsumerConfig{
		Durable: c.name, AckPolicy: jetstream.AckAllPolicy, AckWait: consumerAckWait, MaxDeliver: -1, MaxAckPending: -1,
		FilterSubject: filter, InactiveThreshold: consumerIdle, DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
	}
	have, err := c.e.js.Consumer(ctx, c.stream, c.name)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		stream, err := c.e.js.Stream(ctx, c.stream)
		if err != nil {
			return unavailable("look at "+c.stream, err)
		}
		cfg.OptStartSeq = stream.CachedInfo().State.LastSeq + 1
	case err != nil:
		return unavailable("look for consumer "+c.name, err)
	default:
		cfg.OptStartSeq = have.CachedInfo().Config.OptStartSeq
	}
	if have == nil || have.CachedInfo().Config.FilterSubject != filter {
		if _, err := c.e.js.CreateOrUpdateConsumer(ctx, c.stream, cfg); err != nil {
			return unavailable("make consumer "+c.name, err)
		}
	}
	if have == nil {
		c.seq = cfg.OptStartSeq - 1
		return nil
	}
	if _, err := c.e.js.ResetConsumer(ctx, c.stream, c.name); err != nil {
		return unavailable("reset consumer "+c.name, err)
	}
	c.seq = max(have.CachedInfo().AckFloor.Stream, cfg.OptStartSeq-1)
	return nil
}

// pullRequest asks for messages.
type pullRequest struct {
	Batch    int           `json:"batch"`
	MaxBytes int           `json:"max_bytes,omitempty"`
	NoWait   bool          `json:"no_wait,omitempty"`
	Expires  time.Duration `json:"expires,omitempty"`
}

// Fetch implements webhook.Reader.
func (c *consumer) Fetch(ctx context.Context, most int) ([]webhook.Item, error) {
	list, err := c.pull(ctx, pullRequest{Batch: most, MaxBytes: fetchBytes, NoWait: true})
	if err != nil || len(list) > 0 {
		return list, err
	}
	list, err = c.pull(ctx, pullRequest{Batch: 1, Expires: fetchWait})
	if err != nil || len(list) == 0 || most == 1 || list[0].Pending == 0 {
		return list, err
	}
	more, err := c.pull(ctx, pullRequest{Batch: most - 1, MaxBytes: fetchBytes, NoWait: true})
	return append(list, more...), err
}

// pull makes one request and takes its answers until the server says that it is done.
func (c *consumer) pull(ctx context.Context, req pullRequest) (list []webhook.Item, err error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	inbox := nats.NewInbox()
	sub, err := c.e.link.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, unavailable("fetch from "+c.stream, err)
	}
	defer func() { _ = sub.Unsubscribe() }() // only fails where the connection is closed
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, unavailable("fetch from "+c.stream, err) // what can come is bounded by the request
	}
	if err := c.e.link.nc.PublishRequest(apiPrefix+"CONSUMER.MSG.NEXT."+c.stream+"."+c.name, inbox, body); err != nil {
		return nil, unavailable("fetch from "+c.stream, err)
	}
	ctx, cancel := context.WithTimeout(ctx, req.Expires+fetchSlack)
	defer cancel()
	for len(list) < req.Batch {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return list, unavailable("fetch from "+c.stream, err)
		}
		if status := m.Header.Get(hdrStatus); status != "" && m.Reply == "" {
			return c.ended(ctx, req, list, status, m)
		}
		item, err := c.item(m)
		if err != nil {
			return list, unavailable("fetch from "+c.stream, err)
		}
		list = append(list, item)
	}
	return list, nil
}

// ended reads the status that ends a request.
func (c *consumer) ended(ctx context.Context, req pullRequest, list []webhook.Item, status string, m *nats.Msg) ([]webhook.Item, error) {
	description := m.Header.Get("Description")
	switch status {
	case statusNone, statusTimeout:
		return list, nil
	case statusConflict:
		if !strings.Contains(strings.ToLower(description), "maxbytes") {
			break
		}
		if len(list) == 0 && req.MaxBytes > 0 { // the first alone is larger
			return c.pull(ctx, pullRequest{Batch: 1, NoWait: true})
		}
		return list, nil
	}
	return list, unavailable("fetch from "+c.stream, fmt.Errorf("%w: status %s %s", errMalformed, status, description))
}

// item decodes a message, and makes sure that it is the one after the last.
func (c *consumer) item(m *nats.Msg) (webhook.Item, error) {
	meta, err := m.Metadata()
	if err != nil {
		return webhook.Item{}, err
	}
	if c.ordinal != 0 && meta.Sequence.Consumer != c.ordinal+1 || meta.Sequence.Stream <= c.seq {
		return webhook.Item{}, errFetch
	}
	item := webhook.Item{Time: meta.Timestamp.UnixNano(), Pending: meta.NumPending, Token: m.Reply}
	if c.whole && c.seq > 0 {
		item.Missed = meta.Sequence.Stream - c.seq - 1
	}
	c.seq, c.ordinal = meta.Sequence.Stream, meta.Sequence.Consumer
	c.decode(m, meta, &item)
	return item, nil
}

// Ack implements webhook.Reader. It waits until the server has it.
func (c *consumer) Ack(ctx context.Context, last webhook.Item) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	if _, err := c.e.link.nc.RequestWithContext(ctx, last.Token, []byte("+ACK")); err != nil {
		return unavailable("acknowledge in "+c.stream, err)
	}
	return nil
}

// Pending implements webhook.Reader.
func (c *consumer) Pending(ctx context.Context) (uint64, error) {
	var info struct {
		Error   *apiError `json:"error"`
		Pending uint64    `json:"num_pending"`
	}
	if err := c.e.b.api(ctx, "CONSUMER.INFO."+c.stream+"."+c.name, struct{}{}, &info); err != nil {
		return 0, unavailable("look at consumer", err)
	}
	if info.Error != nil {
		return 0, unavailable("look at consumer", info.Error)
	}
	return info.Pending, nil
}
