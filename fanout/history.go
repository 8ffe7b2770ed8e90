package fanout

import (
	"context"
	"fmt"
	"slices"
)

// maxPageBytes bounds what one page of history holds in memory: past it a page ends
// early, with More.
const maxPageBytes = 4 << 20

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

func (h *Hub) oldestFirst(ctx context.Context, src Source, q HistoryQuery) (HistoryPage, error) {
	after, recovered, reason, err := h.historyStart(ctx, src, q)
	if err != nil {
		return HistoryPage{}, err
	}
	page := HistoryPage{Position: q.After, Recovered: recovered, Reason: reason}
	size := 0
	for {
		b, from, err := h.readAt(ctx, src, after)
		if err != nil {
			return HistoryPage{}, fmt.Errorf("history of %s: %w", src.Filter, err)
		}
		if page.Position.IsZero() || !recovered {
			page.Position, recovered = from, true
		}
		for _, m := range b.Messages {
			if !q.Before.IsZero() && m.Offset() >= q.Before.Offset {
				return page, nil
			}
			if size += m.Size(); len(page.Messages) == q.Limit || size > maxPageBytes && len(page.Messages) > 0 {
				page.More = true
				return page, nil
			}
			after, page.Position = m.Offset(), m.Position
			if m.Kind == KindData {
				page.Messages = append(page.Messages, m)
			}
		}
		if !b.More {
			return page, nil
		}
	}
}

// historyStart finds the offset to read after, and whether q.After is complete.
func (h *Hub) historyStart(ctx context.Context, src Source, q HistoryQuery) (after uint64, recovered bool, reason string, err error) {
	switch {
	case q.Since != 0:
		after, err = h.backend.Seek(ctx, src, Seek{Since: q.Since})
		return after, true, "", err
	case q.After.IsZero():
		return 0, true, "", nil
	}
	b, err := h.reader.read(ctx, Query{Source: src, After: q.After.Offset, Limit: 1, Prove: q.After})
	if err != nil {
		return 0, false, "", err
	}
	ok, reason := Complete(q.After, b.Evidence)
	if !ok {
		return b.Evidence.Begin.Offset, false, reason, nil
	}
	return q.After.Offset, true, "", nil
}

func (h *Hub) newestFirst(ctx context.Context, src Source, q HistoryQuery) (HistoryPage, error) {
	// One more than asked for tells whether there is more.
	after, err := h.backend.Seek(ctx, src, Seek{Last: q.Limit + 1, Before: q.Before.Offset})
	if err != nil {
		return HistoryPage{}, err
	}
	_, recovered, reason, err := h.historyStart(ctx, src, HistoryQuery{After: q.After})
	if err != nil {
		return HistoryPage{}, err
	}
	floor := max(after, q.After.Offset)
	var all []*Message
	size, cut := 0, false
	for more := true; more; {
		b, _, err := h.readAt(ctx, src, floor)
		if err != nil {
			return HistoryPage{}, fmt.Errorf("history of %s: %w", src.Filter, err)
		}
		more = b.More
		for _, m := range b.Messages {
			floor = m.Offset()
			if q.Before.IsZero() || floor < q.Before.Offset {
				all = append(all, m)
				size += m.Size()
			} else {
				more = false
			}
		}
		for size > maxPageBytes && len(all) > 1 { // the newest are asked for
			size -= all[0].Size()
			all[0], all, cut = nil, all[1:], true
		}
	}
	all = slices.DeleteFunc(all, func(m *Message) bool { return q.Since != 0 && m.Position.Time < q.Since })
	page := HistoryPage{Position: q.Before, Recovered: recovered, Reason: reason, More: cut || len(all) > q.Limit}
	if len(all) > q.Limit {
		all = all[len(all)-q.Limit:]
	}
	if len(all) > 0 {
		page.Position = all[0].Position
	}
	all = slices.DeleteFunc(all, func(m *Message) bool { return m.Kind != KindData })
	slices.Reverse(all)
	page.Messages = all
	return page, nil
}
