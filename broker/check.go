package broker

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/rivulet-rt/rivulet/fanout"
)

// accept refuses what can be told to fail, and returns the namespace.
func (b *Broker) accept(ctx context.Context, p *fanout.Publication) (*namespace, error) {
	if b.pub.closed.Load() {
		return nil, fmt.Errorf("publish to %s: %w: %w", p.Channel, fanout.ErrUnavailable, fanout.ErrClosed)
	}
	if err := b.disk.refusal(); err != nil {
		return nil, fmt.Errorf("publish to %s: %w", p.Channel, err)
	}
	return b.checked(ctx, p)
}

// checked returns the publication's namespace if it may be stored there.
func (b *Broker) checked(ctx context.Context, p *fanout.Publication) (*namespace, error) {
	if p.Channel.IsZero() || p.Channel.IsPattern() {
		return nil, &fanout.InputError{Field: "channel", Problem: fmt.Sprintf("%q is not a channel to publish to; it must be one channel, without wildcards", p.Channel)}
	}
	for _, f := range []struct{ name, value string }{{"idempotency_key", p.Key}, {"user", p.User}, {"client", p.Client}} {
		if !utf8.ValidString(f.value) {
			return nil, &fanout.InputError{Field: f.name, Problem: fmt.Sprintf("%q is not valid UTF-8", f.value)}
		}
	}
	for k, v := range p.Headers {
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return nil, &fanout.InputError{Field: "headers", Problem: fmt.Sprintf("%q: %q is not valid UTF-8", k, v)}
		}
	}
	ns, err := b.namespace(ctx, p.Channel.Namespace())
	if err != nil {
		return nil, err
	}
	if most := ns.spec.MaxMessageBytes; len(p.Data) > most {
		return nil, &fanout.SizeError{Problem: fmt.Sprintf("has %d bytes, and namespaces.%s.max_message_bytes is %d", len(p.Data), ns.name, most)}
	}
	return ns, nil
}
