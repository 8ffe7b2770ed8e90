//go:build linux

package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// webhookSink takes what a node sends to a webhook, and counts events. It answers nothing
// until it is opened.
type webhookSink struct {
	server   *http.Server
	url      string
	gate     chan struct{}
	events   atomic.Int64
	requests atomic.Int64
}

func newWebhookSink(ctx context.Context) (*webhookSink, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("scenario: %w", err)
	}
	s := &webhookSink{url: "http://" + l.Addr().String(), gate: make(chan struct{})}
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: patience}
	go func() { _ = s.server.Serve(l) }() // until close
	return s, nil
}

func (s *webhookSink) ServeHTTP(_ http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the node was ended
	}
	select {
	case <-s.gate:
	case <-req.Context().Done():
		return
	}
	s.events.Add(int64(bytes.Count(body, []byte(`"id":"ev_`))))
	s.requests.Add(1)
}

func (s *webhookSink) close() { _ = s.server.Close() }

// webhooks measures how fast a backlog of messages is delivered to a webhook, by events
// of a request, and how long a single message takes.
func webhooks(ctx context.Context, cfg Config) ([]Row, error) {
	if cfg.URL != "" {
		return nil, errors.New("scenario: webhooks needs a node of its own")
	}
	var rows []Row
	for _, batch := range []int{1, 100, 1000} {
		row := Row{Scenario: "webhooks", Case: fmt.Sprintf("batches of %d", batch)}
		cfg.logf("webhooks: %s", row.Case)
		if err := webhookBacklog(ctx, cfg, &row, batch); err != nil {
			return append(rows, row), err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func webhookBacklog(ctx context.Context, cfg Config, row *Row, batch int) error {
	sink, err := newWebhookSink(ctx)
	if err != nil {
		return err
	}
	defer sink.close()
	cfg.Webhook = fmt.Sprintf("{name: load, url: %q, secret: 0123456789abcdef, events: [message.published], channels: [%q], batch: %d, timeout: 1m, dead_letters: none}",
		sink.url, namespace+":>", batch)
	r, err := newRig(ctx, cfg)
	if err != nil {
		return err
	}
	defer r.close()
	if err := r.node.webhooksRun(ctx); err != nil {
		return err
	}
	const connections = 64
	list, err := r.topics(channels("hook", publishChannels, 1), connections)
	if err != nil {
		return err
	}
	count := cfg.Sizes.WebhookEvents
	for i := range count {
		r.publish(list[i%len(list)], time.Time{}, nil)
	}
	if err := r.wait(ctx, "the publishes", func() bool { return r.open == 0 }); err != nil {
		return err
	}
	m := newMeter(r.node.process)
	close(sink.gate)
	if err := r.sunk(ctx, sink, count); err != nil {
		return err
	}
	m.rate(row, "events/s", count)
	m.cpu(row, count)
	row.add("requests", float64(sink.requests.Load()))
	took := make([]time.Duration, 0, cfg.Sizes.WebhookSingles)
	for i := range cfg.Sizes.WebhookSingles {
		sent := time.Now()
		r.publish(list[i%len(list)], sent, nil)
		if err := r.sunk(ctx, sink, count+i+1); err != nil {
			return err
		}
		took = append(took, time.Since(sent))
	}
	row.latencies(took)
	row.add("twice", float64(int(sink.events.Load())-count-cfg.Sizes.WebhookSingles))
	return nil
}

// sunk waits until so many events have arrived.
func (r *rig) sunk(ctx context.Context, sink *webhookSink, count int) error {
	var tick func()
	done := false
	tick = func() { // the loop sleeps where nothing of its own happens
		if !done {
			r.err = errors.Join(r.err, r.loop.At(time.Now().Add(time.Millisecond), tick))
		}
	}
	tick()
	err := r.wait(ctx, fmt.Sprint(count, " events"), func() bool { return r.open == 0 && int(sink.events.Load()) >= count })
	done = true
	return err
}

// webhooksRun waits until the node delivers.
func (n *node) webhooksRun(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.address.String()+"/v1/webhooks", http.NoBody)
		if err != nil {
			return fmt.Errorf("scenario: %w", err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return fmt.Errorf("scenario: wait for the webhook: %w", err)
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close() // it was read
		if err == nil && strings.Contains(string(text), `"state":"running"`) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("scenario: the webhook does not run: %s", text)
		case <-tick.C:
		}
	}
}
