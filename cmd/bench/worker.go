//go:build linux

package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rivulet-rt/rivulet/cmd/bench/raw"
)

// progressEvery is how often a worker says how far it is.
const progressEvery = 200 * time.Millisecond

// worker is one share of the load. All of it belongs to the goroutine of Work.
type worker struct {
	spec   spec
	loop   *raw.Loop
	orders <-chan order // closed when Run is gone
	out    *json.Encoder
	ahead  *order // came while a step was under way
	stop   bool   // end early
	lost   bool   // Run is gone

	tally    raw.Tally
	progress time.Time // when it was said last
	measured measured
	topics   map[int]*topic // by channel: those of its lanes
	lanes    []*lane
	clients  clients
	kinds    kinds
	began    usage    // when the load began
	finals   []uint64 // by channel: the number of the last message, once it is known
}

// Work does a worker's share, led by Run through in and out.
func Work(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	w := &worker{out: json.NewEncoder(out), topics: map[int]*topic{}, kinds: newKinds()}
	dec := json.NewDecoder(lines)
	if err := dec.Decode(&w.spec); err != nil {
		return fmt.Errorf("bench: read what to do: %w", err)
	}
	loop, err := raw.NewLoop()
	if err != nil {
		return err
	}
	defer loop.Close()
	w.loop = loop
	orders := make(chan order, 4) // Run sends a stop besides the step that is under way
	var wg sync.WaitGroup
	wg.Go(func() { readOrders(dec, orders) })
	w.orders = orders
	w.clients.init(w)
	err = w.serve(ctx)
	if err != nil {
		err = errors.Join(err, w.out.Encode(report{Error: err.Error()}))
	}
	loop.Close()
	for range orders { // Run closes in once it has the last report
	}
	wg.Wait()
	return err
}

func readOrders(dec *json.Decoder, orders chan<- order) {
	defer close(orders)
	for {
		var o order
		if err := dec.Decode(&o); err != nil {
			return
		}
		orders <- o
	}
}

// serve does the steps.
func (w *worker) serve(ctx context.Context) error {
	for {
		o, err := w.next(ctx)
		if err != nil {
			return err
		}
		r := report{Step: o.Step}
		switch o.Step {
		case stepPublish:
			err = w.publishMissed(ctx, &r)
		case stepConnect:
			err = w.connect(ctx, o)
		case stepLoad:
			err = w.load(ctx, &r)
		case stepDrain:
			err = w.drain(ctx, o)
		case stepEnd:
			w.finish()
			r.Measured = &w.measured
		}
		if err != nil {
			return err
		}
		r.Progress = w.counts()
		if err := w.out.Encode(r); err != nil || o.Step == stepEnd {
			return err
		}
	}
}

// next waits for an order and serves the connections meanwhile.
func (w *worker) next(ctx context.Context) (order, error) {
	for w.ahead == nil {
		if err := w.until(ctx, func() bool { return w.ahead != nil }); err != nil {
			return order{}, err
		}
		if w.lost {
			return order{}, io.ErrUnexpectedEOF
		}
	}
	o := *w.ahead
	w.ahead = nil
	return o, nil
}

// until runs the loop until cond holds.
func (w *worker) until(ctx context.Context, cond func() bool) error {
	var failure error
	err := w.loop.Run(ctx, func() bool {
		w.listen()
		if now := time.Now(); now.Sub(w.progress) >= progressEvery {
			w.progress = now
			failure = w.out.Encode(report{Progress: w.counts()})
		}
		for _, l := range w.lanes {
			l.revive()
		}
		return failure != nil || w.lost || cond()
	})
	if err == nil && w.lost {
		err = io.ErrUnexpectedEOF
	}
	return errors.Join(err, failure)
}

// listen takes an order, if there is one.
func (w *worker) listen() {
	select {
	case o, open := <-w.orders:
		switch {
		case !open:
			w.lost = true
		case o.Step == stepStop:
			w.stop = true
		default:
			w.ahead = &o
		}
	default:
	}
}

func (w *worker) counts() counts {
	return counts{Open: w.clients.open, Received: w.tally.Received, Stored: w.measured.Stored}
}

// fault counts an error by what it is.
func (w *worker) fault(what string, err error) {
	if w.measured.Errors == nil {
		w.measured.Errors = map[string]int{}
	}
	kind := what + ": " + w.kinds.of(err)
	if _, had := w.measured.Errors[kind]; !had && len(w.measured.Errors) >= maxKinds {
		kind = what + ": something else"
	}
	w.measured.Errors[kind]++
}

// finish makes the report of all that was found.
func (w *worker) finish() {
	m, t := &w.measured, &w.tally
	if w.spec.Options.Scenario == Idle {
		w.spent()
	}
	m.counts = w.counts()
	m.Failed = w.clients.failed
	lost, gone := w.clients.missing(w.finals)
	m.Lost, m.Gone = t.Lost+lost, t.Gone+gone
	m.Duplicate, m.OutOfOrder, m.Gaps = t.Duplicate, t.Disorder, t.Unrecovered
}

// usage is a moment, and the processor time that this process took until then.
type usage struct {
	at  time.Time
	cpu time.Duration
}

func used() usage {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return usage{at: time.Now()}
	}
	return usage{time.Now(), time.Duration(u.Utime.Nano() + u.Stime.Nano())}
}

// spent notes what the load cost this process since began.
func (w *worker) spent() {
	now := used()
	cpu, took := now.cpu-w.began.cpu, now.at.Sub(w.began.at)
	w.measured.CPU = cpu.Seconds()
	if took > 0 {
		w.measured.Busy = cpu.Seconds() / took.Seconds()
	}
}
