package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// maxPrefix bounds the prefix of channels: as long as a channel can be.
const maxPrefix = 233

// schedules serves GET /v1/schedules. It lists what the caller may cancel.
func (a *api) schedules(ctx context.Context, x *exchange) error {
	q, err := x.scheduleQuery()
	if err != nil {
		return err
	}
	page, err := a.deps.Scheduler.Schedules(ctx, q)
	if err != nil {
		return readError(err)
	}
	page.List = slices.DeleteFunc(page.List, func(s fanout.Scheduled) bool {
		return !x.claims.Allows(auth.Manage, s.Publication.Channel.String())
	})
	x.begin(http.StatusOK, "schedules")
	x.out = append(x.out, `{"schedules":[`...)
	for i := range page.List {
		if i > 0 {
			x.out = append(x.out, ',')
		}
		x.out = append(appendSchedule(x.out, &page.List[i]), '}')
		x.flush()
	}
	x.out = append(x.out, `],"next":`...)
	next := ""
	if page.Next != 0 {
		next = strconv.FormatUint(page.Next, 10)
	}
	x.out = append(appendString(x.out, next), '}')
	x.end()
	return nil
}

func (x *exchange) scheduleQuery() (fanout.ScheduleQuery, error) {
	var q fanout.ScheduleQuery
	params, err := x.query("channel", "prefix", "after", "limit")
	if err != nil {
		return q, err
	}
	limit, err := numberOf(params, "limit", 1, protocol.MaxHistory, protocol.DefaultHistory)
	if err != nil {
		return q, err
	}
	q.Limit = int(limit)
	after, err := numberOf(params, "after", 0, math.MaxInt64, 0)
	if err != nil {
		return q, err
	}
	q.After = uint64(after)
	q.Prefix = params.Get("prefix")
	switch {
	case params.Has("channel") && params.Has("prefix"):
		return q, badInput("prefix", "cannot be given together with channel")
	case len(q.Prefix) > maxPrefix:
		return q, badInput("prefix", "has "+strconv.Itoa(len(q.Prefix))+" bytes, at most "+strconv.Itoa(maxPrefix)+" are allowed")
	case params.Has("channel"):
		q.Channel, err = authorize(&x.claims, auth.Manage, params.Get("channel"))
	}
	return q, err
}

// oneSchedule serves GET /v1/schedules/{schedule}.
func (a *api) oneSchedule(ctx context.Context, x *exchange) error {
	s, err := a.findSchedule(ctx, x)
	if err != nil {
		return err
	}
	x.begin(http.StatusOK, "schedule")
	x.out = append(appendPublication(appendSchedule(x.out, &s), s.Publication), '}')
	x.end()
	return nil
}

// cancelSchedule serves DELETE /v1/schedules/{schedule}.
func (a *api) cancelSchedule(ctx context.Context, x *exchange) error {
	s, err := a.findSchedule(ctx, x)
	if err != nil {
		return err
	}
	if err := a.deps.Scheduler.Cancel(ctx, s.ID); err != nil {
		return scheduleError(err)
	}
	x.begin(http.StatusOK, "cancelled")
	x.out = append(appendSchedule(x.out, &s), '}')
	x.end()
	return nil
}

// findSchedule reads the path's schedule and checks that the caller may see it.
func (a *api) findSchedule(ctx context.Context, x *exchange) (fanout.Scheduled, error) {
	if _, err := x.query(); err != nil {
		return fanout.Scheduled{}, err
	}
	s, err := a.deps.Scheduler.Schedule(ctx, chi.URLParam(x.r, "schedule"))
	if err != nil {
		return s, scheduleError(err)
	}
	_, err = authorize(&x.claims, auth.Manage, s.Publication.Channel.String())
	return s, err
}

// scheduleError says of a schedule what is true of it, and not of a message.
func scheduleError(err error) error {
	switch {
	case errors.Is(err, fanout.ErrNoSchedule):
		return &problem{status: http.StatusNotFound, field: "schedule", message: "nothing waits under that schedule: it never did, was cancelled, or is stored in its channel"}
	case errors.Is(publishError(err), fanout.ErrOutcomeUnknown):
		return &problem{status: http.StatusGatewayTimeout, field: "schedule", message: "the message may or may not be cancelled, as it became due; look into its channel"}
	case errors.Is(err, fanout.ErrScheduleDue):
		return &problem{status: http.StatusConflict, field: "schedule", message: "it is too late: the message is due and on its way to its channel"}
	}
	return readError(err)
}

// appendSchedule appends an open object with what every schedule has.
func appendSchedule(b []byte, s *fanout.Scheduled) []byte {
	b = append(b, `{"schedule":`...)
	b = appendString(b, s.ID)
	b = append(b, `,"channel":`...)
	b = appendString(b, s.Publication.Channel.String())
	b = appendMillis(append(b, `,"deliver_at":`...), s.Publication.DeliverAt)
	b = appendMillis(append(b, `,"created":`...), s.Created)
	if s.Publication.Key != "" {
		b = appendString(append(b, `,"idempotency_key":`...), s.Publication.Key)
	}
	return b
}

// appendPublication appends the members of what will be stored.
func appendPublication(b []byte, p *fanout.Publication) []byte {
	for _, f := range []struct{ name, value string }{
		{"user", p.User}, {"client", p.Client}, {"exclude", p.Exclude}, {"conflation_key", p.ConflationKey},
	} {
		if f.value != "" {
			b = append(append(append(b, `,"`...), f.name...), `":`...)
			b = appendString(b, f.value)
		}
	}
	if p.Updates != 0 {
		b = strconv.AppendUint(append(b, `,"updates":`...), p.Updates, 10)
	}
	if p.TTL != 0 {
		b = strconv.AppendInt(append(b, `,"ttl":`...), int64(p.TTL/time.Second), 10)
	}
	if len(p.Headers) > 0 {
		headers, _ := json.Marshal(p.Headers) // strings: cannot fail
		b = append(append(b, `,"headers":`...), headers...)
	}
	if p.Binary {
		return appendString(append(b, `,"data_base64":`...), base64.StdEncoding.EncodeToString(p.Data))
	}
	return append(append(b, `,"data":`...), p.Data...)
}

func appendMillis(b []byte, nanos int64) []byte {
	return strconv.AppendInt(b, nanos/int64(time.Millisecond), 10)
}
