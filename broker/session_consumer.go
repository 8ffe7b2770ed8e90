package broker

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rivulet-rt/rivulet/fanout"
)

// consumerShelf keeps each position in a durable pull consumer of the channel's
// stream, for one session and channel: its metadata has the position, which names
// epoch and time, and its acknowledgement floor follows, so that every NATS tool shows
// how far the session lags. It delivers nothing to clients; one cursor does that.
//
// The consumer's name holds the fence. Whoever held the session before writes to a
// consumer that is there no more.
type consumerShelf struct{ b *Broker }

// timeToLive is how long a place outlives its last use. The server removes a consumer a
// while after the session's record has expired: the record's end is told, and goes first.
type timeToLive time.Duration

func (t timeToLive) inactive() time.Duration {
	d := time.Duration(t)
	return d + d/4 + time.Minute
}

// Metadata of a consumer.
const (
	metaUser     = "rivulet.user"
	metaSession  = "rivulet.session"
	metaChannel  = "rivulet.channel"
	metaPosition = "rivulet.position"
)

const (
	codeConsumerNotFound     = 10014
	codeConsumerDoesNotExist = 10149
	codeConsumerLimit        = 10026
)

// consumerConfig is the part of a consumer's configuration that is set.
type consumerConfig struct {
	Durable  string            `json:"durable_name"`
	Deliver  string            `json:"deliver_policy"`
	Start    uint64            `json:"opt_start_seq,omitempty"`
	Ack      string            `json:"ack_policy"`
	Pending  int               `json:"max_ack_pending"`
	Filter   string            `json:"filter_subject"`
	Replay   string            `json:"replay_policy"`
	Headers  bool              `json:"headers_only"`
	Inactive time.Duration     `json:"inactive_threshold"`
	Replicas int               `json:"num_replicas"`
	Metadata map[string]string `json:"metadata"`
}

type consumerRequest struct {
	Stream string         `json:"stream_name"`
	Config consumerConfig `json:"config"`
	Action string         `json:"action"`
}

type consumerInfo struct {
	Error  *apiError      `json:"error"`
	Config consumerConfig `json:"config"`
}

// place is where a session's consumer lies.
type place struct {
	stream *stream
	name   string
	filter string
}

func (c *consumerShelf) place(ctx context.Context, id fanout.SessionID, k fanout.SessionChannel) (place, error) {
	ns, err := c.b.namespace(ctx, k.Channel.Namespace())
	if err != nil {
		return place{}, err
	}
	home := ns.home(k.Channel)
	sum := sha256.Sum256([]byte(id.User + "\x00" + id.Name + "\x00" + k.Channel.String()))
	return place{stream: home, name: "SES_" + hex.EncodeToString(sum[:12]) + "_" + k.Fence, filter: home.filter(k.Channel)}, nil
}

func (c *consumerShelf) config(p place, id fanout.SessionID, k fanout.SessionChannel, ttl timeToLive) consumerConfig {
	return consumerConfig{
		Durable: p.name, Deliver: "by_start_sequence", Start: 1, Ack: "all", Pending: -1, Filter: p.filter,
		Replay: "instant", Headers: true, Inactive: ttl.inactive(),
		Metadata: map[string]string{
			metaUser: id.User, metaSession: id.Name, metaChannel: k.Channel.String(), metaPosition: k.Position.String(),
		},
	}
}

func (c *consumerShelf) keep(ctx context.Context, id fanout.SessionID, k fanout.SessionChannel, ttl timeToLive) (fanout.SessionChannel, error) {
	k.Fence = rand.Text()[:8]
	p, err := c.place(ctx, id, k)
	if err != nil {
		return k, err
	}
	if err := c.create(ctx, p, c.config(p, id, k, ttl), "create"); err != nil {
		return k, fmt.Errorf("keep position in %s: %w", k.Channel, err)
	}
	return k, c.follow(ctx, p, k.Position)
}

func (c *consumerShelf) create(ctx context.Context, p place, cfg consumerConfig, action string) error {
	var info consumerInfo
	subject := "CONSUMER.CREATE." + p.stream.name + "." + p.name + "." + p.filter
	if err := c.b.api(ctx, subject, consumerRequest{Stream: p.stream.name, Config: cfg, Action: action}, &info); err != nil {
		return unavailable("write consumer", err)
	}
	if info.Error == nil {
		return nil
	}
	switch info.Error.ErrCode {
	case codeConsumerNotFound, codeConsumerDoesNotExist:
		return fmt.Errorf("%w: %w", errConflict, info.Error)
	case codeConsumerLimit:
		return &fanout.LimitError{Field: "session", Problem: "the log keeps as many positions of durable sessions in this namespace as it may; " +
			"delete sessions, or set its session_store to kv"}
	case codeInsufficient, codeStorageExceeded, codeAccountResources, codeMemoryExceeded:
		return fmt.Errorf("%w: %w", fanout.ErrDiskFull, info.Error)
	}
	return unavailable("write consumer", info.Error)
}

func (c *consumerShelf) load(ctx context.Context, id fanout.SessionID, k *fanout.SessionChannel) error {
	p, err := c.place(ctx, id, *k)
	if err != nil {
		return err
	}
	var info consumerInfo
	if err := c.b.api(ctx, "CONSUMER.INFO."+p.stream.name+"."+p.name, struct{}{}, &info); err != nil {
		return unavailable("read consumer", err)
	}
	if info.Error != nil {
		if e := info.Error.ErrCode; e == codeConsumerNotFound || e == codeStreamNotFound {
			k.Position = fanout.Position{}
			return nil
		}
		return unavailable("read consumer", info.Error)
	}
	// What somebody else wrote there is no position: it counts as lost.
	if at, err := fanout.ParsePosition(info.Config.Metadata[metaPosition]); err == nil {
		k.Position = at
	}
	return nil
}

// move writes the metadata first: that fails at once where the fence is another's,
// whereas nobody answers a reset of a consumer that is gone.
func (c *consumerShelf) move(ctx context.Context, id fanout.SessionID, k fanout.SessionChannel, ttl timeToLive, alive bool) error {
	p, err := c.place(ctx, id, k)
	if err != nil {
		return err
	}
	if err := c.create(ctx, p, c.config(p, id, k, ttl), "update"); err != nil {
		return fmt.Errorf("move position in %s: %w", k.Channel, err)
	}
	if alive {
		// The pull is what counts as activity, a reset does not; the reset comes last and
		// takes back what was pulled.
		if err := c.pull(ctx, p); err != nil {
			return unavailable("keep consumer", err)
		}
	}
	return c.follow(ctx, p, k.Position)
}

// follow has the server's own state follow the position.
func (c *consumerShelf) follow(ctx context.Context, p place, at fanout.Position) error {
	var info consumerInfo
	if err := c.b.api(ctx, "CONSUMER.RESET."+p.stream.name+"."+p.name, map[string]uint64{"seq": at.Offset + 1}, &info); err != nil {
		return unavailable("move consumer", err)
	}
	if info.Error != nil {
		return unavailable("move consumer", info.Error)
	}
	return nil
}

// pull asks for one message, which nobody wants, for the asking. A message comes under
// its own subject, so that it needs a subscription of its own.
func (c *consumerShelf) pull(ctx context.Context, p place) error {
	nc := c.b.ctl.nc
	inbox := nats.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()                             // fails with the connection alone
	body, _ := json.Marshal(map[string]any{"batch": 1, "no_wait": true}) // plain values: cannot fail
	if err := nc.PublishRequest(apiPrefix+"CONSUMER.MSG.NEXT."+p.stream.name+"."+p.name, inbox, body); err != nil {
		return err
	}
	asked, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	_, err = sub.NextMsgWithContext(asked)
	if errors.Is(err, context.DeadlineExceeded) {
		return ctx.Err() // a request that cannot be served now; it was asked all the same
	}
	return err
}

// pullTimeout is how long the answer to a pull is awaited.
const pullTimeout = 500 * time.Millisecond

func (c *consumerShelf) drop(ctx context.Context, id fanout.SessionID, k fanout.SessionChannel) error {
	p, err := c.place(ctx, id, k)
	if err != nil {
		return err
	}
	var answer consumerInfo
	if err := c.b.api(ctx, "CONSUMER.DELETE."+p.stream.name+"."+p.name, struct{}{}, &answer); err != nil {
		return unavailable("drop consumer", err)
	}
	if e := answer.Error; e != nil && e.ErrCode != codeConsumerNotFound && e.ErrCode != codeStreamNotFound {
		return unavailable("drop consumer", e)
	}
	return nil
}
