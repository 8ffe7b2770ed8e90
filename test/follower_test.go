package test_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/rivulet-rt/rivulet/protocol"
)

// follower is a client of one channel or pattern that keeps what the protocol has
// it keep, and notes what it is told. It fails the test where the node repeats or
// reorders messages.
type follower struct {
	t       *testing.T
	read    func() protocol.Event
	close   func()
	asked   protocol.SubscribeCommand
	begun   bool
	seen    transcript
	at      string            // the position to come back with
	places  map[string]string // a pattern's, by stream
	offsets map[string]uint64 // of the last message, by channel
}

// follow subscribes and returns when subscribed is there.
func (k *socket) follow(c protocol.SubscribeCommand) *follower {
	k.t.Helper()
	f := &follower{t: k.t, read: k.next, close: k.close, asked: c}
	f.id(k.send(protocol.Command{Subscribe: &c}))
	return f
}

// id takes the answer to the subscribe command.
func (f *follower) id(id uint64) {
	f.t.Helper()
	ev := f.read()
	if ev.ID != id || ev.Subscribed == nil {
		f.t.Fatalf("subscribe to %s: %s", f.asked.Channel, shown(ev))
	}
	f.note(ev)
}

// take reads one event.
func (f *follower) take() protocol.Event {
	f.t.Helper()
	ev := f.read()
	f.note(ev)
	return ev
}

func (f *follower) note(ev protocol.Event) {
	f.t.Helper()
	switch {
	case ev.Subscribed != nil:
		f.begin(ev.Subscribed)
	case !f.begun:
		f.t.Errorf("before subscribed: %s", shown(ev))
	case ev.Message != nil:
		f.message(ev.Message)
	case ev.Gap != nil:
		f.seen.add("gap:" + ev.Gap.Reason)
		f.move(ev.Gap.Position)
		f.offsets = nil
	case ev.CaughtUp != nil:
		f.move(append(ev.CaughtUp.Positions, ev.CaughtUp.Position)...)
	case ev.Position != nil:
		f.move(ev.Position.Position)
	case ev.Deleted != nil:
		f.move(ev.Deleted.Position)
	default:
		f.t.Errorf("did not expect %s", shown(ev))
	}
}

func (f *follower) begin(ev *protocol.SubscribedEvent) {
	f.begun = true
	if !ev.Recovered {
		f.seen.add("lost:" + ev.Reason)
		f.offsets = nil
	}
	f.move(append(ev.Positions, ev.Position)...)
}

func (f *follower) message(m *protocol.MessageEvent) {
	f.t.Helper()
	if last := f.offsets[m.Channel]; m.Offset <= last {
		f.t.Errorf("%s: offset %d (%s) after %d", m.Channel, m.Offset, m.Data, last)
	}
	if f.offsets == nil {
		f.offsets = map[string]uint64{}
	}
	f.offsets[m.Channel] = m.Offset
	f.seen.add(string(m.Data))
	f.move(m.Position)
}

func (f *follower) move(positions ...string) {
	for _, p := range positions {
		if p == "" {
			continue
		}
		if f.places == nil {
			f.places = map[string]string{}
		}
		f.at = p
		f.places[protocol.StreamKey(p)] = p
	}
}

// positions are what a pattern comes back with.
func (f *follower) positions() []string { return slices.Sorted(maps.Values(f.places)) }

// until reads on to an event that is wanted.
func (f *follower) until(wanted func(protocol.Event) bool) protocol.Event {
	f.t.Helper()
	for {
		if ev := f.take(); wanted(ev) {
			return ev
		}
	}
}

func (f *follower) catchUp() {
	f.t.Helper()
	f.until(func(ev protocol.Event) bool { return ev.CaughtUp != nil })
}

// readTo reads on to the message with this data.
func (f *follower) readTo(data any) {
	f.t.Helper()
	f.until(func(ev protocol.Event) bool { return ev.Message != nil && string(ev.Message.Data) == fmt.Sprint(data) })
}

// told compares all that the client was told with what it should have been.
func (f *follower) told(what, want string) {
	f.t.Helper()
	if got := f.seen.String(); got != want {
		f.t.Errorf("%s: was told\n     %s\nwant %s", what, got, want)
	}
}

// numberOf reads the number of a padded message.
func numberOf(t *testing.T, m *protocol.MessageEvent) int {
	t.Helper()
	var data struct{ N int }
	if err := json.Unmarshal(m.Data, &data); err != nil {
		t.Fatal(err)
	}
	return data.N
}
