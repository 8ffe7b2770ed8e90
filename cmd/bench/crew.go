//go:build linux

package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// crew are the workers, as Run sees them.
type crew struct {
	members []*member
	reports chan said
	wg      sync.WaitGroup
	cancel  context.CancelFunc
}

// member is one worker.
type member struct {
	in     io.WriteCloser
	orders *json.Encoder
	counts counts
	report report // of the last step
}

// said is a report, or that there are no more.
type said struct {
	by     int
	report report
	err    error
}

// pipesAfter is how long the pipes of a worker that was killed are still read.
const pipesAfter = 5 * time.Second

// hire starts the workers and tells each what to do.
func hire(ctx context.Context, s spec) (*crew, error) {
	// The workers outlive ctx, whose end makes them finish early: fire ends them.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c := &crew{reports: make(chan said, s.Options.Processes), cancel: cancel}
	for i := range s.Options.Processes {
		start := c.startHere
		if len(s.Options.Worker) > 0 && s.Options.Processes > 1 {
			start = c.startProcess
		}
		in, out, err := start(ctx, &s.Options)
		if err != nil {
			c.fire()
			return nil, err
		}
		m := &member{in: in, orders: json.NewEncoder(in)}
		c.members = append(c.members, m)
		c.wg.Go(func() { c.listen(ctx, i, out) })
		s.Index = i
		if err := m.orders.Encode(s); err != nil {
			c.fire()
			return nil, fmt.Errorf("bench: start worker %d: %w", i, err)
		}
	}
	return c, nil
}

// startHere runs a worker in this process.
func (c *crew) startHere(ctx context.Context, _ *Options) (io.WriteCloser, io.ReadCloser, error) {
	orders, in := io.Pipe()
	out, reports := io.Pipe()
	c.wg.Go(func() {
		err := Work(ctx, orders, reports)
		_ = reports.CloseWithError(err) // never fails
		_ = orders.Close()              // never fails
	})
	return in, out, nil
}

// startProcess runs a worker in a process of its own. It gets no signal of the
// terminal's: Run tells it when the user wants to end.
func (c *crew) startProcess(ctx context.Context, o *Options) (io.WriteCloser, io.ReadCloser, error) {
	cmd := exec.CommandContext(ctx, o.Worker[0], o.Worker[1:]...) //nolint:gosec // our own binary
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = o.Stderr
	cmd.WaitDelay = pipesAfter
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, fmt.Errorf("bench: start a worker: %w", err)
	}
	out, reports := io.Pipe()
	cmd.Stdout = reports
	if err := cmd.Start(); err != nil {
		return nil, nil, fmt.Errorf("bench: start a worker: %w", err)
	}
	c.wg.Go(func() { _ = reports.CloseWithError(cmd.Wait()) }) // never fails
	return in, out, nil
}

// listen passes on what a worker says.
func (c *crew) listen(ctx context.Context, i int, out io.ReadCloser) {
	defer out.Close() // a worker that still speaks must not wait
	dec := json.NewDecoder(out)
	for {
		s := said{by: i}
		s.err = dec.Decode(&s.report)
		if s.err == nil && s.report.Error != "" {
			s.err = errors.New(s.report.Error)
		}
		select {
		case c.reports <- s:
		case <-ctx.Done():
			return
		}
		if s.err != nil {
			return
		}
	}
}

// tell gives all the same order.
func (c *crew) tell(o order) error {
	for i, m := range c.members {
		if err := m.orders.Encode(o); err != nil {
			return fmt.Errorf("bench: worker %d is gone: %w", i, err)
		}
	}
	return nil
}

// fire ends the workers and waits for them. They have said what they found, or
// are not asked any more.
func (c *crew) fire() {
	c.cancel()
	for _, m := range c.members {
		_ = m.in.Close() // a pipe's end that is written to
	}
	c.wg.Wait()
}

// sum adds up what the workers count.
func (c *crew) sum() counts {
	var s counts
	for _, m := range c.members {
		s.Open += m.counts.Open
		s.Received += m.counts.Received
		s.Stored += m.counts.Stored
	}
	return s
}
