package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/rivulet-rt/rivulet/fanout"
)

const (
	// feedWait is how long a receipt waits for the node's own live feed, which is
	// told of a message before its publisher, to say when it was stored.
	feedWait = 20 * time.Millisecond
	// behindFor is how long nobody waits after the feed did not say so in time.
	behindFor = 200 * time.Millisecond
	// clockSlack is how far the clock of the server that stored a message may be
	// behind this node's for the feed's word to be believed.
	clockSlack = time.Second
	// conflictWait is the pause before a message is sent again whose first copy is
	// still being stored.
	conflictWait = 20 * time.Millisecond
	// laterAtOnce is how many messages of one call are scheduled at a time.
	laterAtOnce = 64
)

// publisher sends what is to be stored and matches the acknowledgements.
type publisher struct {
	mux    *mux
	window *window // one for each publish in flight
	closed atomic.Bool
}

// answer is how one send ended: exactly one field is set.
type answer struct {
	msg  *nats.Msg
	lost bool // the connection was lost: the outcome is open
	err  error
	ack  *pubAck // from an atomic batch
}

// pubAck is JetStream's acknowledgement.
type pubAck struct {
	Error     *apiError `json:"error"`
	Seq       uint64    `json:"seq"`
	Duplicate bool      `json:"duplicate"`
}

// sending is one publish under way.
type sending struct {
	pub    *publisher
	met    *metrics
	answer chan answer // one; reply and fail race for it
	freed  atomic.Bool
	id     atomic.Uint64 // of the call, once sent alone

	stream *stream
	p      *fanout.Publication
	msg    *nats.Msg
	sent   time.Time
	retry  time.Time // until when a retry is safe; zero without a key
}

func (s *sending) reply(m *nats.Msg) bool {
	s.finish(answer{msg: m})
	return true
}

func (s *sending) fail() { s.finish(answer{lost: true}) }

func (s *sending) finish(a answer) {
	select {
	case s.answer <- a:
	default:
	}
	s.free()
}

// free gives the place in the window back, once.
func (s *sending) free() {
	if s.freed.CompareAndSwap(false, true) {
		s.pub.window.release(s.p.Channel.Namespace())
		s.met.inFlight.Dec()
	}
}

// Publish stores one message and returns where. Errors: *fanout.InputError,
// fanout.ErrUnknownNamespace, ErrTooLarge, ErrUnavailable, ErrTooBusy,
// ErrDiskFull, ErrKeyConflict, ErrExpectedOffset and ErrNoMessage (of what the message
// updates) say that nothing was stored (by this call);
// *fanout.OutcomeUnknownError that the message may be stored, also where ctx
// ended while its acknowledgement was awaited.
//
// A message with DeliverAt is stored there, and its receipt has the Schedule; the error
// wraps fanout.ErrSchedulesFull where there is no room for it.
func (b *Broker) Publish(ctx context.Context, p *fanout.Publication) (fanout.Receipt, error) {
	if p.DeliverAt != 0 {
		return b.publishLater(ctx, p)
	}
	s, err := b.begin1(ctx, p)
	return b.end1(ctx, s, err)
}

// PublishAll stores messages in the given order, sending each before the one
// before it is acknowledged; those with DeliverAt are scheduled in any order. Every message has its own outcome; one that fails
// does not keep the later ones from being stored.
func (b *Broker) PublishAll(ctx context.Context, ps []*fanout.Publication) []fanout.Outcome {
	sends := make([]*sending, len(ps))
	out := make([]fanout.Outcome, len(ps))
	var later errgroup.Group
	later.SetLimit(laterAtOnce)
	for i, p := range ps {
		if p.DeliverAt != 0 {
			later.Go(func() error {
				out[i].Receipt, out[i].Err = b.publishLater(ctx, p)
				return nil
			})
			continue
		}
		sends[i], out[i].Err = b.begin1(ctx, p)
	}
	_ = later.Wait() // its functions return nil
	for i, p := range ps {
		if p.DeliverAt != 0 {
			continue
		}
		out[i].Receipt, out[i].Err = b.end1(ctx, sends[i], out[i].Err)
	}
	return out
}

// Purge empties a channel. What it stores is a marker, which every cursor sees.
func (b *Broker) Purge(ctx context.Context, c fanout.Channel) (fanout.Receipt, error) {
	p := &fanout.Publication{Channel: c}
	s, err := b.start(ctx, p, func(m *nats.Msg) {
		m.Header = nats.Header{hdrRollup: {rollupSub}, hdrKind: {kindPurge}}
	})
	return b.end1(ctx, s, err)
}

func (b *Broker) begin1(ctx context.Context, p *fanout.Publication) (*sending, error) {
	return b.start(ctx, p, nil)
}

func (b *Broker) end1(ctx context.Context, s *sending, err error) (fanout.Receipt, error) {
	var r fanout.Receipt
	if err == nil {
		r, err = b.await(ctx, s)
	}
	b.met.published(r, err)
	return r, err
}

// start checks and sends a publication. An error means that nothing was sent,
// unless it says that the outcome is unknown.
func (b *Broker) start(ctx context.Context, p *fanout.Publication, mark func(*nats.Msg)) (*sending, error) {
	ns, err := b.accept(ctx, p)
	if err != nil {
		return nil, err
	}
	st := ns.home(p.Channel)
	msg, err := encode(p, st.filter(p.Channel), ns.spec.MaxAge)
	if err != nil {
		return nil, err
	}
	if mark != nil {
		mark(msg)
	}
	s := &sending{pub: b.pub, met: b.met, answer: make(chan answer, 1), stream: st, p: p, msg: msg}
	if err := b.prepare(ctx, s); err != nil {
		return nil, err
	}
	if err := b.enter(ctx, p); err != nil {
		return nil, err
	}
	s.sent = time.Now()
	if p.Key != "" {
		s.retry = s.sent.Add(ns.spec.DuplicateWindow * 3 / 4)
	}
	return s, b.dispatch(s)
}

// dispatch hands a message to the stream's batcher, or sends it.
func (b *Broker) dispatch(s *sending) error {
	if s.stream.batch != nil && s.msg.Header[hdrRollup] == nil {
		return s.stream.batch.add(s)
	}
	return b.transmit(s)
}

// transmit sends one message by itself.
func (b *Broker) transmit(s *sending) error {
	id, reply := b.pub.mux.add(s)
	s.id.Store(id)
	s.msg.Reply = reply
	err := b.pub.mux.link.nc.PublishMsg(s.msg)
	if err == nil {
		return nil
	}
	b.pub.mux.remove(id)
	s.free()
	return s.sendError(err)
}

func (s *sending) sendError(err error) error {
	doing := "publish to " + s.p.Channel.String()
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%s: %w: %w", doing, fanout.ErrTooLarge, err)
	case unsent(err):
		return unavailable(doing, err)
	}
	return fmt.Errorf("%s: %w", doing, &fanout.OutcomeUnknownError{RetryUntil: s.retry, Cause: err})
}

// enter waits for a place in the window.
func (b *Broker) enter(ctx context.Context, p *fanout.Publication) error {
	namespace := p.Channel.Namespace()
	if !b.pub.window.tryAcquire(namespace) {
		wait, cancel := context.WithTimeout(ctx, b.cfg.PublishTimeout)
		defer cancel()
		if err := b.pub.window.acquire(wait, namespace); err != nil {
			return fmt.Errorf("publish to %s: %w: %w", p.Channel, fanout.ErrTooBusy, err)
		}
	}
	b.met.inFlight.Inc()
	return nil
}

// await waits for the acknowledgement and makes the receipt.
func (b *Broker) await(ctx context.Context, s *sending) (fanout.Receipt, error) {
	deadline := time.NewTimer(time.Until(s.sent.Add(b.cfg.PublishTimeout)))
	defer deadline.Stop()
	for {
		a, err := s.wait(ctx, deadline.C)
		if err != nil {
			return fanout.Receipt{}, err
		}
		ack, err := s.judge(a)
		b.met.ackSeconds.Observe(time.Since(s.sent).Seconds())
		if errors.Is(err, errInProgress) {
			if err := b.again(ctx, s); err != nil {
				return fanout.Receipt{}, err
			}
			continue
		}
		if errors.Is(err, fanout.ErrExpectedOffset) && s.p.Key != "" {
			return b.settled(ctx, s, err)
		}
		if err != nil {
			b.noticeNoOne(s, err)
			return fanout.Receipt{}, fmt.Errorf("publish to %s: %w", s.p.Channel, err)
		}
		s.stream.silent.Store(0)
		return b.receipt(ctx, s, ack)
	}
}

// wait returns the answer, also one that came when the time was over: a batch's messages
// are awaited one after the other.
func (s *sending) wait(ctx context.Context, deadline <-chan time.Time) (answer, error) {
	var over error
	select {
	case a := <-s.answer:
		return a, nil
	case <-ctx.Done():
		over = ctx.Err()
	case <-deadline:
		over = errNoAck
	}
	select {
	case a := <-s.answer:
		return a, nil
	default:
	}
	if errors.Is(over, errNoAck) {
		s.stream.silent.Add(1)
	}
	return answer{}, s.giveUp(over)
}

// errNoAck: the acknowledgement did not come in time.
var errNoAck = errors.New("broker: no acknowledgement in time")

// errInProgress: the first message with the key, or another that expects the same
// last offset, is being stored at this moment.
var errInProgress = errors.New("broker: a message that may rule this one out is being stored")

func (s *sending) giveUp(cause error) error {
	s.pub.mux.remove(s.id.Load())
	s.free()
	return fmt.Errorf("publish to %s: %w", s.p.Channel, s.unknown(cause))
}

func (s *sending) unknown(cause error) error {
	return &fanout.OutcomeUnknownError{RetryUntil: s.retry, Cause: cause}
}

// judge reads an acknowledgement, or says why there is none.
func (s *sending) judge(a answer) (pubAck, error) {
	switch {
	case a.err != nil:
		return pubAck{}, a.err
	case a.lost:
		return pubAck{}, s.unknown(errNoAnswer)
	case a.ack != nil:
		return *a.ack, nil
	}
	// Nobody listens on the stream's subject: no server had it to store.
	if status := a.msg.Header[hdrStatus]; len(status) > 0 && status[0] == statusNoOne && len(a.msg.Data) == 0 {
		return pubAck{}, fmt.Errorf("%w: %w", fanout.ErrUnavailable, errNoOne)
	}
	ack, err := parseAck(a.msg.Data)
	if err != nil {
		return pubAck{}, s.unknown(err)
	}
	return ack, s.refused(ack.Error)
}

// parseAck reads an acknowledgement. The plain one, {"stream":"...","seq":1},
// is what nearly all are, and read without the JSON decoder.
func parseAck(data []byte) (pubAck, error) {
	if bytes.HasPrefix(data, []byte(`{"stream":`)) {
		_, digits, _ := bytes.Cut(data, []byte(`"seq":`))
		if digits, plain := bytes.CutSuffix(digits, []byte{'}'}); plain {
			if seq, err := strconv.ParseUint(string(bytes.TrimSpace(digits)), 10, 64); err == nil && seq > 0 {
				return pubAck{Seq: seq}, nil
			}
		}
	}
	var ack pubAck
	if err := json.Unmarshal(data, &ack); err != nil {
		return pubAck{}, fmt.Errorf("%w: %w", errMalformed, err)
	}
	if ack.Error == nil && ack.Seq == 0 {
		return pubAck{}, fmt.Errorf("%w: %q", errMalformed, data)
	}
	return ack, nil
}

func (s *sending) refused(e *apiError) error {
	if e == nil {
		return nil
	}
	switch e.ErrCode {
	case codeDuplicateInFlight, codeWrongLastBusy:
		return errInProgress
	case codeWrongLast:
		return unexpected(e)
	}
	certain, err := refusal(e)
	if !certain {
		return s.unknown(err)
	}
	return err
}

// again sends a message once more. That is safe, as it has a key, or was refused for
// what it expected.
func (b *Broker) again(ctx context.Context, s *sending) error {
	if err := pause(ctx, conflictWait); err != nil {
		return fmt.Errorf("publish to %s: %w", s.p.Channel, s.unknown(err))
	}
	if err := b.enter(ctx, s.p); err != nil {
		return fmt.Errorf("publish to %s: %w", s.p.Channel, s.unknown(err))
	}
	s.freed.Store(false)
	if err := b.transmit(s); err != nil {
		return fmt.Errorf("publish to %s: %w", s.p.Channel, s.unknown(err))
	}
	return nil
}

// noticeNoOne has the keeper look at a stream that nobody answers for.
func (b *Broker) noticeNoOne(s *sending, err error) {
	if errors.Is(err, errNoOne) {
		b.keep.mend(s.stream)
	}
}
