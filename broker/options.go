package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rivulet-rt/rivulet/fanout"
)

// Headers of a message's options, all absent from a plain one.
const (
	hdrConflation = "Rv-Conflation-Key" // escaped
	hdrUpdates    = "Rv-Updates"        // the offset of the original
	hdrExclude    = "Rv-Exclude"        // escaped

	hdrTTL      = "Nats-TTL" // seconds
	hdrExpected = "Nats-Expected-Last-Subject-Sequence"
)

// options writes what a publication asks for beside its content. A TTL that the
// namespace's age cuts short anyway is left out.
func options(set func(key, value string), p *fanout.Publication, maxAge time.Duration) {
	set(hdrConflation, escape(p.ConflationKey))
	set(hdrExclude, escape(p.Exclude))
	if p.Updates != 0 {
		set(hdrUpdates, strconv.FormatUint(p.Updates, 10))
	}
	if p.TTL > 0 && (maxAge <= 0 || p.TTL < maxAge) {
		set(hdrTTL, strconv.FormatInt(int64(p.TTL/time.Second), 10))
	}
	if p.Expected != nil {
		set(hdrExpected, strconv.FormatUint(*p.Expected, 10))
	}
}

func decodeOptions(msg *fanout.Message, h nats.Header) (ok bool) {
	var ok1, ok2 bool
	msg.ConflationKey, ok1 = unescape(first(h, hdrConflation))
	msg.Exclude, ok2 = unescape(first(h, hdrExclude))
	msg.Updates = parseUint(h, hdrUpdates)
	if ttl := ttlOf(h); ttl > 0 {
		msg.Expires = msg.Position.Time + int64(ttl)
	}
	return ok1 && ok2
}

func ttlOf(h nats.Header) time.Duration {
	return time.Duration(parseUint(h, hdrTTL)) * time.Second
}

// sameContent reports whether a stored message is what s would store. Who sent it
// from which connection may differ, and so may the connection that shall not get it:
// a retry often comes over another.
func sameContent(m *fanout.Message, s *sending) bool {
	ttl := int64(0)
	if m.Expires != 0 {
		ttl = m.Expires - m.Position.Time
	}
	p := s.p
	return m.Kind == fanout.KindData && m.Binary == p.Binary &&
		bytes.Equal(m.Data, p.Data) && maps.Equal(m.Headers, p.Headers) &&
		m.ConflationKey == p.ConflationKey && m.Updates == p.Updates && ttl == int64(ttlOf(s.msg.Header))
}

// prepare does what a publication's options need before it is sent.
func (b *Broker) prepare(ctx context.Context, s *sending) error {
	if s.msg.Header[hdrTTL] != nil {
		if err := b.letLeave(ctx, s.stream); err != nil {
			return err
		}
	}
	if s.p.Updates != 0 {
		return b.checkOriginal(ctx, s)
	}
	return nil
}

// checkOriginal makes sure that there is the message of which s is a new version.
func (b *Broker) checkOriginal(ctx context.Context, s *sending) error {
	b.met.reads.WithLabelValues(readReceipt).Inc()
	m, err := b.message(ctx, s.stream, s.p.Channel, s.p.Updates)
	switch {
	case errors.Is(err, fanout.ErrNoMessage):
		return fmt.Errorf("publish to %s: %w", s.p.Channel, err)
	case err != nil:
		return unavailable("publish to "+s.p.Channel.String(), err)
	case m.Updates != 0:
		return &fanout.InputError{Field: "updates", Problem: fmt.Sprintf("%d is itself a version of %d; give that offset", s.p.Updates, m.Updates)}
	}
	return nil
}

// message reads one message of a channel. The error wraps fanout.ErrNoMessage where
// the channel has none at the offset, or only a marker.
func (b *Broker) message(ctx context.Context, s *stream, c fanout.Channel, offset uint64) (*fanout.Message, error) {
	m, found, err := b.at(ctx, s, offset)
	if err != nil {
		return nil, err
	}
	if found {
		msg, ok := b.dec.decode(s, m)
		if ok && msg.Channel == c && msg.Kind == fanout.KindData {
			return msg, nil
		}
	}
	return nil, fmt.Errorf("%w at offset %d of %s", fanout.ErrNoMessage, offset, c)
}

// alone reports whether a message must not be part of a batch, which would fail or
// succeed with it.
func (s *sending) alone() bool { return s.msg.Header[hdrExpected] != nil }

// unexpected makes the error of a refused expectation. JetStream says in its text
// where the channel ends.
func unexpected(e *apiError) error {
	_, digits, _ := strings.Cut(e.Description, "wrong last sequence: ")
	last, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return fmt.Errorf("%w: %w", fanout.ErrExpectedOffset, e)
	}
	return &fanout.ExpectedOffsetError{Last: last}
}
