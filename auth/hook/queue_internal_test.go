package hook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestLineIsBounded: further questions than may wait are refused at once, of one caller and
// of all, and what is given up leaves nothing behind.
func TestLineIsBounded(t *testing.T) {
	q := newQueue(2)
	place := func(name string) {
		t.Helper()
		if turn, err := q.stand(name); turn != nil || err != nil {
			t.Fatalf("%s has no place: %v", name, err)
		}
	}
	place("flood")
	var turns []chan struct{}
	stand := func(name string) error {
		turn, err := q.stand(name)
		if turn != nil {
			turns = append(turns, turn)
		}
		return err
	}
	for range maxLine {
		if err := stand("flood"); err != nil {
			t.Fatal(err)
		}
	}
	if err := stand("flood"); !errors.Is(err, errBusy) {
		t.Errorf("one more of one caller: %v", err)
	}
	place("other")
	for i := range MaxWaiting - maxLine {
		if err := stand(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := stand("late"); !errors.Is(err, errBusy) {
		t.Errorf("one more of all: %v", err)
	}
	if q.waiting != MaxWaiting {
		t.Errorf("%d wait", q.waiting)
	}
	for i, turn := range turns {
		name := "flood"
		if i >= maxLine {
			name = fmt.Sprint(i - maxLine)
		}
		if !q.quit(name, turn) {
			t.Fatalf("%s did not stand in the line", name)
		}
	}
	q.leave("flood")
	q.leave("other")
	if q.taken != 0 || q.waiting != 0 || len(q.callers) != 0 || len(q.turns) != 0 {
		t.Errorf("%+v is left", q)
	}
}

// TestCallersHaveTurns: who asks much waits behind itself, and has no more than its share
// of the places, also of those that nobody else wants.
func TestCallersHaveTurns(t *testing.T) {
	q := newQueue(4)
	type turn struct {
		who  string
		come chan struct{}
	}
	var line []turn
	for _, who := range []string{"a", "a", "a", "a", "a", "b", "b", "b", "c"} {
		come, err := q.stand(who)
		if err != nil {
			t.Fatal(err)
		}
		if come != nil {
			line = append(line, turn{who, come})
		}
	}
	if q.taken != 4 || len(line) != 5 { // two each of a and b have places
		t.Fatalf("%d have places, %d wait", q.taken, len(line))
	}
	for i, step := range []struct{ leaves, comes string }{
		{"a", "a"}, {"b", "b"}, {"a", "c"}, {"b", "a"}, {"b", ""}, {"c", ""}, {"a", "a"},
	} {
		q.leave(step.leaves)
		came := ""
		line = slices.DeleteFunc(line, func(l turn) bool {
			select {
			case <-l.come:
				came += l.who
				return true
			default:
				return false
			}
		})
		if came != step.comes {
			t.Errorf("step %d: it is the turn of %q, want %q", i, came, step.comes)
		}
	}
}

// TestNobodyWaitsForEver: for a place, longer than the patience or than its own time.
func TestNobodyWaitsForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1)
		if err := q.enter(t.Context(), "a", time.Second); err != nil {
			t.Fatal(err)
		}
		if err := q.enter(t.Context(), "b", time.Second); !errors.Is(err, errBusy) {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := q.enter(ctx, "b", time.Second); !errors.Is(err, errGivenUp) {
			t.Error(err)
		}
		q.leave("a")
		if err := q.enter(t.Context(), "b", time.Second); err != nil {
			t.Error(err)
		}
	})
}
