//go:build linux

package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"
)

// settling is how long the nodes' memory may settle after a load, and what comes
// twice is looked for.
const settling = time.Second

// run is one run, led by the goroutine of Run.
type run struct {
	o       Options
	early   <-chan struct{} // closed when the user wants the run to finish early
	crew    *crew
	meter   *meter
	step    string
	told    bool // the workers were told to finish early
	began   time.Time
	stepAt  time.Time
	held    time.Duration // how long idle connections were held
	unheard int           // channels without a bound of how far ahead their publisher is
	rates   rates
	result  Result
}

// Run puts the load on the nodes and returns what was measured. When ctx ends it
// ends early, with what it has by then.
func Run(ctx context.Context, o Options) (Result, error) {
	if err := o.Validate(); err != nil {
		return Result{}, err
	}
	nodes, err := resolve(ctx, o.URLs)
	if err != nil {
		return Result{}, err
	}
	s := spec{Options: o, Run: strings.ToLower(rand.Text()[:10]), Nodes: nodes}
	if err := checkLimits(&s); err != nil {
		return Result{}, err
	}
	if o.Scenario.Publishes() {
		if _, err := o.data(); err != nil { // once, and before anything else has begun
			return Result{}, err
		}
	}
	if err := preflight(ctx, &s); err != nil {
		return Result{}, err
	}
	r := &run{o: o, early: ctx.Done(), began: time.Now()}
	if o.Rate == 0 && o.Scenario.live() && o.Scenario != Publish {
		r.unheard = s.unheard()
	}
	background := context.WithoutCancel(ctx)
	var warning string
	if r.meter, warning = newMeter(background, &o, nodes); warning != "" {
		r.warn("%s", warning)
	}
	if r.crew, err = hire(ctx, s); err != nil {
		return Result{}, err
	}
	defer r.crew.fire()
	if err := r.steps(background); err != nil {
		return Result{}, err
	}
	r.conclude()
	return r.result, nil
}

// steps leads the workers through the scenario.
func (r *run) steps(ctx context.Context) error {
	r.meter.sample(ctx)
	var o order
	if r.o.Scenario == Replay {
		if err := r.do(ctx, order{Step: stepPublish}); err != nil {
			return err
		}
		o = r.collected()
	}
	o.Step = stepConnect
	atOnce := r.o.Scenario == Replay || r.o.Scenario == Connect
	if atOnce {
		r.meter.begin(ctx)
	}
	if err := r.do(ctx, o); err != nil {
		return err
	}
	if r.o.Scenario == Connect {
		r.meter.end(ctx)
	}
	if r.o.Scenario == Idle {
		r.meter.begin(ctx)
		began := time.Now()
		if err := r.hold(ctx, r.o.Duration); err != nil {
			return err
		}
		r.held = time.Since(began)
		r.meter.end(ctx)
	}
	if r.o.Scenario.Publishes() {
		if err := r.exchange(ctx, o); err != nil {
			return err
		}
	}
	if r.o.Scenario != Idle {
		if err := r.hold(ctx, r.settle()); err != nil {
			return err
		}
	}
	r.meter.sample(ctx)
	return r.do(ctx, order{Step: stepEnd})
}

// exchange is the part of a scenario in which messages are delivered.
func (r *run) exchange(ctx context.Context, o order) error {
	if r.o.Scenario.live() {
		r.meter.begin(ctx)
		if err := r.do(ctx, order{Step: stepLoad}); err != nil {
			return err
		}
		o = r.collected()
	}
	err := r.do(ctx, order{Step: stepDrain, Finals: o.Finals})
	r.meter.end(ctx)
	return err
}

// collected merges what the workers know of their channels.
func (r *run) collected() order {
	o := order{Finals: make([]uint64, r.o.Channels)}
	if r.o.Scenario == Replay {
		o.Positions = make([]string, r.o.Channels)
	}
	for _, m := range r.crew.members {
		for i, n := range m.report.Finals {
			o.Finals[i] = max(o.Finals[i], n)
		}
		for i, p := range m.report.Positions {
			if p != "" {
				o.Positions[i] = p
			}
		}
	}
	return o
}

// do has all workers do a step and waits for them.
func (r *run) do(ctx context.Context, o order) error {
	r.step, r.stepAt = o.Step, time.Now()
	if err := r.crew.tell(o); err != nil {
		return err
	}
	left := len(r.crew.members)
	return r.follow(ctx, nil, func(s said) bool {
		if s.report.Step == o.Step {
			r.crew.members[s.by].report = s.report
			left--
		}
		return left == 0
	})
}

// settle is short in a run that is.
func (r *run) settle() time.Duration {
	if r.o.Scenario.uses("duration") {
		return min(settling, r.o.Duration)
	}
	return settling
}

// hold lets the workers serve their connections for a while, or until none is left.
func (r *run) hold(ctx context.Context, d time.Duration) error {
	if r.told {
		return nil
	}
	r.step, r.stepAt = "hold", time.Now()
	timer := time.NewTimer(d)
	defer timer.Stop()
	return r.follow(ctx, timer.C, func(said) bool { return r.told || r.crew.sum().Open == 0 && r.o.Scenario != Publish })
}

// follow takes what the workers say until one thing or the other ends it.
func (r *run) follow(ctx context.Context, end <-chan time.Time, enough func(said) bool) error {
	look := time.NewTicker(meterEvery)
	defer look.Stop()
	for {
		interrupted := r.early
		if r.told {
			interrupted = nil
		}
		select {
		case s := <-r.crew.reports:
			if s.err != nil {
				return fmt.Errorf("bench: worker %d: %w", s.by, s.err)
			}
			r.crew.members[s.by].counts = s.report.Progress
			if enough(s) {
				return nil
			}
		case <-look.C:
			r.meter.look(ctx)
			r.show()
		case <-interrupted:
			r.told, r.result.Interrupted = true, true
			if err := r.crew.tell(order{Step: stepStop}); err != nil {
				return err
			}
			if end != nil {
				return nil
			}
		case <-end:
			return nil
		}
	}
}

// rates are what the progress shows.
type rates struct {
	at       time.Time
	before   counts
	received float64
	stored   float64
}

// ratesOver is the time over which they are averaged.
const ratesOver = time.Second

func (r *run) show() {
	if r.o.OnProgress == nil {
		return
	}
	now, sum := time.Now(), r.crew.sum()
	if took := now.Sub(r.rates.at); took >= ratesOver {
		if !r.rates.at.IsZero() {
			r.rates.received = float64(sum.Received-r.rates.before.Received) / took.Seconds()
			r.rates.stored = float64(sum.Stored-r.rates.before.Stored) / took.Seconds()
		}
		r.rates.at, r.rates.before = now, sum
	}
	p := Progress{
		Step: r.step, Open: sum.Open, Connections: r.o.Connections, Received: sum.Received, Stored: sum.Stored,
		ReceivedPerSecond: r.rates.received, StoredPerSecond: r.rates.stored, Elapsed: now.Sub(r.began),
	}
	if r.step == stepLoad || r.step == "hold" && r.o.Scenario == Idle {
		p.Remaining = max(0, r.o.Duration-now.Sub(r.stepAt))
	}
	r.o.OnProgress(p)
}

func (r *run) warn(format string, args ...any) {
	r.result.Warnings = append(r.result.Warnings, strings.TrimPrefix(fmt.Sprintf(format, args...), "bench: "))
}

// ErrUnreachable says that nobody listens where a URL points to.
var ErrUnreachable = errors.New("bench: node not reachable")
