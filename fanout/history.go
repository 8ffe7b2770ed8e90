package fanout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxPageBytes bounds what one page of history holds in memory: past it a page ends
// early, with More.
const maxPageBytes = 4 << 20

const (
	// pageBatch is how many messages one read of a page asks for. Each read keeps two
	// goroutines of the log and one of the node busy until it is done, and between reads
	// others get the processors: at 256, without a rest, one client that read histories
	// tripled the p99 of others' deliveries, with 64 and a rest it is 1.4 times as long.
	pageBatch = 64
	// restLeast is from when on a rest is due: less than a timer can tell is no rest.
	// restMost bounds it, where a read took long because the log was slow.
	restLeast = 500 * time.Microsecond
	restMost  = 10 * time.Millisecond
)

// History reads one page of a channel's stored messages, at most about 4 MiB of
// them (and always one, if there is one). Errors are *InputError,
// or wrap what the Log returned.
func (h *Hub) History(ctx context.Context, q HistoryQuery) (HistoryPage, error) {
	switch {
	case q.Channel.IsPattern():
		return HistoryPage{}, badInput("channel", "%q is a pattern; history is of one channel", q.Channel)
	case q.Limit < 1 || q.Limit > MaxLast:
		return HistoryPage{}, badInput("limit", "is %d, must be 1 to %d", q.Limit, MaxLast)
	case !q.After.IsZero() && q.Since != 0:
		return HistoryPage{}, badInput("since", "give only one of after and since")
	}
	ids, err := h.backend.Locate(ctx, q.Channel)
	if err != nil {
		return HistoryPage{}, err
	}
	src := Source{Stream: ids[0], Filter: q.Channel}
	if q.Desc {
		return h.newestFirst(ctx, src, q)
	}
	return h.oldestFirst(ctx, src, q)
}

// pageReader reads a channel forward in batches, each proven to follow on the last. It
// rests between them for as long as they took.
type pageReader struct {
	hub *Hub
	src Source
	// at is where the reader stands; before the first batch perhaps only its offset.
	at        Position
	recovered bool
	reason    string        // why not
	took      time.Duration // for reads since the last rest
	batch     int           // messages of one read
}

// next returns the messages after at, none at the end. Where history is found gone
// it goes on from where the log begins.
func (r *pageReader) next(ctx context.Context) (msgs []*Message, more bool, err error) {
	if err := r.rest(ctx); err != nil {
		return nil, false, err
	}
	began := time.Now()
	defer func() { r.took += time.Since(began) }()
	if r.at.IsZero() {
		return r.begin(ctx)
	}
	for {
		q := r.hub.queryAt(r.src, r.at.Offset, r.at)
		q.Limit = min(q.Limit, r.batch)
		b, err := r.hub.reader.read(ctx, q)
		if err != nil {
			return nil, false, err
		}
		ok, reason := Complete(r.at, b.Evidence)
		if ok {
			return b.Messages, b.More, nil
		}
		r.recovered, r.reason = false, reason
		if begin := b.Evidence.Begin; begin != r.at && ctx.Err() == nil {
			r.at = begin
			continue
		}
		return b.Messages, b.More, nil
	}
}

// rest lets others have the processors between two reads.
func (r *pageReader) rest(ctx context.Context) error {
	if r.took < restLeast {
		return nil
	}
	timer := time.NewTimer(min(r.took, restMost))
	defer timer.Stop()
	r.took = 0
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// begin reads the first batch, which tells where the reader stands. It reads again
// where a message is stored just as nothing was found.
func (r *pageReader) begin(ctx context.Context) ([]*Message, bool, error) {
	for {
		b, from, err := r.hub.readAt(ctx, r.src, r.at.Offset, r.batch)
		if errors.Is(err, errMoved) && ctx.Err() == nil {
			continue
		}
		r.at = from
		return b.Messages, b.More, err
	}
}

// startOf makes the reader of a page: after q.After, at q.Since, or at the beginning.
func (h *Hub) startOf(ctx context.Context, src Source, q HistoryQuery) (*pageReader, error) {
	r := &pageReader{hub: h, src: src, at: q.After, recovered: true, batch: pageBatch}
	if q.Since == 0 {
		return r, nil
	}
	after, err := h.backend.Seek(ctx, src, Seek{Since: q.Since})
	r.at.Offset = after
	return r, err
}

func (h *Hub) oldestFirst(ctx context.Context, src Source, q HistoryQuery) (HistoryPage, error) {
	r, err := h.startOf(ctx, src, q)
	var page HistoryPage
	var entries []entry
	size, read := 0, 0
	for more := true; more && err == nil; {
		var msgs []*Message
		if msgs, more, err = r.next(ctx); err != nil {
			break
		}
		for _, m := range msgs {
			if !q.Before.IsZero() && m.Offset() >= q.Before.Offset {
				more = false
				break
			}
			if q.folds(m) {
				size += m.Size()
			}
			if read++; len(entries) == q.Limit || size > maxPageBytes && len(entries) > 0 || read > maxFold {
				more, page.More = false, true
				break
			}
			r.at = m.Position
			if q.folds(m) {
				entries = append(entries, entry{m, m.Position})
			}
		}
	}
	if err != nil {
		return HistoryPage{}, fmt.Errorf("history of %s: %w", src.Filter, err)
	}
	page.Position, page.Recovered, page.Reason = r.at, r.recovered, r.reason
	return h.finish(ctx, src, q, page, entries)
}

// newestRounds is how often a newest-first page reads further back, where what it found
// has too few entries.
const newestRounds = 16

func (h *Hub) newestFirst(ctx context.Context, src Source, q HistoryQuery) (HistoryPage, error) {
	page := HistoryPage{Position: q.Before, Recovered: true, More: true}
	var entries []entry
	size := 0
	for round := 0; round < newestRounds && page.More && len(entries) < q.Limit && size <= maxPageBytes; round++ {
		part, err := h.newestPart(ctx, src, q, q.Limit-len(entries), maxPageBytes-size)
		if err != nil {
			return HistoryPage{}, err
		}
		for _, m := range part.Messages {
			if q.folds(m) {
				entries, size = append(entries, entry{m, m.Position}), size+m.Size()
			}
		}
		page.More = part.More
		if part.Position.IsZero() {
			break // nothing is stored
		}
		page.Position, q.Before = part.Position, part.Position
		if !part.Recovered {
			page.Recovered, page.Reason = false, part.Reason
		}
	}
	return h.finish(ctx, src, q, page, entries)
}

// newestPart reads the newest messages before q.Before, markers and versions included,
// newest first. Its position is that of the oldest.
func (h *Hub) newestPart(ctx context.Context, src Source, q HistoryQuery, limit, most int) (HistoryPage, error) {
	// One more than asked for tells whether there is more.
	after, err := h.backend.Seek(ctx, src, Seek{Last: limit + 1, Before: q.Before.Offset})
	if err != nil {
		return HistoryPage{}, err
	}
	r := &pageReader{hub: h, src: src, at: Position{Offset: after}, recovered: true, batch: pageBatch}
	if !q.After.IsZero() {
		if err := r.bound(ctx, q.After, after); err != nil {
			return HistoryPage{}, err
		}
	}
	all, cut, err := r.newest(ctx, q, most)
	if err != nil {
		return HistoryPage{}, fmt.Errorf("history of %s: %w", src.Filter, err)
	}
	page := HistoryPage{Position: q.Before, Recovered: r.recovered, Reason: r.reason, More: cut || len(all) > limit}
	if len(all) > limit {
		all = all[len(all)-limit:]
	}
	if len(all) > 0 {
		page.Position = all[0].Position
	}
	slices.Reverse(all)
	page.Messages = all
	return page, nil
}

// bound judges the position after which a newest-first page may reach back, and
// begins there if that is later than where the page would begin.
func (r *pageReader) bound(ctx context.Context, after Position, seek uint64) error {
	b, err := r.hub.reader.read(ctx, Query{Source: r.src, After: after.Offset, Limit: 1, Prove: after})
	if err != nil {
		return err
	}
	ok, reason := Complete(after, b.Evidence)
	if !ok {
		r.recovered, r.reason, after = false, reason, b.Evidence.Begin
	}
	if after.Offset > seek {
		r.at = after
	}
	return nil
}

// newest reads to the end or to q.Before and keeps the newest that fit a page's
// bytes. cut says that older ones did not.
func (r *pageReader) newest(ctx context.Context, q HistoryQuery, most int) (all []*Message, cut bool, err error) {
	size := 0
	for more := true; more; {
		var msgs []*Message
		if msgs, more, err = r.next(ctx); err != nil {
			return nil, false, err
		}
		for _, m := range msgs {
			r.at = m.Position
			if !q.Before.IsZero() && m.Offset() >= q.Before.Offset {
				return all, cut, nil
			}
			if m.Position.Time < q.Since {
				continue
			}
			all = append(all, m)
			size += m.Size()
			for ; size > most && len(all) > 1; all = all[1:] {
				size -= all[0].Size()
				cut = true
			}
		}
	}
	return all, cut, nil
}
