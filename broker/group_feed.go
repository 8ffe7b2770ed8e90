package broker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rivulet-rt/rivulet/fanout"
)

// errConsumerGone: the consumer that is the group does not exist any more.
var errConsumerGone = fmt.Errorf("broker: the group was deleted or has expired: %w", fanout.ErrNoGroup)

// ask requests up to n messages of the consumer.
func (g *group) ask(n int, now time.Time) {
	g.request++
	g.asked, g.until = n, now.Add(askFor+time.Second)
	body, err := json.Marshal(struct {
		Batch   int   `json:"batch"`
		Expires int64 `json:"expires"`
	}{n, askFor.Nanoseconds()})
	if err == nil {
		subject := apiPrefix + "CONSUMER.MSG.NEXT." + g.stream.name + "." + g.consumer
		err = g.mux.link.nc.PublishRequest(subject, g.inbox+strconv.FormatUint(g.request, 36), body)
	}
	if err != nil {
		g.until = now.Add(groupTick) // tried again then
		g.b.log.Debug("group request", slog.String("channel", g.key.channel.String()), slog.Any("err", err))
	}
}

// receive takes what the consumer sends: a message, or how a request ended.
func (g *group) receive(m *nats.Msg) {
	if status := m.Header[hdrStatus]; len(status) > 0 && m.Reply == "" {
		g.ending(m, status[0])
		return
	}
	meta, err := m.Metadata()
	if err != nil {
		g.b.met.foreign.Inc()
		return
	}
	msg, ok := g.b.dec.decode(g.stream, stored{
		subject: m.Subject, seq: meta.Sequence.Stream, time: meta.Timestamp.UnixNano(), header: m.Header, data: m.Data,
	})
	d := &delivery{msg: msg, reply: m.Reply, attempt: int(min(meta.NumDelivered, 1<<30)), at: time.Now()}
	g.mu.Lock()
	g.asked = max(0, g.asked-1)
	if g.asked == 0 {
		defer g.poke()
	}
	if ok {
		g.came(d)
	}
	switch {
	case g.ended:
		g.giveBack(d, 0)
	case !ok || msg.Kind != fanout.KindData:
		g.settle(d.reply, []byte(ackBody), func(error) {}) // nothing to work on
	case d.attempt > g.cfg.MaxDeliver:
		g.bury(d, cmp.Or(d.reason, reasonAttempts), func(error) {})
	case len(g.spare) > 0 || !g.offer(d):
		g.spare = append(g.spare, d)
		g.unfit()
	case g.asked == 0:
		g.fit()
	}
	// One that comes for the first time may come after a newer one, over the inbox before.
	if ok && (meta.NumDelivered == 1 || msg.Offset() > g.newest.Offset) {
		g.follow(msg, meta.NumPending)
	}
	g.mu.Unlock()
}

// follow notes the newest message. What lay between it and the one before, whichever node
// had that, can have been dropped for the channel's limit only if at least so many messages
// are behind it: then the one before is gone as well, and nothing proves the opposite.
func (g *group) follow(msg *fanout.Message, pending uint64) {
	if msg.Offset() > g.newest.Offset {
		g.newest = msg.Position
	}
	full := g.fills(pending)
	switch {
	case full && g.full:
		g.late = true
	case full:
		g.gap = true
		g.poke()
	}
	g.full = full
}

// fills reports whether so many messages wait that the channel's limit may have dropped
// some before them.
func (g *group) fills(pending uint64) bool { return g.limit > 0 && pending >= g.limit }

// ending notes that a request brings nothing more.
func (g *group) ending(m *nats.Msg, status string) {
	g.mu.Lock()
	number, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, g.inbox), 36, 64)
	if err == nil && number == g.request {
		g.asked = 0
		if status != "408" { // asked for in vain: not at once again
			g.asked, g.until = 1, time.Now().Add(groupTick)
		}
	}
	g.mu.Unlock()
	gone := status == statusNoOne || status == "409" && strings.Contains(m.Header.Get("Description"), "Consumer Deleted")
	if gone && g.looking.CompareAndSwap(false, true) {
		g.b.wg.Go(g.look)
		return
	}
	g.poke()
}

// look ends the group if its consumer does not exist.
func (g *group) look() {
	defer g.looking.Store(false)
	_, err := g.b.consumerInfo(g.b.ctx, g.stream.name, g.consumer)
	if errors.Is(err, fanout.ErrNoGroup) {
		g.end(errConsumerGone)
		return
	}
	g.poke()
}

// Reasons of dead letters that no member gave.
const (
	reasonAttempts = "max_deliver"
	reasonRefused  = "refused"
)

// Headers of a dead letter, beside those of the message.
const (
	deadReason   = "Rivulet-Dead-Reason"
	deadChannel  = "Rivulet-Dead-Channel"
	deadOffset   = "Rivulet-Dead-Offset"
	deadAttempts = "Rivulet-Dead-Attempts"
)

// buryTimeout bounds the publishing of a dead letter; buryRetry is after how long it
// is tried again where that failed.
const (
	buryTimeout = 10 * time.Second
	buryRetry   = 5 * time.Second
)

// bury publishes a message as a dead letter and then settles it, so a message is never lost
// between the two. The letter's key makes a repetition harmless within the namespace's
// window; where the word that it is settled is lost for longer, there are two letters.
func (g *group) bury(d *delivery, reason string, done func(error)) {
	g.b.wg.Go(func() {
		ctx, cancel := context.WithTimeout(g.b.ctx, buryTimeout)
		defer cancel()
		if err := g.publishDead(ctx, d, reason); err != nil {
			g.b.log.Error("a dead letter cannot be published, its message is tried again",
				slog.String("channel", g.key.channel.String()), slog.String("group", g.key.name), slog.Uint64("offset", d.msg.Offset()), slog.Any("err", err))
			d.reason = reason // which nobody would know any more
			g.mu.Lock()
			g.waits(d, buryRetry, 0)
			g.mu.Unlock()
			g.giveBack(d, buryRetry)
			done(err)
			return
		}
		g.b.met.groups.dead.Inc()
		g.over(d)
		g.settle(d.reply, []byte(termBody), done)
	})
}

func (g *group) publishDead(ctx context.Context, d *delivery, reason string) error {
	letter := g.letter(d, reason, true)
	_, err := g.b.Publish(ctx, letter)
	if errors.Is(err, fanout.ErrTooLarge) {
		// Its own headers leave no room for those that say why.
		_, err = g.b.Publish(ctx, g.letter(d, reason, false))
	}
	if errors.Is(err, fanout.ErrKeyConflict) {
		return nil // it was published before, with what was said then
	}
	return err
}

func (g *group) letter(d *delivery, reason string, headers bool) *fanout.Publication {
	m := d.msg
	all := map[string]string{}
	if headers {
		maps.Copy(all, m.Headers)
	}
	all[deadReason], all[deadChannel] = reason, m.Channel.String()
	all[deadOffset], all[deadAttempts] = strconv.FormatUint(m.Offset(), 10), strconv.Itoa(min(d.attempt, g.cfg.MaxDeliver))
	return &fanout.Publication{
		Channel: fanout.DeadLetters(m.Channel, g.key.name), Data: m.Data, Binary: m.Binary, Headers: all,
		Key: "dead-" + m.Position.String() + "-" + g.consumer, Publisher: "group:" + g.key.name, User: m.User, Client: m.Client,
	}
}
