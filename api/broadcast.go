package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/rivulet-rt/rivulet/fanout"
)

// maxBroadcast bounds the channels of one broadcast.
const maxBroadcast = 1000

// maxBroadcastBytes bounds what a broadcast stores in all channels together.
const maxBroadcastBytes = 64 << 20

// broadcast serves POST /v1/broadcast: one message, stored in each of many channels.
func (a *api) broadcast(ctx context.Context, x *exchange) error {
	if _, err := x.query(); err != nil {
		return err
	}
	channels, m, err := decodeBroadcast(x.body)
	if err != nil {
		return err
	}
	if header, given := x.r.Header["Idempotency-Key"]; given {
		if m.key != nil && *m.key != header[0] || len(header) > 1 {
			return wrong("Idempotency-Key", "differs from idempotency_key in the body; send one")
		}
		m.key = &header[0]
	}
	list := make([]message, len(channels))
	for i := range channels {
		list[i] = m
		list[i].channel = &channels[i]
	}
	// What is wrong with the message is wrong for every channel.
	p, err := m.publication(fanout.Channel{}, x)
	if err != nil {
		return err
	}
	if len(p.Data)*len(channels) > maxBroadcastBytes {
		return &problem{
			status: http.StatusRequestEntityTooLarge, field: "data",
			message: fmt.Sprintf("data: has %d bytes for %d channels, together more than %d; send it in several broadcasts", len(p.Data), len(channels), maxBroadcastBytes),
		}
	}
	return a.publishEach(ctx, x, list)
}

// decodeBroadcast reads the body of a broadcast.
func decodeBroadcast(body []byte) ([]string, message, error) {
	var channels []string
	var m message
	given, listGiven := 0, false
	r := reader{in: body}
	err := r.object("body", func(name string) error {
		if name == "channels" {
			if listGiven {
				return wrong(name, "is given twice")
			}
			listGiven = true
			var err error
			channels, err = r.channels()
			return err
		}
		bit := fieldBit(name)
		switch {
		case bit == fieldExpected, bit == fieldUpdates:
			return wrong(name, "is about one channel; use POST /v1/messages")
		case bit == 0, bit == fieldChannel:
			return notAField(name, "channels, data, data_base64, idempotency_key, headers, ttl, deliver_at, delay, exclude and conflation_key")
		case given&bit != 0:
			return wrong(name, "is given twice")
		}
		given |= bit
		return r.messageField(&m, bit, name)
	})
	if err == nil {
		err = r.end()
	}
	if err == nil && len(channels) == 0 {
		err = wrong("channels", "must have 1 to %d channels", maxBroadcast)
	}
	return channels, m, err
}

// channels reads the names, none twice: the second message would be a surprise, or,
// with a key, swallowed.
func (r *reader) channels() ([]string, error) {
	var list []string
	seen := map[string]bool{}
	err := r.array("channels", func(i int) error {
		field := "channels[" + strconv.Itoa(i) + "]"
		if i == maxBroadcast {
			return wrong("channels", "has more than %d channels", maxBroadcast)
		}
		name, err := r.text(field)
		if err != nil {
			return err
		}
		key := name
		if c, err := fanout.ParseChannel(name); err == nil {
			key = c.String() // whatever its spelling
		}
		if seen[key] {
			return wrong(field, "%q is given twice", clip(name))
		}
		seen[key] = true
		list = append(list, name)
		return nil
	})
	return list, err
}

// publishEach stores messages, each for itself, and answers with one result for each.
func (a *api) publishEach(ctx context.Context, x *exchange, list []message) error {
	results := make([]result, len(list))
	pubs := make([]*fanout.Publication, 0, len(list))
	for i := range list {
		if results[i].pub, results[i].err = list[i].addressed(x); results[i].err == nil {
			pubs = append(pubs, results[i].pub)
		}
	}
	x.lighten()
	outcomes := a.deps.Publisher.PublishAll(ctx, pubs)
	if len(outcomes) != len(pubs) {
		return fmt.Errorf("api: %d outcomes for %d messages", len(outcomes), len(pubs))
	}
	for i := range results {
		if results[i].err == nil {
			results[i].receipt, results[i].err = outcomes[0].Receipt, publishError(outcomes[0].Err)
			outcomes = outcomes[1:]
		}
		a.metrics.published(results[i].err, results[i].receipt.Duplicate)
	}
	x.results(results)
	return nil
}
