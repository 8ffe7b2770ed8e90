package limit

import (
	"sync"
	"time"
)

// alarm wakes a connection for which something was put off.
type alarm struct {
	wake func() // static; called from a goroutine of its own

	mu    sync.Mutex  // guards the following
	timer *time.Timer // nil until it was set
	due   bool        // the timer runs
	ended bool
}

// set has wake called once in d, unless it is to be called anyway, or stop was.
func (a *alarm) set(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.due || a.ended {
		return
	}
	a.due = true
	if a.timer == nil {
		a.timer = time.AfterFunc(d, a.fire)
		return
	}
	a.timer.Reset(d)
}

func (a *alarm) fire() {
	a.mu.Lock()
	ended := a.ended
	a.due = false
	a.mu.Unlock()
	if !ended {
		a.wake()
	}
}

// hurry has wake called at once, if it is to be called.
func (a *alarm) hurry() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.due && a.timer.Stop() { // else it is being called
		a.timer.Reset(0)
	}
}

// stop ends it. A wake that has begun may still be running.
func (a *alarm) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
	if a.timer != nil {
		a.timer.Stop()
	}
}
