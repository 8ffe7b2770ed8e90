package cmd

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// laterRetry is the pause before a request is made again whose answer was lost.
const laterRetry = time.Second

// optioned reports whether the message has options that go with one message only.
func (f *publishFlags) optioned() bool {
	return f.delay != 0 || f.ttl != 0 || f.conflationKey != "" || f.updates != 0 || f.expects || f.exclude != ""
}

func (f *publishFlags) checkOptions() error {
	switch {
	case f.delay < 0:
		return usagef("--delay %v: must be above 0", f.delay)
	case f.ttl < 0 || time.Duration(f.ttl)%time.Second != 0:
		return usagef("--ttl %v: must be whole seconds, at least 1s", f.ttl)
	}
	return nil
}

// later publishes one message with options. The key makes it safe to repeat.
func (f *publishFlags) later(ctx context.Context, n *node, p *publishing, out io.Writer, text string) error {
	data, err := p.data([]byte(text))
	if err != nil {
		return usagef("%w", err)
	}
	key := p.key
	if key == "" {
		key = rand.Text()
	}
	body := struct {
		Data    json.RawMessage   `json:"data"`
		Key     string            `json:"idempotency_key"`
		Headers map[string]string `json:"headers,omitempty"`
		TTL     int64             `json:"ttl,omitempty"`
		At      int64             `json:"deliver_at,omitempty"`

		ConflationKey string  `json:"conflation_key,omitempty"`
		Updates       uint64  `json:"updates,omitempty"`
		Expected      *uint64 `json:"expected_offset,omitempty"`
		Exclude       string  `json:"exclude,omitempty"`
	}{
		Data: data, Key: key, Headers: p.headers, TTL: int64(time.Duration(f.ttl) / time.Second),
		ConflationKey: f.conflationKey, Updates: f.updates, Exclude: f.exclude,
	}
	if f.expects {
		body.Expected = &f.expected
	}
	if f.delay > 0 {
		body.At = time.Now().Add(time.Duration(f.delay)).UnixMilli()
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	for {
		var receipt json.RawMessage
		err := n.ask(ctx, http.MethodPost, messagesPath(p.channel), nil, body, &receipt)
		if err == nil {
			return printLine(out, receipt)
		}
		refused, answered := errors.AsType[*refusedError](err)
		if answered && refused.status < http.StatusInternalServerError {
			return err
		}
		if _, lasting := errors.AsType[*lastingError](err); lasting {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; sent again with --key %s it is stored once", err, key)
		case <-time.After(laterRetry):
		}
	}
}
