package fanout

import (
	"context"
	"fmt"
	"slices"
)

// maxFold bounds how many messages a folded page reads: from the page's oldest message
// to the end of the channel, since a new version may be anywhere after what it updates.
const maxFold = 100_000

// entry is one message of a page. place is where it is in the order of the page: that
// of the original, of which m may be a newer version.
type entry struct {
	m     *Message
	place Position
}

// folds reports whether a message has an entry of its own.
func (q *HistoryQuery) folds(m *Message) bool {
	return m.Kind == KindData && !m.expired() && (!q.Fold || m.Updates == 0)
}

// fold puts the newest version of each entry in its place and takes out what was
// deleted meanwhile. Entries are in the page's order. Where the page became too large
// for its last entries, which are left out, cut is the place of the last that is not,
// deleted or not: the next page begins there.
func (h *Hub) fold(ctx context.Context, src Source, entries []entry) (left []entry, cut Position, err error) {
	if len(entries) == 0 {
		return entries, cut, nil
	}
	f := newFolding(entries)
	r := &pageReader{hub: h, src: src, at: f.oldest(), recovered: true, batch: h.cfg.ReadBatch}
	read := 0
	for more := true; more; {
		var msgs []*Message
		if msgs, more, err = r.next(ctx); err != nil {
			return nil, cut, err
		}
		if read += len(msgs); read > maxFold {
			return nil, cut, badInput("fold", "more than %d messages follow the oldest of this page, too many to look for new versions; read newest first, or from a later position", maxFold)
		}
		for _, m := range msgs {
			r.at = m.Position
			f.take(m)
		}
	}
	if f.cut {
		cut = f.entries[len(f.entries)-1].place
	}
	left = slices.DeleteFunc(f.entries, func(e entry) bool { return e.m == nil })
	return left, cut, nil
}

// folding is a page whose versions are being looked for.
type folding struct {
	entries []entry        // m is nil where it was deleted
	at      map[uint64]int // index by the original's offset
	size    int
	cut     bool
}

func newFolding(entries []entry) *folding {
	f := &folding{entries: entries, at: make(map[uint64]int, len(entries))}
	for i, e := range entries {
		f.at[e.place.Offset] = i
		f.size += e.m.Size()
	}
	return f
}

func (f *folding) oldest() Position {
	first, last := f.entries[0].place, f.entries[len(f.entries)-1].place
	if first.Offset < last.Offset {
		return first
	}
	return last
}

func (f *folding) take(m *Message) {
	switch {
	case m.Kind == KindPurge:
		for i := range f.entries {
			if f.entries[i].place.Offset < m.Offset() {
				f.entries[i].m = nil
			}
		}
	case m.Kind == KindDeleted:
		if i, mine := f.at[m.Target]; mine {
			f.entries[i].m = nil
		}
	case m.Updates != 0 && !m.expired():
		i, mine := f.at[m.Updates]
		if !mine || f.entries[i].m == nil {
			return
		}
		f.size += m.Size() - f.entries[i].m.Size()
		f.entries[i].m = m
		f.shorten()
	}
}

// shorten leaves out the page's last entries while it is too large.
func (f *folding) shorten() {
	for f.size > maxPageBytes && len(f.entries) > 1 {
		last := f.entries[len(f.entries)-1]
		f.entries, f.cut = f.entries[:len(f.entries)-1], true
		delete(f.at, last.place.Offset)
		if last.m != nil {
			f.size -= last.m.Size()
		}
	}
}

// finish makes the page of its entries, whose last place is where the next one begins
// if some had to be left out.
func (h *Hub) finish(ctx context.Context, src Source, q HistoryQuery, page HistoryPage, entries []entry) (HistoryPage, error) {
	if q.Fold {
		left, cut, err := h.fold(ctx, src, entries)
		if err != nil {
			return HistoryPage{}, fmt.Errorf("history of %s: %w", src.Filter, err)
		}
		if !cut.IsZero() {
			page.More, page.Position = true, cut
		}
		entries = left
	}
	for _, e := range entries {
		page.Messages = append(page.Messages, e.m)
		if q.Fold {
			page.Places = append(page.Places, e.place)
		}
	}
	return page, nil
}
