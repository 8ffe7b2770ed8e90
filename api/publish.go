package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
)

// publish serves POST /v1/channels/{channel}/messages.
func (a *api) publish(ctx context.Context, x *exchange) error {
	p, err := a.readPublish(x)
	if err != nil {
		a.metrics.published(err, false)
		return err
	}
	x.lighten()
	receipt, err := a.deps.Publisher.Publish(ctx, p)
	err = publishError(err)
	a.metrics.published(err, receipt.Duplicate)
	if err != nil {
		return err
	}
	x.begin(http.StatusCreated, storedText(receipt))
	x.out = appendReceipt(x.out, p.Channel, receipt)
	x.end()
	return nil
}

func storedText(r fanout.Receipt) string {
	switch {
	case r.Schedule != "" && r.Duplicate:
		return "scheduled before"
	case r.Schedule != "":
		return "scheduled"
	case r.Duplicate:
		return "stored before"
	}
	return "stored"
}

func (a *api) readPublish(x *exchange) (*fanout.Publication, error) {
	if _, err := x.query(); err != nil {
		return nil, err
	}
	m, err := decodeMessage(x.body)
	if err != nil {
		return nil, err
	}
	if header, given := x.r.Header["Idempotency-Key"]; given {
		if m.key != nil && *m.key != header[0] || len(header) > 1 {
			return nil, wrong("Idempotency-Key", "differs from idempotency_key in the body; send one")
		}
		m.key = &header[0]
	}
	return m.publication(x.channel, x)
}

// publishBatch serves POST /v1/messages.
func (a *api) publishBatch(ctx context.Context, x *exchange) error {
	if _, err := x.query(); err != nil {
		return err
	}
	if _, given := x.r.Header["Idempotency-Key"]; given {
		return wrong("Idempotency-Key", "is for a single message; give each message of a batch its own idempotency_key")
	}
	list, atomic, err := decodeBatch(x.body)
	switch {
	case err != nil:
		return err
	case atomic:
		return a.publishAtomic(ctx, x, list)
	}
	return a.publishEach(ctx, x, list)
}

func (m *message) addressed(x *exchange) (*fanout.Publication, error) {
	if m.channel == nil {
		return nil, wrong("channel", "is missing")
	}
	c, err := authorize(&x.claims, auth.Publish, *m.channel)
	if err != nil {
		return nil, err
	}
	return m.publication(c, x)
}

// result is what became of one message of a batch.
type result struct {
	pub     *fanout.Publication
	receipt fanout.Receipt
	err     error
}

// results answers a batch. A 2xx says that all are stored; otherwise the status is
// the highest of the results' codes, so that a caller who looks no further repeats
// the batch (which keys make safe) or reports an error, and never loses a message.
// Where some are stored and the node failed others, it is 504: 503 would say that
// nothing was stored.
func (x *exchange) results(results []result) {
	worst, failed := &problem{status: http.StatusCreated}, 0
	problems := make([]*problem, len(results))
	for i, r := range results {
		if r.err == nil {
			continue
		}
		failed++
		problems[i] = translate(r.err)
		if problems[i].status > worst.status {
			worst = problems[i]
		}
	}
	text := "stored"
	if failed > 0 {
		text = strconv.Itoa(failed) + " of " + strconv.Itoa(len(results)) + " messages were not stored, or may not be; data.results has one entry each"
	}
	status := worst.status
	if status >= http.StatusInternalServerError && failed < len(results) {
		status = http.StatusGatewayTimeout
	}
	setRetryAfter(x.w.Header(), worst.retryAfter)
	x.begin(status, text)
	x.out = append(x.out, `{"results":[`...)
	for i, r := range results {
		if i > 0 {
			x.out = append(x.out, ',')
		}
		if p := problems[i]; p != nil {
			x.out = p.appendData(appendOpening(x.out, p.status, p.message))
		} else {
			x.out = appendReceipt(appendOpening(x.out, http.StatusCreated, storedText(r.receipt)), r.pub.Channel, r.receipt)
		}
		x.out = append(x.out, '}')
		x.flush()
	}
	x.out = append(x.out, "]}"...)
	x.end()
}
