package broker_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
)

// No answer leaves before a sync that began when the server had the message.
func TestAnswersWaitForASync(t *testing.T) {
	var durable, syncs atomic.Uint64 // what the log's end was when the last sync that is over began
	var look atomic.Pointer[func() uint64]
	b := open(t, config(t, func(c *broker.Config) {
		broker.Syncs(c, func(sync func() error) error {
			end := uint64(0)
			if f := look.Load(); f != nil {
				end = (*f)()
			}
			err := sync()
			syncs.Add(1)
			durable.Store(end)
			return err
		})
	}))
	s := streamOf(t, b, "t:a")
	f := func() uint64 {
		info, err := s.Info(context.WithoutCancel(t.Context()))
		if err != nil {
			t.Errorf("look at the log: %v", err)
			return 0
		}
		return info.State.LastSeq
	}
	look.Store(&f)
	defer look.Store(nil)
	syncs.Store(0)
	var publishers sync.WaitGroup
	const many, each = 32, 20
	for i := range many {
		publishers.Go(func() {
			for n := range each {
				var r fanout.Receipt
				var err error
				if n%10 == 9 {
					r, err = b.Purge(t.Context(), channel(t, fmt.Sprintf("t:c%d", i)))
				} else {
					r, err = b.Publish(t.Context(), publication(t, fmt.Sprintf("t:c%d", i), "1"))
				}
				if end := durable.Load(); err != nil || r.Position.Offset > end {
					t.Errorf("answered offset %d, %v; on the disk is %d", r.Position.Offset, err, end)
				}
			}
		})
	}
	publishers.Wait()
	if n := syncs.Load(); n == 0 || n >= many*each {
		t.Errorf("%d syncs for %d messages: they share none", n, many*each)
	}
}

// What is acknowledged while a sync is under way is not answered by that one.
func TestSyncUnderWayIsTooEarly(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	var held atomic.Bool
	b := open(t, config(t, func(c *broker.Config) {
		broker.Syncs(c, func(sync func() error) error {
			if held.Load() {
				begun <- struct{}{}
				<-end
			}
			return sync()
		})
	}))
	held.Store(true)
	answers := make(chan string, 2)
	send := func(data string) {
		if _, err := b.Publish(context.WithoutCancel(t.Context()), publication(t, "t:a", data)); err != nil {
			t.Errorf("publish %s: %v", data, err)
		}
		answers <- data
	}
	go send("1")
	<-begun
	s := streamOf(t, b, "t:a")
	go send("2")
	eventually(t, "the second to be stored", func() bool {
		info, err := s.Info(t.Context())
		return err == nil && info.State.LastSeq == 2
	})
	end <- struct{}{}
	if got := <-answers; got != "1" {
		t.Errorf("the first sync answered %s", got)
	}
	<-begun // one more, for the second alone
	select {
	case got := <-answers:
		t.Errorf("%s was answered before its sync", got)
	default:
	}
	held.Store(false)
	end <- struct{}{}
	if got := <-answers; got != "2" {
		t.Errorf("the second sync answered %s", got)
	}
}

// A failed sync leaves the outcome open, and nothing is promised after it.
func TestFailedSync(t *testing.T) {
	var fails atomic.Bool
	cfg := config(t, func(c *broker.Config) {
		broker.Syncs(c, func(sync func() error) error {
			if fails.Load() {
				return syscall.EIO
			}
			return sync()
		})
	})
	b := open(t, cfg)
	x := publish(t, b, "t:a", "1")
	id := source(t, b, "t:a").Stream
	before := b.Tag(id)
	fails.Store(true)
	if _, err := b.Publish(t.Context(), publication(t, "t:a", "2")); !errors.Is(err, fanout.ErrOutcomeUnknown) || !errors.Is(err, syscall.EIO) {
		t.Errorf("during: %v", err)
	}
	fails.Store(false) // the kernel tells of a failure once
	if _, err := b.Publish(t.Context(), publication(t, "t:a", "3")); !errors.Is(err, fanout.ErrUnavailable) || errors.Is(err, fanout.ErrOutcomeUnknown) {
		t.Errorf("after: %v", err)
	}
	if err := b.Raise(t.Context(), id, before); !errors.Is(err, fanout.ErrUnavailable) {
		t.Errorf("a record after: %v", err)
	}
	eventually(t, "readiness to fail", func() bool { return errors.Is(b.Ready(t.Context()), broker.ErrNotReady) })
	if _, ok, reason, _ := judge(t, b, "t:a", x); !ok {
		t.Errorf("reading: %s", reason)
	}
	closeNow(t, b)
	b = open(t, cfg)
	if b.Tag(id) == before {
		t.Error("the epoch was not raised")
	}
	expect(t, b, "stored before", "t:a", x, "", "2")
	publish(t, b, "t:a", "4")
}

// Records are synced like messages: a namespace is not served before it is.
func TestRecordsWaitForASync(t *testing.T) {
	var fails atomic.Bool
	var syncs atomic.Int64
	b := open(t, config(t, func(c *broker.Config) {
		c.Open = true
		broker.Syncs(c, func(sync func() error) error {
			syncs.Add(1)
			if fails.Load() {
				return syscall.EIO
			}
			return sync()
		})
	}))
	if syncs.Load() == 0 {
		t.Error("opened without a sync")
	}
	id := source(t, b, "t:a").Stream
	n, before := syncs.Load(), b.Tag(id)
	if err := b.Raise(t.Context(), id, before); err != nil || b.Tag(id) == before {
		t.Errorf("raise: %v", err)
	}
	if syncs.Load() == n {
		t.Error("an epoch was raised without a sync")
	}
	fails.Store(true)
	if _, err := b.Locate(t.Context(), channel(t, "new:a")); !errors.Is(err, syscall.EIO) {
		t.Errorf("a namespace that is not on the disk: %v", err)
	}
}
