package broker_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
)

// later is a publication that is due after d.
func later(t *testing.T, ch, data string, d time.Duration) *fanout.Publication {
	t.Helper()
	p := publication(t, ch, data)
	p.DeliverAt = time.Now().Add(d).UnixNano()
	return p
}

func schedule(t *testing.T, b *broker.Broker, p *fanout.Publication) string {
	t.Helper()
	r, err := b.Publish(t.Context(), p)
	if err != nil || r.Schedule == "" || !r.Position.IsZero() || r.DeliverAt != p.DeliverAt {
		t.Fatalf("schedule for %s: %+v, %v", p.Channel, r, err)
	}
	return r.Schedule
}

// all are the data of what is stored in a channel.
func all(t *testing.T, b *broker.Broker, ch string) []string {
	t.Helper()
	var data []string
	q := fanout.Query{Source: source(t, b, ch), Limit: 256}
	for more := true; more; {
		batch := read(t, b, q)
		data = append(data, texts(batch.Messages)...)
		if more = batch.More; more {
			q.After = batch.Messages[len(batch.Messages)-1].Offset()
		}
	}
	return data
}

// idle waits until nothing is scheduled.
func idle(t *testing.T, b *broker.Broker) {
	t.Helper()
	eventually(t, "nothing to be scheduled any more", func() bool {
		page, err := b.Schedules(t.Context(), fanout.ScheduleQuery{Limit: 1})
		return err == nil && len(page.List) == 0 && page.Next == 0
	})
}

func TestSchedule(t *testing.T) {
	for level, change := range levels() {
		t.Run(level, func(t *testing.T) {
			b := open(t, config(t, change))
			original := publish(t, b, "t:a", "now")
			second, third := later(t, "t:a", "second", 300*time.Millisecond), later(t, "t:a", "third", 301*time.Millisecond)
			first := later(t, "t:a", "first", 200*time.Millisecond)
			first.Headers, first.User, first.Client, first.Key, first.Publisher = map[string]string{"k": "ü"}, "ann", "c", "key", "p"
			first.ConflationKey, first.TTL, first.Exclude, first.Updates = "ck", time.Hour, "0123456789abcdef", original.Offset
			for _, p := range []*fanout.Publication{third, second, first} {
				schedule(t, b, p)
			}
			if got := all(t, b, "t:a"); fmt.Sprint(got) != "[now]" {
				t.Errorf("before they are due: %v", got)
			}
			idle(t, b)
			list := read(t, b, fanout.Query{Source: source(t, b, "t:a"), Limit: 10}).Messages
			if fmt.Sprint(texts(list)) != "[now first second third]" {
				t.Fatalf("stored %v", texts(list))
			}
			m := list[1]
			if m.Headers["k"] != "ü" || m.User != "ann" || m.Client != "c" || m.ID != "key" || m.ConflationKey != "ck" ||
				m.Exclude != first.Exclude || m.Updates != original.Offset || m.Expires != m.Position.Time+int64(time.Hour) {
				t.Errorf("stored %+v", m)
			}
			for i, p := range []*fanout.Publication{first, second, third} {
				if late := time.Duration(list[i+1].Position.Time - p.DeliverAt); late < 0 || late > 5*time.Second {
					t.Errorf("%s is %v late", p.Data, late)
				}
			}
		})
	}
}

// Many at once share the syncs.
func TestScheduleMany(t *testing.T) {
	for level, change := range levels() {
		t.Run(level, func(t *testing.T) {
			b := open(t, config(t, change))
			var list []*fanout.Publication
			for i := range 500 {
				p := later(t, "t:a", fmt.Sprint(i), time.Hour)
				if i%5 == 0 {
					p = publication(t, "t:b", fmt.Sprint(i))
				}
				list = append(list, p)
			}
			for i, o := range b.PublishAll(t.Context(), list) {
				if o.Err != nil || (o.Receipt.Schedule == "") != (i%5 == 0) {
					t.Fatalf("%d: %+v, %v", i, o.Receipt, o.Err)
				}
			}
			page, err := b.Schedules(t.Context(), fanout.ScheduleQuery{Limit: 1000})
			if err != nil || len(page.List) != 400 {
				t.Errorf("%d wait, %v", len(page.List), err)
			}
			if got := all(t, b, "t:b"); len(got) != 100 || got[1] != "5" {
				t.Errorf("stored %v", got)
			}
		})
	}
}

func TestScheduleAcrossRestart(t *testing.T) {
	cfg := config(t)
	b := open(t, cfg)
	schedule(t, b, later(t, "t:a", "overdue", 100*time.Millisecond))
	schedule(t, b, later(t, "t:a", "waits", 10*time.Second))
	closeNow(t, b)
	b = open(t, cfg)
	eventually(t, "what was due meanwhile", func() bool { return len(all(t, b, "t:a")) > 0 })
	if got := all(t, b, "t:a"); fmt.Sprint(got) != "[overdue]" {
		t.Errorf("stored %v", got)
	}
	// What was stored in its channel stops waiting a moment later.
	eventually(t, "one to wait", func() bool {
		page, err := b.Schedules(t.Context(), fanout.ScheduleQuery{Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		return len(page.List) == 1 && string(page.List[0].Publication.Data) == "waits"
	})
}

func TestScheduleWithKey(t *testing.T) {
	b := open(t, config(t))
	send := func(data string, d time.Duration) (fanout.Receipt, error) {
		p := later(t, "t:a", data, d)
		p.Key, p.Publisher = "k", "p"
		return b.Publish(t.Context(), p)
	}
	first, err := send("1", 500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	again, err := send("1", time.Hour)
	if err != nil || !again.Duplicate || again.Schedule != first.Schedule || again.DeliverAt != first.DeliverAt {
		t.Errorf("again: %+v, %v; want %+v", again, err, first)
	}
	if _, err := send("2", time.Hour); !errors.Is(err, fanout.ErrKeyConflict) {
		t.Errorf("other data: %v", err)
	}
	short := later(t, "t:a", "1", time.Hour)
	short.Key, short.Publisher, short.TTL = "k", "p", time.Minute
	if _, err := b.Publish(t.Context(), short); !errors.Is(err, fanout.ErrKeyConflict) {
		t.Errorf("another ttl: %v", err)
	}
	idle(t, b)
	// Asked for once more when it is stored, it is stored before.
	now := publication(t, "t:a", "1")
	now.Key, now.Publisher = "k", "p"
	if r, err := b.Publish(t.Context(), now); err != nil || !r.Duplicate {
		t.Errorf("the same at once: %+v, %v", r, err)
	}
	if _, err := send("1", time.Millisecond); err != nil {
		t.Error(err)
	}
	idle(t, b)
	if got := all(t, b, "t:a"); fmt.Sprint(got) != "[1]" {
		t.Errorf("stored %v", got)
	}
}

func TestScheduleRefusals(t *testing.T) {
	b := open(t, config(t))
	gone := later(t, "t:a", "1", time.Hour)
	gone.Updates = 7
	for name, c := range map[string]struct {
		p    *fanout.Publication
		want error
	}{
		"unknown namespace":   {later(t, "nowhere:a", "1", time.Hour), fanout.ErrUnknownNamespace},
		"too large":           {later(t, "t:a", strings.Repeat("x", 256<<10+1), time.Hour), fanout.ErrTooLarge},
		"updates what is not": {gone, fanout.ErrNoMessage},
	} {
		if r, err := b.Publish(t.Context(), c.p); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	js, err := b.JetStream().Stream(t.Context(), "RIVULET_SCHEDULES")
	if err != nil {
		t.Fatal(err)
	}
	cfg := js.CachedInfo().Config
	cfg.MaxMsgs = 2
	if _, err := b.JetStream().UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	ids := []string{schedule(t, b, later(t, "t:a", "1", time.Hour)), schedule(t, b, later(t, "t:b", "2", time.Hour))}
	if r, err := b.Publish(t.Context(), later(t, "t:a", "3", time.Hour)); !errors.Is(err, fanout.ErrSchedulesFull) {
		t.Errorf("full: %+v, %v", r, err)
	}
	out := b.PublishAll(t.Context(), []*fanout.Publication{publication(t, "t:a", "now"), later(t, "t:a", "4", time.Hour), publication(t, "t:a", "now too")})
	if out[0].Err != nil || !errors.Is(out[1].Err, fanout.ErrSchedulesFull) || out[2].Err != nil {
		t.Errorf("full, among others: %+v", out)
	}
	for _, id := range ids { // none of those that were accepted had to go
		if _, err := b.Schedule(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
}

func TestSchedulesListAndCancel(t *testing.T) {
	b := open(t, config(t, func(c *broker.Config) {
		c.Namespaces = append(c.Namespaces, broker.NamespaceSpec{Name: "u", Partitions: 2, MaxBytes: 64 << 20})
	}))
	ids := map[string]string{}
	for i, ch := range []string{"t:a", "t:b.1", "u:a", "t:b.2", "t:a", "t:ü*"[:len("t:ü")]} {
		ids[fmt.Sprint(i)] = schedule(t, b, later(t, ch, fmt.Sprint(i), time.Hour))
	}
	list := func(q fanout.ScheduleQuery) (data []string) {
		for {
			page, err := b.Schedules(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range page.List {
				data = append(data, string(s.Publication.Data))
				if ids[string(s.Publication.Data)] != s.ID || s.Created == 0 {
					t.Errorf("listed %+v", s)
				}
			}
			if q.After = page.Next; q.After == 0 {
				return data
			}
		}
	}
	for name, c := range map[string]struct {
		q    fanout.ScheduleQuery
		want string
	}{
		"all":            {fanout.ScheduleQuery{Limit: 100}, "[0 1 2 3 4 5]"},
		"pages of one":   {fanout.ScheduleQuery{Limit: 1}, "[0 1 2 3 4 5]"},
		"a channel":      {fanout.ScheduleQuery{Channel: channel(t, "t:a"), Limit: 100}, "[0 4]"},
		"channel, pages": {fanout.ScheduleQuery{Channel: channel(t, "t:a"), Limit: 1}, "[0 4]"},
		"no channel":     {fanout.ScheduleQuery{Channel: channel(t, "t:c"), Limit: 100}, "[]"},
		"a namespace":    {fanout.ScheduleQuery{Prefix: "t:", Limit: 100}, "[0 1 3 4 5]"},
		"a prefix":       {fanout.ScheduleQuery{Prefix: "t:b", Limit: 100}, "[1 3]"},
		"part of a name": {fanout.ScheduleQuery{Prefix: "u", Limit: 100}, "[2]"},
		"no namespace":   {fanout.ScheduleQuery{Prefix: "T:*", Limit: 100}, "[]"},
	} {
		if got := list(c.q); fmt.Sprint(got) != c.want {
			t.Errorf("%s: %v, want %s", name, got, c.want)
		}
	}
	if err := b.Cancel(t.Context(), ids["1"]); err != nil {
		t.Fatal(err)
	}
	for name, id := range map[string]string{"cancelled": ids["1"], "unknown": strings.Repeat("a", 26), "no ID": "x", "a wildcard": "*", "nothing": ""} {
		if err := b.Cancel(t.Context(), id); !errors.Is(err, fanout.ErrNoSchedule) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := list(fanout.ScheduleQuery{Limit: 100}); fmt.Sprint(got) != "[0 2 3 4 5]" {
		t.Errorf("left %v", got)
	}
}

// Whoever cancels is told the truth: what was cancelled is never stored, and all else is.
func TestCancelRace(t *testing.T) {
	b := open(t, config(t))
	var ids []string
	for i := range 300 {
		ids = append(ids, schedule(t, b, later(t, "t:a", fmt.Sprint(i), time.Duration(i)*time.Millisecond+200*time.Millisecond)))
	}
	verdicts := map[string]int{}
	cancelled, open := map[string]bool{}, map[string]bool{}
	for i, id := range ids {
		switch err := b.Cancel(t.Context(), id); {
		case err == nil:
			verdicts["cancelled"]++
			cancelled[fmt.Sprint(i)] = true
		case errors.Is(err, fanout.ErrOutcomeUnknown):
			open[fmt.Sprint(i)] = true
		case errors.Is(err, fanout.ErrScheduleDue), errors.Is(err, fanout.ErrNoSchedule):
			verdicts["too late"]++
		default:
			t.Fatal(err)
		}
		for range 4 { // let time pass between them
			publish(t, b, "t:noise", "0")
		}
	}
	idle(t, b)
	stored := map[string]int{}
	for _, data := range all(t, b, "t:a") {
		stored[data]++
	}
	for i := range ids {
		n, key := stored[fmt.Sprint(i)], fmt.Sprint(i)
		if n > 1 || n == 1 && cancelled[key] || n == 0 && !cancelled[key] && !open[key] {
			t.Errorf("%d is stored %d times; cancelled %v", i, n, cancelled[key])
		}
	}
	t.Log(verdicts, len(open))
}

// What its channel would never take is dropped when it is due, and does not come back.
func TestScheduleDropped(t *testing.T) {
	b := open(t, config(t))
	used := publication(t, "t:a", "1")
	used.Key, used.Publisher = "k", "p"
	if _, err := b.Publish(t.Context(), used); err != nil {
		t.Fatal(err)
	}
	original := publish(t, b, "t:a", "2")
	conflict, orphan := later(t, "t:a", "other", 300*time.Millisecond), later(t, "t:a", "version", 300*time.Millisecond)
	conflict.Key, conflict.Publisher = "k", "p"
	orphan.Updates = original.Offset
	for _, p := range []*fanout.Publication{conflict, orphan} {
		schedule(t, b, p)
	}
	if _, err := b.Delete(t.Context(), channel(t, "t:a"), original.Offset); err != nil {
		t.Fatal(err)
	}
	idle(t, b)
	if got := all(t, b, "t:a"); fmt.Sprintf("%q", got) != `["1" ""]` {
		t.Errorf("stored %q", got)
	}
}
