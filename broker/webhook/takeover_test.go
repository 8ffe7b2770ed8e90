package webhook_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/broker/webhook"
	"github.com/rivulet-rt/rivulet/fanout"
)

// natsServer starts a NATS server.
func natsServer(tb testing.TB) *server.Server {
	tb.Helper()
	srv, err := server.NewServer(&server.Options{
		ServerName: "nats", Host: "127.0.0.1", Port: -1, NoSigs: true, JetStream: true, StoreDir: tb.TempDir(),
	})
	if err != nil {
		tb.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		tb.Fatal("the NATS server did not start")
	}
	tb.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	return srv
}

// shared starts a NATS server and returns how nodes of any name use it.
func shared(tb testing.TB) func(name string) broker.Config {
	tb.Helper()
	srv := natsServer(tb)
	cfg := brokerConfig(tb)
	cfg.Data, cfg.DiskBudget, cfg.NATSURL = "", 0, srv.ClientURL()
	return func(name string) broker.Config {
		cfg.Node = name
		return cfg
	}
}

// cut ends a node without a word: its connections close, and its leases run out.
func (n *node) cut(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := n.broker.Close(ctx); err != nil {
		tb.Error(err)
	}
}

// Two nodes share the work; when one dies, the other goes on where it stopped, in order.
func TestTakeover(t *testing.T) {
	rcv := receive(t, nil)
	on := shared(t)
	cfg := quick(hook(t, "a", rcv.URL, webhook.MessagePublished))
	cfg.Hooks[0].Batch = 5
	first := run(t, on("first"), cfg)
	second := run(t, on("second"), cfg)
	const channels, each = 8, 100
	publish := func(n *node, from, to int) {
		for i := range channels {
			n.publish(t, fmt.Sprintf("chat:%d", i), from, to-from)
		}
	}
	publish(first, 0, 50)
	first.cut(t)
	publish(second, 50, each)
	got := rcv.await(channels * each)
	inOrder(t, got, each)
	if again := len(got) - len(ids(got)); again > 8*4*5 { // what was under way in each lane
		t.Errorf("%d events were sent again", again)
	}
}

// TestStopHandsOver makes sure that a clean stop leaves nothing to be sent again.
func TestStopHandsOver(t *testing.T) {
	rcv := receive(t, nil)
	on := shared(t)
	cfg := quick(hook(t, "a", rcv.URL, webhook.MessagePublished))
	first := run(t, on("first"), cfg)
	second := run(t, on("second"), cfg)
	first.publish(t, "chat:a", 0, 50)
	rcv.await(50)
	eventually(t, 10*time.Second, func() (bool, string) {
		list, err := second.Status(t.Context())
		return err == nil && list[0].Lag == 0, fmt.Sprintf("%+v, %v", list, err)
	})
	first.stop()
	second.publish(t, "chat:a", 50, 50)
	got := rcv.await(100)
	inOrder(t, got, 100)
	if len(got) != 100 {
		t.Errorf("%d events", len(got))
	}
}

// types are the events of a channel as type and member, in order.
func types(events []webhook.Event, channel string) []string {
	var list []string
	seen := map[string]bool{}
	for _, e := range events {
		if e.Channel != channel || seen[e.ID] {
			continue
		}
		seen[e.ID] = true
		s := string(e.Type)
		if e.Member != nil {
			s += " " + e.Member.User + e.Member.Client
		}
		list = append(list, s)
	}
	return list
}

func (r *receiver) awaitTypes(channel string, want ...string) {
	r.tb.Helper()
	eventually(r.tb, 30*time.Second, func() (bool, string) {
		got := types(r.events(), channel)
		return slices.Equal(got, want), fmt.Sprintf("%s: %q, want %q", channel, got, want)
	})
}

func crowdHook(t *testing.T, url string) webhook.Hook {
	t.Helper()
	return hook(t, "a", url, webhook.ChannelOccupied, webhook.ChannelVacated, webhook.MemberJoined, webhook.MemberLeft)
}

func TestOccupancy(t *testing.T) {
	rcv := receive(t, nil)
	on := shared(t)
	cfg := quick(crowdHook(t, rcv.URL))
	a, b := run(t, on("a"), cfg), run(t, on("b"), cfg)
	c := patterns(t, "chat:room")[0]
	ann := func(client string) webhook.Member {
		return webhook.Member{User: "ann", Client: client, Info: []byte(`{"n":1}`)}
	}
	// The same user on two nodes is one member, and the channel occupied once.
	a.Occupied(c)
	a.Joined(c, ann("1"))
	rcv.awaitTypes("chat:room", "channel.occupied", "member.joined ann")
	b.Occupied(c)
	b.Joined(c, ann("2"))
	b.Joined(c, webhook.Member{Client: "3"})
	rcv.awaitTypes("chat:room", "channel.occupied", "member.joined ann", "member.joined 3")
	a.Left(c, ann("1"))
	a.Vacated(c)
	b.Left(c, webhook.Member{Client: "3"})
	rcv.awaitTypes("chat:room", "channel.occupied", "member.joined ann", "member.joined 3", "member.left 3")
	// A quick return is no event.
	b.Left(c, ann("2"))
	b.Vacated(c)
	b.Occupied(c)
	b.Joined(c, ann("4"))
	b.Left(c, ann("4"))
	b.Vacated(c)
	want := []string{"channel.occupied", "member.joined ann", "member.joined 3", "member.left 3", "member.left ann", "channel.vacated"}
	rcv.awaitTypes("chat:room", want...)
	a.Occupied(c)
	rcv.awaitTypes("chat:room", append(want, "channel.occupied")...)
	for _, e := range rcv.events() {
		if e.Type == webhook.MemberJoined && e.Member.User == "ann" && string(e.Member.Info) != `{"n":1}` {
			t.Errorf("info %s", e.Member.Info)
		}
	}
	a.Occupied(patterns(t, "default:x")[0]) // not the webhook's
	if got := types(rcv.events(), "default:x"); got != nil {
		t.Errorf("told of %q", got)
	}
}

// A holder that dies is followed by one that knows what was told, hears from the nodes
// what is so, and tells the difference once.
func TestOccupancyTakeover(t *testing.T) {
	rcv := receive(t, nil)
	on := shared(t)
	cfg := quick(crowdHook(t, rcv.URL))
	cfg.Grace = 5 * time.Second // nodes report every three seconds
	first := run(t, on("first"), cfg)
	second := run(t, on("second"), cfg)
	stays, goes, comes := patterns(t, "chat:stays")[0], patterns(t, "chat:goes")[0], patterns(t, "chat:comes")[0]
	second.Occupied(stays)
	second.Occupied(goes)
	first.Occupied(stays)
	rcv.awaitTypes("chat:stays", "channel.occupied")
	rcv.awaitTypes("chat:goes", "channel.occupied")
	first.cut(t)
	second.Vacated(goes)
	second.Occupied(comes)
	rcv.awaitTypes("chat:comes", "channel.occupied")
	rcv.awaitTypes("chat:goes", "channel.occupied", "channel.vacated")
	rcv.awaitTypes("chat:stays", "channel.occupied")
}

// After a restart, who does not come back is gone; who does never was.
func TestOccupancyRestart(t *testing.T) {
	rcv := receive(t, nil)
	bcfg := brokerConfig(t)
	cfg := quick(crowdHook(t, rcv.URL))
	cfg.Grace = 2 * time.Second
	n := run(t, bcfg, cfg)
	back, away := patterns(t, "chat:back")[0], patterns(t, "chat:away")[0]
	n.Occupied(back)
	n.Occupied(away)
	rcv.awaitTypes("chat:away", "channel.occupied")
	rcv.awaitTypes("chat:back", "channel.occupied")
	n.stop()
	n = run(t, bcfg, cfg)
	n.Occupied(back)
	rcv.awaitTypes("chat:away", "channel.occupied", "channel.vacated")
	rcv.awaitTypes("chat:back", "channel.occupied")
	n.Vacated(back)
	rcv.awaitTypes("chat:back", "channel.occupied", "channel.vacated")
}

// fullLog records nothing of events.
type fullLog struct {
	webhook.Log
	tried chan struct{} // size 1
}

func (l fullLog) WriteEvents(context.Context, []webhook.Record) ([]bool, error) {
	select {
	case l.tried <- struct{}{}:
	default:
	}
	return nil, fanout.ErrDiskFull
}

// A node that is alone knows who is gone: it waits only for those who were there before
// it was restarted.
func TestOccupancyAlone(t *testing.T) {
	rcv := receive(t, nil)
	bcfg := brokerConfig(t)
	cfg := quick(crowdHook(t, rcv.URL))
	cfg.Alone, cfg.Grace = true, time.Hour
	n := run(t, bcfg, cfg)
	goes, away := patterns(t, "chat:goes")[0], patterns(t, "chat:away")[0]
	n.Occupied(away)
	n.Occupied(goes)
	rcv.awaitTypes("chat:away", "channel.occupied")
	rcv.awaitTypes("chat:goes", "channel.occupied")
	n.Vacated(goes)
	rcv.awaitTypes("chat:goes", "channel.occupied", "channel.vacated")
	n.stop()
	n = run(t, bcfg, cfg)
	n.Occupied(goes)
	rcv.awaitTypes("chat:goes", "channel.occupied", "channel.vacated", "channel.occupied")
	n.Vacated(goes)
	rcv.awaitTypes("chat:goes", "channel.occupied", "channel.vacated", "channel.occupied", "channel.vacated")
	rcv.awaitTypes("chat:away", "channel.occupied") // it may come back yet
}

// A holder that dies between its decision and the event is followed by one that writes
// the event, once, before what has happened since.
func TestOccupancyIsDecidedOnce(t *testing.T) {
	rcv := receive(t, nil)
	bcfg := brokerConfig(t)
	cfg := quick(crowdHook(t, rcv.URL))
	c := patterns(t, "chat:room")[0]
	log := fullLog{tried: make(chan struct{}, 1)}
	n := run(t, bcfg, cfg, func(s *webhook.Services) {
		log.Log = s.Log
		s.Log = log
	})
	n.Occupied(c)
	select {
	case <-log.tried:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was decided")
	}
	n.stop()
	n = run(t, bcfg, cfg)
	rcv.awaitTypes("chat:room", "channel.occupied", "channel.vacated")
	n.stop()
	n = run(t, bcfg, cfg)
	n.Occupied(c)
	rcv.awaitTypes("chat:room", "channel.occupied", "channel.vacated", "channel.occupied")
}

// Many come at once: everyone is told of once.
func TestOccupancyOfManyChannels(t *testing.T) {
	rcv := receive(t, nil)
	bcfg := brokerConfig(t)
	cfg := quick(crowdHook(t, rcv.URL))
	cfg.Grace = 2 * time.Minute // far beyond what the test takes where the machine is slow
	n := run(t, bcfg, cfg)
	const many = 3000
	for i := range many {
		n.Occupied(patterns(t, fmt.Sprintf("chat:%d", i))[0])
	}
	if got := ids(rcv.await(many)); len(got) != many {
		t.Errorf("%d different events", len(got))
	}
	n.stop()
	n = run(t, bcfg, cfg)
	for i := range many {
		n.Occupied(patterns(t, fmt.Sprintf("chat:%d", i))[0])
	}
	n.Occupied(patterns(t, "chat:last")[0])
	rcv.awaitTypes("chat:last", "channel.occupied")
	if got := ids(rcv.events()); len(got) != many+1 {
		t.Errorf("%d different events", len(got))
	}
}

func TestSessionExpired(t *testing.T) {
	rcv := receive(t, nil)
	n := run(t, brokerConfig(t), quick(hook(t, "a", rcv.URL, webhook.SessionExpired)))
	created := time.Now()
	for range 2 { // told again, as after a failure
		if err := n.SessionExpired(t.Context(), "ann", "phone", created, patterns(t, "user:ann", "default:x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.SessionExpired(t.Context(), "ann", "phone", created, patterns(t, "default:x")); err != nil {
		t.Fatal(err) // of no concern to the webhook
	}
	if err := n.SessionExpired(t.Context(), "ann", "phone", created.Add(time.Hour), patterns(t, "user:ann")); err != nil {
		t.Fatal(err)
	}
	got := rcv.await(2)
	if e := got[0]; len(got) != 2 || e.User != "ann" || e.Session != "phone" || !slices.Equal(e.Channels, []string{"user:ann", "default:x"}) {
		t.Errorf("%+v", got)
	}
	if n.counter(t, "rivulet_webhook_events_written_total", "session.expired") != 2 {
		t.Error("the counter counts otherwise")
	}
}
