package broker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

func (w *worker) told() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.lost...)
}

// twoNodes are two brokers on one server, with a group's configuration.
func twoNodes(t *testing.T, g broker.GroupConfig, change func(*broker.NamespaceSpec)) (a, b *broker.Broker) {
	t.Helper()
	srv := startRemote(t, remoteOptions(t, "n"))
	node := func(name string) *broker.Broker {
		b := open(t, config(t, one(change), func(c *broker.Config) {
			c.Groups = map[string]broker.GroupConfig{"t": g}
			c.Node, c.Data, c.NATSURL = name, "", srv.srv.ClientURL()
		}))
		b.CheckGroups(200 * time.Millisecond)
		started(t, b)
		return b
	}
	return node("a"), node("b")
}

// asks waits until n requests of nodes wait for messages of the group.
func asks(t *testing.T, b *broker.Broker, n int) {
	t.Helper()
	eventually(t, fmt.Sprint(n, " requests"), func() bool {
		info, err := b.Group(t.Context(), channel(t, "t:a"), "g")
		return err == nil && info.Waiting >= n
	})
}

// What a node has no room for goes to another that has, long before the time to work on
// it is over.
func TestGroupGivesSpareBack(t *testing.T) {
	a, b := twoNodes(t, broker.GroupConfig{AckWait: 10 * time.Minute}, func(*broker.NamespaceSpec) {})
	busy, _ := join(t, a, "t:a", "g", 1, fanout.Start{})
	publish(t, a, "t:a", `0`)
	eventually(t, "a busy member", func() bool { return busy.count() == 1 })
	leaver, _ := join(t, a, "t:a", "g", 64, fanout.Start{})
	asks(t, a, 1)
	leaver.Leave() // its node's request is still under way
	idle, _ := join(t, b, "t:a", "g", 64, fanout.Start{})
	asks(t, a, 2)
	publishMany(t, a, "t:a", 1, 40)
	eventually(t, "all at the idle node", func() bool { return idle.count() >= 40 })
	for _, m := range idle.messages() {
		if m.Attempt > 2 {
			t.Errorf("attempt %d of %d", m.Attempt, m.Offset())
		}
	}
}

// A message that its members had no room for is no dead letter.
func TestGroupBuriesNothingUnoffered(t *testing.T) {
	b := open(t, groupsConfig(t, broker.GroupConfig{AckWait: 200 * time.Millisecond, MaxDeliver: 2}))
	started(t, b)
	w, _ := join(t, b, "t:a", "g", 10, fanout.Start{})
	w.mu.Lock()
	w.refuse = true
	w.mu.Unlock()
	publish(t, b, "t:a", `1`)
	redelivered := 0
	eventually(t, "several deliveries to the node", func() bool {
		w.Ready()
		info, err := b.Group(t.Context(), channel(t, "t:a"), "g")
		if err == nil && info.Redelivered > 0 {
			redelivered++
		}
		return redelivered > 20
	})
	w.mu.Lock()
	w.refuse = false
	w.mu.Unlock()
	eventually(t, "the message", func() bool { w.Ready(); return w.count() > 0 })
	if m := w.messages()[0]; m.Attempt != 1 {
		t.Errorf("attempt %d, it was never offered before", m.Attempt)
	}
	dead := source(t, b, "t:dead-letters.g")
	if list := read(t, b, fanout.Query{Source: dead, Limit: 10}).Messages; len(list) != 0 {
		t.Errorf("dead letters %+v", list)
	}
}

// A backlog that the namespace's bytes have pushed out is told of, also where the group
// has gone on behind the hole meanwhile.
func TestGroupTellsOfBytes(t *testing.T) {
	b := open(t, config(t, one(func(s *broker.NamespaceSpec) { s.MaxBytes = 2 << 20 })))
	b.CheckGroups(time.Second)
	started(t, b)
	w, _ := join(t, b, "t:a", "g", 1, fanout.Start{})
	publish(t, b, "t:a", `0`)
	eventually(t, "the first", func() bool { return w.count() == 1 })
	big := `"` + strings.Repeat("x", 50<<10) + `"`
	for range 100 {
		publish(t, b, "t:a", big)
	}
	if err := ack(t, w, w.messages()[0].Token); err != nil {
		t.Fatal(err)
	}
	eventually(t, "word of the loss", func() bool { return len(w.told()) > 0 })
	if got := w.told()[0]; got != protocol.ReasonRetention {
		t.Errorf("reason %s", got)
	}
}

// A message that was given back, and that the log dropped before its next attempt.
func TestGroupTellsOfWhatWaited(t *testing.T) {
	b := open(t, config(t, one(func(s *broker.NamespaceSpec) { s.MaxPerChannel = 5 })))
	b.CheckGroups(200 * time.Millisecond)
	started(t, b)
	w, _ := join(t, b, "t:a", "g", 1, fanout.Start{})
	publish(t, b, "t:a", `"precious"`)
	eventually(t, "the first", func() bool { return w.count() == 1 })
	if err := settled(t, func(d func(error)) { w.Nak(w.messages()[0].Token, time.Hour, "later", d) }); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 20; n++ {
		publish(t, b, "t:a", fmt.Sprint(n))
		eventually(t, "the next", func() bool { return w.count() == n+1 })
		if err := ack(t, w, w.messages()[n].Token); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "word of the loss", func() bool { return len(w.told()) > 0 })
}

// A member that works long is told of no loss where another node did all that the log
// has dropped since.
func TestGroupOfTwoNodesLosesNothing(t *testing.T) {
	// So small that the bytes are never a reason, however late a check comes.
	a, b := twoNodes(t, broker.GroupConfig{}, func(s *broker.NamespaceSpec) { s.MaxPerChannel, s.MaxMessageBytes = 20, 1<<10 })
	long, _ := join(t, a, "t:a", "g", 1, fanout.Start{})
	publish(t, a, "t:a", `0`)
	eventually(t, "the long one", func() bool { return long.count() == 1 })
	quick, _ := join(t, b, "t:a", "g", 5, fanout.Start{})
	for done, begin := 0, time.Now(); time.Since(begin) < 2*time.Second; done++ {
		publish(t, b, "t:a", fmt.Sprint(done))
		eventually(t, "the next", func() bool { return quick.count() > done })
		if err := ack(t, quick, quick.messages()[done].Token); err != nil {
			t.Fatal(err)
		}
	}
	if lost := append(long.told(), quick.told()...); len(lost) > 0 {
		t.Errorf("told of losses: %v", lost)
	}
}

// The connection is lost at the moment a message is settled.
func TestGroupSettlesWithoutConnection(t *testing.T) {
	b := open(t, groupsConfig(t, broker.GroupConfig{MaxInFlight: 100}))
	started(t, b)
	w, _ := join(t, b, "t:a", "g", 100, fanout.Start{})
	publishMany(t, b, "t:a", 0, 100)
	eventually(t, "all", func() bool { return w.count() == 100 })
	stop := make(chan struct{})
	var losing, acking sync.WaitGroup
	losing.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				broker.LoseSettlements(w.Membership)
			}
		}
	})
	for _, m := range w.messages() {
		acking.Add(1)
		w.Ack(m.Token, func(err error) {
			if err != nil && !errors.Is(err, fanout.ErrUnavailable) {
				t.Error(err)
			}
			acking.Done()
		})
	}
	acking.Wait()
	close(stop)
	losing.Wait()
}

// A group cannot work on its own dead letters, which would come back for ever.
func TestGroupOfItsOwnDeadLetters(t *testing.T) {
	b := open(t, groupsConfig(t, broker.GroupConfig{}))
	_, _, err := b.JoinGroup(context.Background(), fanout.GroupRequest{Channel: channel(t, "t:dead-letters.g"), Group: "g", MaxInFlight: 1, Member: &worker{}})
	if in, ok := errors.AsType[*fanout.InputError](err); !ok || in.Field != "group" {
		t.Error(err)
	}
}
