package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/rivulet-rt/rivulet/fanout"
)

// publishAtomic stores a batch all or none. What is wrong with one message is said of
// the batch, with the message named.
func (a *api) publishAtomic(ctx context.Context, x *exchange, list []message) error {
	pubs := make([]*fanout.Publication, len(list))
	for i := range list {
		var err error
		if pubs[i], err = list[i].addressed(x); err != nil {
			return a.refuseBatch(list, &fanout.BatchError{Index: i, Err: err})
		}
	}
	x.lighten()
	receipts, err := a.deps.Publisher.PublishAtomic(ctx, pubs)
	if err != nil {
		return a.refuseBatch(list, err)
	}
	results := make([]result, len(list))
	for i, r := range receipts {
		results[i] = result{pub: pubs[i], receipt: r}
		a.metrics.published(nil, r.Duplicate)
	}
	x.results(results)
	return nil
}

func (a *api) refuseBatch(list []message, err error) error {
	err = publishError(err)
	for range list {
		a.metrics.published(err, false)
	}
	batch, ok := errors.AsType[*fanout.BatchError](err)
	if !ok {
		return err
	}
	p := *translate(batch.Err)
	if errors.Is(batch.Err, fanout.ErrOutcomeUnknown) {
		p.message = "the messages of the batch may all be stored, or none may: the acknowledgement was lost; " +
			"if every message has an idempotency key, send the batch again before retry_until"
	}
	if batch.Index >= 0 {
		p.message = strings.TrimPrefix(p.message, p.field+": ")
		if p.field == "deliver_at" && list[batch.Index].options.Delay != 0 { // which it came from
			p.field = "delay"
		}
		name := "messages[" + strconv.Itoa(batch.Index) + "]"
		if p.field != "" {
			name += "." + p.field
		}
		p.field, p.message = name, name+": "+p.message
	}
	if p.status < http.StatusInternalServerError {
		p.message += "; none of the batch is stored"
	}
	return &p
}
