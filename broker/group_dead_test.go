package broker_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
)

// deadLetters are those of the group g.
func deadLetters(t *testing.T, b *broker.Broker) []*fanout.Message {
	t.Helper()
	return read(t, b, fanout.Query{Source: source(t, b, "t:dead-letters.g"), Limit: 10}).Messages
}

// deliveredOnce is a member of the group g, whose messages have one attempt, that has got
// one.
func deliveredOnce(t *testing.T, p *fanout.Publication) (*broker.Broker, *worker, fanout.GroupMessage) {
	t.Helper()
	b := open(t, groupsConfig(t, broker.GroupConfig{MaxDeliver: 1}))
	started(t, b)
	w, _ := join(t, b, "t:a", "g", 1, fanout.Start{})
	if _, err := b.Publish(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the message", func() bool { return w.count() == 1 })
	return b, w, w.messages()[0]
}

func nothingInFlight(t *testing.T, b *broker.Broker) {
	t.Helper()
	eventually(t, "nothing in flight", func() bool {
		info, err := b.Group(t.Context(), channel(t, "t:a"), "g")
		return err == nil && info.InFlight == 0
	})
}

// A dead letter that cannot be stored is not lost, nor is what its member said.
func TestGroupBuriesLater(t *testing.T) {
	b, w, m := deliveredOnce(t, publication(t, "t:a", `1`))
	b.SetLeastFree(math.MaxInt64)
	if err := settled(t, func(done func(error)) { w.Nak(m.Token, -1, "no such customer", done) }); !errors.Is(err, fanout.ErrDiskFull) {
		t.Fatalf("given back for the last time, on a full disk: %v", err)
	}
	info, err := b.Group(t.Context(), channel(t, "t:a"), "g")
	if err != nil || info.InFlight != 1 {
		t.Fatalf("%+v, %v: the message must not be settled", info, err)
	}
	b.SetLeastFree(0)
	eventually(t, "the dead letter", func() bool { return len(deadLetters(t, b)) == 1 })
	h := deadLetters(t, b)[0].Headers
	if h["Rivulet-Dead-Reason"] != "no such customer" || h["Rivulet-Dead-Attempts"] != "1" {
		t.Errorf("headers %v", h)
	}
	nothingInFlight(t, b)
}

// A message whose own headers leave no room for why it died loses them, not its end.
func TestGroupBuriesWhatIsTooLarge(t *testing.T) {
	p := publication(t, "t:a", `1`)
	p.Headers = map[string]string{"h": strings.Repeat("x", 30<<10-100)} // nearly all that there may be
	b, w, m := deliveredOnce(t, p)
	if err := settled(t, func(done func(error)) { w.Nak(m.Token, -1, "no", done) }); err != nil {
		t.Fatal(err)
	}
	list := deadLetters(t, b)
	if len(list) != 1 || list[0].Headers["Rivulet-Dead-Reason"] != "no" || list[0].Headers["h"] != "" || string(list[0].Data) != "1" {
		t.Errorf("dead letters %+v", list)
	}
	nothingInFlight(t, b)
}

// What was published before the word of it was lost is not published again, whatever was
// said of it meanwhile.
func TestGroupBuriesOnce(t *testing.T) {
	b, w, m := deliveredOnce(t, publication(t, "t:a", `1`))
	before := &fanout.Publication{
		Channel: channel(t, "t:dead-letters.g"), Data: []byte(`1`), Headers: map[string]string{"Rivulet-Dead-Reason": "earlier"},
		Key: "dead-" + m.Position.String() + "-" + broker.GroupConsumer(m.Channel, "g"), Publisher: "group:g",
	}
	if _, err := b.Publish(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	if err := settled(t, func(done func(error)) { w.Nak(m.Token, -1, "later", done) }); err != nil {
		t.Errorf("buried again: %v", err)
	}
	nothingInFlight(t, b)
	if list := deadLetters(t, b); len(list) != 1 || list[0].Headers["Rivulet-Dead-Reason"] != "earlier" {
		t.Errorf("dead letters %+v", list)
	}
}
