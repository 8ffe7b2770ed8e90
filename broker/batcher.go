package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rivulet-rt/rivulet/fanout"
)

const (
	// batchMaxCount is how many messages one atomic batch takes, batchMinCount how
	// many make it pay: a batch costs about 3 ms, a message synced alone 0.2 ms.
	batchMaxCount = 100
	batchMinCount = 24

	hdrBatchID     = "Nats-Batch-Id"
	hdrBatchSeq    = "Nats-Batch-Sequence"
	hdrBatchCommit = "Nats-Batch-Commit"
)

// batcher sends a stream's messages in atomic batches where every write is
// synced: JetStream syncs once for a batch, but once for each message that comes
// alone. A message that finds the stream idle is sent at once; whatever comes
// while others are on their way goes next, as a batch where it is enough.
type batcher struct {
	b  *Broker
	in chan *sending // never closed; has room for the whole window
}

func newBatcher(b *Broker) *batcher {
	return &batcher{b: b, in: make(chan *sending, b.cfg.InFlight)}
}

func (g *batcher) add(s *sending) error {
	select {
	case g.in <- s:
		return nil
	default:
		s.free()
		return fmt.Errorf("publish to %s: %w", s.p.Channel, fanout.ErrTooBusy)
	}
}

func (g *batcher) run(ctx context.Context) {
	for {
		var list []*sending
		select {
		case <-ctx.Done():
			return
		case s := <-g.in:
			list = append(list, s)
		}
		for more := true; more && len(list) < batchMaxCount; {
			select {
			case s := <-g.in:
				list = append(list, s)
			default:
				more = false
			}
		}
		g.sendInOrder(ctx, list)
	}
}

// sendInOrder sends messages that must be alone by themselves, and what lies between
// them together.
func (g *batcher) sendInOrder(ctx context.Context, list []*sending) {
	from := 0
	for i, s := range list {
		if s.alone() {
			g.send(ctx, list[from:i])
			g.sendSingly(ctx, list[i:i+1])
			from = i + 1
		}
	}
	g.send(ctx, list[from:])
}

// send stores a list in order and answers every message. A batch that the server
// refuses is halved: one message that repeats a key refuses all of them.
func (g *batcher) send(ctx context.Context, list []*sending) {
	if len(list) < batchMinCount {
		g.sendSingly(ctx, list)
		return
	}
	ack, err := g.b.commitBatch(ctx, list)
	if err == nil && ack.Error == nil {
		for i, s := range list {
			s.finish(answer{ack: &pubAck{Seq: ack.Seq - uint64(len(list)-1-i)}})
		}
		return
	}
	if err == nil {
		if certain, _ := refusal(ack.Error); !certain {
			err = ack.Error
		}
	}
	if err != nil {
		for _, s := range list {
			s.finish(answer{err: s.unlessUnsent(err)})
		}
		return
	}
	half := len(list) / 2
	g.send(ctx, list[:half])
	g.send(ctx, list[half:])
}

func (s *sending) unlessUnsent(err error) error {
	if errors.Is(err, errBatchUnsent) || errors.Is(err, fanout.ErrUnavailable) {
		return unavailable("publish", err)
	}
	return s.unknown(err)
}

// sendSingly sends messages one after the other and waits for the last, so that
// what follows cannot pass them, and more can gather meanwhile.
func (g *batcher) sendSingly(ctx context.Context, list []*sending) {
	for i, s := range list {
		if i < len(list)-1 {
			if err := g.b.transmit(s); err != nil {
				s.finish(answer{err: err})
			}
			continue
		}
		last := &relay{s: s, done: make(chan struct{})}
		id, reply := g.b.pub.mux.add(last)
		s.msg.Reply = reply
		if err := g.b.pub.mux.link.nc.PublishMsg(s.msg); err != nil {
			g.b.pub.mux.remove(id)
			s.finish(answer{err: s.sendError(err)})
			return
		}
		g.wait(ctx, id, last.done)
	}
}

// relay hands an answer on and tells the batcher.
type relay struct {
	s    *sending
	done chan struct{}
	once sync.Once
}

func (r *relay) reply(m *nats.Msg) bool {
	r.s.finish(answer{msg: m})
	r.once.Do(func() { close(r.done) })
	return true
}

func (r *relay) fail() {
	r.s.finish(answer{lost: true})
	r.once.Do(func() { close(r.done) })
}

func (g *batcher) wait(ctx context.Context, id uint64, done chan struct{}) {
	timer := time.NewTimer(g.b.cfg.PublishTimeout)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C: // the publisher has given up as well
		g.b.pub.mux.remove(id)
	case <-ctx.Done():
	}
}

// errBatchUnsent: no message of the batch can be stored, as its commit was not sent.
var errBatchUnsent = errors.New("broker: batch not sent")

// commitBatch sends an atomic batch and waits for its acknowledgement.
func (b *Broker) commitBatch(ctx context.Context, list []*sending) (pubAck, error) {
	call := &batchCall{answer: make(chan answer, 1)}
	id, reply := b.pub.mux.add(call)
	defer b.pub.mux.remove(id)
	batchID := rand.Text()
	nc := b.pub.mux.link.nc
	for i, s := range list {
		m := &nats.Msg{Subject: s.msg.Subject, Data: s.msg.Data, Header: nats.Header{}}
		maps.Copy(m.Header, s.msg.Header)
		m.Header[hdrBatchID] = []string{batchID}
		m.Header[hdrBatchSeq] = []string{strconv.Itoa(i + 1)}
		last := i == len(list)-1
		if last {
			m.Header[hdrBatchCommit] = []string{"1"}
			m.Reply = reply
		}
		if err := nc.PublishMsg(m); err != nil {
			if last && !unsent(err) {
				return pubAck{}, err
			}
			return pubAck{}, fmt.Errorf("%w: %w: %w", fanout.ErrUnavailable, errBatchUnsent, err)
		}
	}
	timer := time.NewTimer(b.cfg.PublishTimeout)
	defer timer.Stop()
	select {
	case a := <-call.answer:
		return a.batchAck()
	case <-timer.C:
		return pubAck{}, errNoAck
	case <-ctx.Done():
		return pubAck{}, ctx.Err()
	}
}

// batchAck reads the acknowledgement of a whole batch.
func (a answer) batchAck() (pubAck, error) {
	if a.lost {
		return pubAck{}, errNoAnswer
	}
	if status := a.msg.Header[hdrStatus]; len(status) > 0 && status[0] == statusNoOne && len(a.msg.Data) == 0 {
		return pubAck{}, fmt.Errorf("%w: %w", fanout.ErrUnavailable, errNoOne)
	}
	return parseAck(a.msg.Data)
}

// batchCall awaits the acknowledgement of a batch.
type batchCall struct{ answer chan answer }

func (c *batchCall) reply(m *nats.Msg) bool { return c.put(answer{msg: m}) }

func (c *batchCall) fail() { c.put(answer{lost: true}) }

func (c *batchCall) put(a answer) bool {
	select {
	case c.answer <- a:
	default:
	}
	return true
}
