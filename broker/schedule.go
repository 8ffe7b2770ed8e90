package broker

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/migrations"
)

// Headers of a scheduled message, beside those that its stored message will have.
const (
	hdrDeliverAt = "Rv-Deliver-At" // Unix nanoseconds
	hdrLaterTTL  = "Rv-TTL"        // seconds from when it is stored in its channel
	// hdrSchedule in a channel's message is the ID under which it waited.
	hdrSchedule = "Rv-Schedule"
)

// scheduleDigits write a schedule's ID: what begins with a "-" is no argument for a
// shell's command.
const scheduleDigits = "0123456789abcdefghijklmnopqrstuv"

func scheduleEncoding() *base32.Encoding {
	return base32.NewEncoding(scheduleDigits).WithPadding(base32.NoPadding)
}

// parseSchedule reads a schedule's ID.
func parseSchedule(id string) (raw [idBytes]byte, ok bool) {
	b, err := scheduleEncoding().DecodeString(id)
	if err != nil || len(b) != idBytes || scheduleEncoding().EncodeToString(b) != id {
		return raw, false
	}
	return [idBytes]byte(b), true
}

// scanSchedules is how many scheduled messages one page looks at.
const scanSchedules = 1024

// publishLater schedules a message.
func (b *Broker) publishLater(ctx context.Context, p *fanout.Publication) (fanout.Receipt, error) {
	ns, err := b.accept(ctx, p)
	if err != nil {
		return fanout.Receipt{}, err
	}
	if err := b.enter(ctx, p); err != nil {
		return fanout.Receipt{}, err
	}
	defer func() {
		b.pub.window.release(p.Channel.Namespace())
		b.met.inFlight.Dec()
	}()
	return b.schedule(ctx, ns, p)
}

// schedule stores a message that is due later, in a stream of its own. Its ID is, in other
// letters, also its message ID in the channel; of a message with a key it follows from that, so that
// the key is safe to repeat, as long as the message waits and, within the namespace's
// window, after that.
func (b *Broker) schedule(ctx context.Context, ns *namespace, p *fanout.Publication) (fanout.Receipt, error) {
	doing := "schedule for " + p.Channel.String()
	raw := keyHash(p)
	if p.Key == "" {
		_, _ = rand.Read(raw[:]) // never fails, by its contract
	}
	id := scheduleEncoding().EncodeToString(raw[:])
	msg, err := encodeSchedule(p, id)
	if err != nil {
		return fanout.Receipt{}, err
	}
	if p.Updates != 0 {
		s := &sending{stream: ns.home(p.Channel), p: p}
		if err := b.checkOriginal(ctx, s); err != nil {
			return fanout.Receipt{}, err
		}
	}
	ack, err := b.storeSchedule(ctx, msg)
	if err != nil {
		return fanout.Receipt{}, b.scheduleUnknown(ns, p, doing, err)
	}
	if ack.Error == nil {
		b.timer.poke()
		return fanout.Receipt{Schedule: id, DeliverAt: p.DeliverAt}, nil
	}
	if ack.Error.ErrCode == codeWrongLast {
		return b.scheduledBefore(ctx, p, id, doing)
	}
	return fanout.Receipt{}, fmt.Errorf("%s: %w", doing, scheduleRefusal(ack.Error))
}

func (b *Broker) storeSchedule(ctx context.Context, msg *nats.Msg) (pubAck, error) {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.PublishTimeout)
	defer cancel()
	reply, err := b.ctl.nc.RequestMsgWithContext(ctx, msg)
	if err != nil {
		return pubAck{}, err
	}
	return parseAck(reply.Data)
}

// scheduleUnknown is the error where no acknowledgement came. A retry is safe until
// the message has been stored in its channel and the window after that is over.
func (b *Broker) scheduleUnknown(ns *namespace, p *fanout.Publication, doing string, err error) error {
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%s: %w: %w", doing, fanout.ErrTooLarge, err)
	case unsent(err), errors.Is(err, nats.ErrNoResponders):
		return unavailable(doing, err)
	}
	unknown := &fanout.OutcomeUnknownError{Cause: err}
	if p.Key != "" {
		unknown.RetryUntil = time.Unix(0, p.DeliverAt).Add(ns.spec.DuplicateWindow / 2)
	}
	return fmt.Errorf("%s: %w", doing, unknown)
}

// scheduleRefusal is why the server did not take what it was to keep.
func scheduleRefusal(e *apiError) error {
	if e.ErrCode == codeStoreFailed && strings.Contains(e.Description, "maximum") {
		return fmt.Errorf("%w: %w", fanout.ErrSchedulesFull, e)
	}
	if certain, err := refusal(e); certain {
		return err
	}
	return &fanout.OutcomeUnknownError{Cause: e}
}

// scheduledBefore is the receipt of a message whose key waits already.
func (b *Broker) scheduledBefore(ctx context.Context, p *fanout.Publication, id, doing string) (fanout.Receipt, error) {
	first, err := b.Schedule(ctx, id)
	if errors.Is(err, fanout.ErrNoSchedule) {
		// It became due between the two requests; asked again, its channel has it.
		return fanout.Receipt{}, fmt.Errorf("%s: %w: the first became due at this moment", doing, fanout.ErrTooBusy)
	}
	if err != nil {
		return fanout.Receipt{}, err
	}
	if !samePublication(first.Publication, p) {
		return fanout.Receipt{}, fmt.Errorf("%s: %w: the first waits as schedule %s", doing, fanout.ErrKeyConflict, id)
	}
	return fanout.Receipt{Schedule: id, DeliverAt: first.Publication.DeliverAt, Duplicate: true}, nil
}

// encodeSchedule makes the form in which a message waits.
func encodeSchedule(p *fanout.Publication, id string) (*nats.Msg, error) {
	subject := migrations.ScheduleSubject(id, p.Channel.Namespace(), p.Channel.Segments())
	msg, err := encode(p, subject, 0)
	if err != nil {
		return nil, err
	}
	if msg.Header == nil {
		msg.Header = nats.Header{}
	}
	delete(msg.Header, hdrMsgID)
	if ttl := msg.Header[hdrTTL]; ttl != nil {
		msg.Header[hdrLaterTTL] = ttl
		delete(msg.Header, hdrTTL)
	}
	msg.Header[hdrDeliverAt] = []string{strconv.FormatInt(p.DeliverAt, 10)}
	msg.Header[hdrExpected] = []string{"0"} // nothing waits under the ID
	return msg, nil
}

// decodeSchedule reads what waits. ok is false for what this service did not write.
func decodeSchedule(m stored) (s fanout.Scheduled, ok bool) {
	id, name, ok := migrations.ParseSchedule(m.subject)
	if !ok {
		return s, false
	}
	c, err := fanout.ParseChannel(name)
	if err != nil {
		return s, false
	}
	msg := &fanout.Message{}
	if !decodeNames(msg, m.header) || !decodeOptions(msg, m.header) {
		return s, false
	}
	p := &fanout.Publication{
		Channel: c, Data: m.data, Binary: msg.Binary, Headers: msg.Headers, Key: msg.ID, User: msg.User, Client: msg.Client,
		ConflationKey: msg.ConflationKey, Updates: msg.Updates, Exclude: msg.Exclude,
		TTL:       time.Duration(parseUint(m.header, hdrLaterTTL)) * time.Second,
		DeliverAt: int64(parseUint(m.header, hdrDeliverAt)),
	}
	return fanout.Scheduled{ID: id, Publication: p, Created: m.time, Cursor: m.seq}, p.DeliverAt > 0
}

// Schedule finds a message that waits. The error wraps fanout.ErrNoSchedule.
func (b *Broker) Schedule(ctx context.Context, id string) (fanout.Scheduled, error) {
	none := fmt.Errorf("%w: %q", fanout.ErrNoSchedule, id)
	if _, ok := parseSchedule(id); !ok {
		return fanout.Scheduled{}, none
	}
	m, found, err := b.waiting(ctx, getRequest{Last: migrations.ScheduleFilter(id, "", nil)})
	if err != nil {
		return fanout.Scheduled{}, err
	}
	if s, ok := decodeSchedule(m); found && ok {
		return s, nil
	}
	return fanout.Scheduled{}, none
}

// waiting reads one scheduled message, as the leader has it.
func (b *Broker) waiting(ctx context.Context, req getRequest) (stored, bool, error) {
	m, e, err := b.readLeading(ctx, migrations.ScheduleStream, req)
	switch {
	case err != nil:
		return stored{}, false, unavailable("read schedules", err)
	case e == nil:
		return m, true, nil
	case e.ErrCode == codeNoMessage:
		return stored{}, false, nil
	}
	return stored{}, false, unavailable("read schedules", e)
}

// Schedules lists messages that wait, in the order in which they were scheduled.
func (b *Broker) Schedules(ctx context.Context, q fanout.ScheduleQuery) (fanout.SchedulePage, error) {
	var page fanout.SchedulePage
	filter := scheduleFilter(q)
	at, seen := q.After, 0
	for {
		part, err := b.readSchedules(ctx, filter, at)
		if err != nil {
			return page, unavailable("list schedules", err)
		}
		for _, m := range part.list {
			at = m.seq
			s, ok := decodeSchedule(m)
			if ok && strings.HasPrefix(s.Publication.Channel.String(), q.Prefix) {
				page.List = append(page.List, s)
			}
			if len(page.List) == q.Limit {
				break
			}
		}
		seen += len(part.list)
		more := part.pending > 0 || len(part.list) > 0 && part.list[len(part.list)-1].seq > at
		switch {
		case !more || len(part.list) == 0:
			return page, nil
		case len(page.List) == q.Limit, seen >= scanSchedules:
			page.Next = at
			return page, nil
		}
	}
}

func scheduleFilter(q fanout.ScheduleQuery) string {
	if !q.Channel.IsZero() {
		return migrations.ScheduleFilter("", q.Channel.Namespace(), q.Channel.Segments())
	}
	namespace, _, whole := strings.Cut(q.Prefix, ":")
	if !whole || fanout.CheckNamespace(namespace) != nil {
		return migrations.ScheduleFilter("", "", nil)
	}
	return migrations.ScheduleFilter("", namespace, nil)
}

// readSchedules reads a batch of what waits, after a sequence. On replicas it may lack
// the latest.
func (b *Broker) readSchedules(ctx context.Context, filter string, after uint64) (batch, error) {
	c := &getCall{multi: true, done: make(chan struct{})}
	req := getRequest{Seq: after + 1, Next: filter, Batch: batchMost, MaxBytes: batchBytes}
	return b.send(ctx, b.replay[0], apiPrefix+"DIRECT.GET."+migrations.ScheduleStream, req, c)
}

// Cancel takes a scheduled message back. Nil says that it never reaches its channel;
// the error wraps fanout.ErrNoSchedule where nothing waits under the ID,
// fanout.ErrScheduleDue where the message is due, and fanout.ErrOutcomeUnknown where
// it became due meanwhile or the log did not answer. Due is by this node's clock.
func (b *Broker) Cancel(ctx context.Context, id string) error {
	s, err := b.Schedule(ctx, id)
	if err != nil {
		return err
	}
	due := time.Unix(0, s.Publication.DeliverAt)
	if !time.Now().Before(due) {
		return fmt.Errorf("cancel %s: %w", id, fanout.ErrScheduleDue)
	}
	removed, err := b.drop(ctx, migrations.ScheduleStream, s.Cursor, true)
	switch {
	case unsent(err):
		return unavailable("cancel "+id, err)
	case err != nil: // it may be removed, and a repetition could not tell
		return fmt.Errorf("cancel %s: %w", id, &fanout.OutcomeUnknownError{Cause: err})
	case !removed:
		return fmt.Errorf("cancel %s: %w", id, fanout.ErrNoSchedule)
	case !time.Now().Before(due):
		return fmt.Errorf("cancel %s: %w", id, &fanout.OutcomeUnknownError{Cause: fanout.ErrScheduleDue})
	}
	return nil
}
