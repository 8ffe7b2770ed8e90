//go:build linux

package scenario

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
)

// groups measures a durable group: how many messages a second its members take and
// acknowledge, each of which the log confirms, and the time from publish to delivery
// where they are not the bottleneck.
func groups(ctx context.Context, cfg Config) ([]Row, error) {
	if cfg.URL != "" {
		return nil, errors.New("scenario: groups needs a node of its own")
	}
	var rows []Row
	for _, members := range []int{1, 8} {
		row := Row{Scenario: "groups", Case: fmt.Sprintf("%s, 64 in flight each", counted(members, "member"))}
		cfg.logf("groups: %s", row.Case)
		err := groupOnce(ctx, cfg, &row, members)
		rows = append(rows, row)
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// crew are the members of a group, and what they did.
type crew struct {
	mu   sync.Mutex
	seen map[uint64]int
	done chan struct{} // closed when all are acknowledged
	want int
}

func (c *crew) acked(offset uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[offset]++; len(c.seen) == c.want && c.seen[offset] == 1 {
		close(c.done)
	}
}

func groupOnce(ctx context.Context, cfg Config, row *Row, members int) error {
	n, err := startNode(ctx, cfg)
	if err != nil {
		return err
	}
	defer n.stop()
	const channel, name = namespace + ":jobs", "crew"
	url := "http://" + n.address.String()
	c := &crew{seen: map[uint64]int{}, done: make(chan struct{}), want: cfg.Sizes.GroupMessages}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	first, err := joinGroup(ctx, url, channel, name)
	if err != nil {
		return err
	}
	first.Close() // the group stays, and gathers
	if err := storeMany(ctx, url, channel, cfg.Sizes.GroupMessages); err != nil {
		return err
	}
	work, stop := context.WithCancel(ctx)
	defer stop()
	group, work := errgroup.WithContext(work)
	cpu, began := n.cpu(), time.Now()
	for range members {
		group.Go(func() error { return c.work(work, url, channel, name) })
	}
	select {
	case <-c.done:
	case <-work.Done():
	}
	took := time.Since(began)
	stop()
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	row.add("acknowledged/s", float64(cfg.Sizes.GroupMessages)/took.Seconds())
	row.add("CPU s/M", (n.cpu()-cpu).Seconds()/float64(cfg.Sizes.GroupMessages)*1e6)
	again := 0
	for _, times := range c.seen {
		again += times - 1
	}
	row.add("twice", float64(again))
	return nil
}

func joinGroup(ctx context.Context, url, channel, name string) (*rivulet.Client, error) {
	c, err := rivulet.New(url, rivulet.Options{})
	if err != nil {
		return nil, err
	}
	if err := c.Connect(ctx); err != nil {
		c.Close()
		return nil, err
	}
	if _, err := c.Join(ctx, channel, name, rivulet.GroupOptions{MaxInFlight: 1}); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// work is one member: as many jobs at a time as it may have.
func (c *crew) work(ctx context.Context, url, channel, name string) error {
	const atOnce = 64
	client, err := rivulet.New(url, rivulet.Options{})
	if err != nil {
		return err
	}
	if err := client.Connect(ctx); err != nil {
		client.Close()
		return err
	}
	defer client.Close()
	g, err := client.Join(ctx, channel, name, rivulet.GroupOptions{MaxInFlight: atOnce})
	if err != nil {
		return err
	}
	var acks sync.WaitGroup
	defer acks.Wait()
	for job, err := range g.Jobs(ctx) {
		if err != nil {
			return err
		}
		acks.Go(func() {
			if job.Ack(ctx) == nil {
				c.acked(job.Offset)
			}
		})
	}
	return nil
}

func storeMany(ctx context.Context, url, channel string, count int) error {
	p, err := rivulet.NewPublisher(url, rivulet.PublisherOptions{})
	if err != nil {
		return err
	}
	for at := 0; at < count; at += rivulet.MaxBatch {
		var list []rivulet.Outgoing
		for i := at; i < min(at+rivulet.MaxBatch, count); i++ {
			list = append(list, rivulet.Outgoing{Channel: channel, Data: i})
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
