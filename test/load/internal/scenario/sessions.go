//go:build linux

package scenario

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
)

// returning is how many clients come back at a time.
const returning = 16

// sessions measures durable sessions: how long it takes from the first byte of a client
// that comes back to the first message that it missed, and the memory of sessions that
// nobody is connected to.
func sessions(ctx context.Context, cfg Config) ([]Row, error) {
	if cfg.URL != "" {
		return nil, errors.New("scenario: sessions needs a node of its own")
	}
	var rows []Row
	for _, store := range []string{"consumer", "kv"} {
		for _, count := range cfg.Sizes.Sessions {
			row := Row{Scenario: "sessions", Case: fmt.Sprintf("%s, %s", store, counted(count, "session"))}
			cfg.logf("sessions: %s", row.Case)
			cfg.SessionStore = store
			if err := sessionsOnce(ctx, cfg, &row, count); err != nil {
				return append(rows, row), err
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func sessionsOnce(ctx context.Context, cfg Config, row *Row, count int) error {
	n, err := startNode(ctx, cfg)
	if err != nil {
		return err
	}
	defer n.stop()
	url := "http://" + n.address.String()
	names := make([]string, count)
	for i := range names {
		names[i] = namespace + ":session." + strconv.Itoa(i)
	}
	if err := storeOne(ctx, url, names); err != nil {
		return err
	}
	before := n.memory()
	began := time.Now()
	if _, err := eachSession(ctx, url, names); err != nil {
		return err
	}
	row.add("made/s", float64(count)/time.Since(began).Seconds())
	pause(ctx, cfg.Sizes.SessionsSettle)
	each := max(n.memory()-before, 1) / float64(count)
	row.add("KB each", each/1e3)
	row.add("sessions per GB", 1e9/each)
	if err := storeOne(ctx, url, names); err != nil {
		return err
	}
	began = time.Now()
	took, err := eachSession(ctx, url, names)
	if err != nil {
		return err
	}
	row.add("resumed/s", float64(count)/time.Since(began).Seconds())
	row.latencies(took)
	n.kill()
	if err := n.start(ctx); err != nil {
		return err
	}
	url = "http://" + n.address.String()
	if err := storeOne(ctx, url, names); err != nil {
		return err
	}
	took, err = eachSession(ctx, url, names)
	if err != nil {
		return err
	}
	after := Row{}
	after.latencies(took)
	row.add("p99 ms after a crash", after.metric("p99 ms"))
	return nil
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// storeOne stores one more message in each channel.
func storeOne(ctx context.Context, url string, names []string) error {
	p, err := rivulet.NewPublisher(url, rivulet.PublisherOptions{})
	if err != nil {
		return err
	}
	for at := 0; at < len(names); at += rivulet.MaxBatch {
		var list []rivulet.Outgoing
		for _, name := range names[at:min(at+rivulet.MaxBatch, len(names))] {
			list = append(list, rivulet.Outgoing{Channel: name, Data: 0})
		}
		outcomes, err := p.PublishBatch(ctx, list)
		if err != nil {
			return err
		}
		for _, o := range outcomes {
			if o.Err != nil {
				return o.Err
			}
		}
	}
	return nil
}

// eachSession has each session's client come, take one message, acknowledge it and go.
func eachSession(ctx context.Context, url string, names []string) ([]time.Duration, error) {
	took := make([]time.Duration, len(names))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(returning)
	for i, name := range names {
		group.Go(func() error {
			began := time.Now()
			var err error
			took[i], err = oneSession(ctx, url, name, "s"+strconv.Itoa(i), began)
			return err
		})
	}
	return took, group.Wait()
}

func oneSession(ctx context.Context, url, channel, session string, began time.Time) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := rivulet.New(url, rivulet.Options{Session: session})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.Connect(ctx); err != nil {
		return 0, err
	}
	sub, err := c.Subscribe(ctx, channel, rivulet.SubscribeOptions{Durable: true, ManualAck: true, Last: 1})
	if err != nil {
		return 0, err
	}
	for m, err := range sub.Messages(ctx) {
		if err != nil {
			return 0, err
		}
		took = time.Since(began)
		if err := sub.Ack(m); err != nil {
			return 0, err
		}
		break
	}
	return took, sub.Flush(ctx)
}
