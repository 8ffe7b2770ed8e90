package limit

import (
	"net/netip"
	"time"
)

// Answers pace what one caller is sent who asks again and again and has no connection that
// lasts: all polls of a caller together get what one connection may. One that is nil paces
// nothing.
type Answers struct {
	limits *Limiter
	caller string
	rate   Rate
}

// NewAnswers returns those of a caller, who is told apart as by Read; nil where there is no
// limit. tighter, unless 0, is what the token allows a second.
func (l *Limiter) NewAnswers(publisher string, addr netip.Addr, tighter int64) *Answers {
	if l == nil {
		return nil
	}
	rate := Times(l.cfg.OutboundBytes, 1).Tighten(tighter)
	if rate.IsZero() {
		return nil
	}
	rate.Burst = rate.PerSecond
	if publisher == anonymous {
		publisher = "address:" + l.prefix(addr).String()
	}
	return &Answers{l, publisher, rate}
}

// Wait is how long it takes until an answer is worth giving: until there is half of what may
// come at once, so that a caller gets a handful of messages and not each by itself.
func (a *Answers) Wait() time.Duration {
	if a == nil {
		return 0
	}
	wait := max(a.limits.answers.Debt(a.caller)-a.span()/2, 0)
	if wait > 0 {
		a.limits.metrics.paced.Inc()
	}
	return wait
}

// Room is how many bytes an answer may have now, of at most most: 0 where the caller has had
// too many.
func (a *Answers) Room(most int) int {
	if a == nil {
		return most
	}
	left := a.span() - a.limits.answers.Debt(a.caller)
	if left <= 0 {
		return 0
	}
	return int(min(float64(most), max(left.Seconds()*float64(a.rate.PerSecond), 1)))
}

// Given counts n bytes that were answered.
func (a *Answers) Given(n int) {
	if a != nil && n > 0 {
		a.limits.answers.Charge(a.caller, a.rate, int64(n))
	}
}

// span is in what time all that may come at once is earned.
func (a *Answers) span() time.Duration { return time.Duration(a.rate.cost(a.rate.Burst)) }
