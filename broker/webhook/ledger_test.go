package webhook_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rivulet-rt/rivulet/broker/webhook"
)

func jetStream(tb testing.TB, url string) jetstream.JetStream {
	tb.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		tb.Fatal(err)
	}
	return js
}

// However many come and go, with however much to say of them, the ledger remembers who
// was there before.
func TestLedgerKeepsWhoStays(t *testing.T) {
	rcv := receive(t, nil)
	bcfg := shared(t)("a")
	var ledger webhook.Ledger
	run(t, bcfg, quick(crowdHook(t, rcv.URL)), func(s *webhook.Services) { ledger = s.Ledger })
	const partition = 7
	record := func(facts ...*webhook.Fact) {
		t.Helper()
		if err := ledger.Record(t.Context(), partition, facts); err != nil {
			t.Fatal(err)
		}
	}
	info := []byte(`{"user":"u","info":"` + strings.Repeat("<", 1000) + `"}`)
	record(&webhook.Fact{Channel: "chat:old", Present: true, Time: 1}, &webhook.Fact{Channel: "chat:old", Member: "uann", Present: true, Time: 1, Who: info})
	for round := range 40 {
		var gone []*webhook.Fact
		for i := range 256 {
			gone = append(gone, &webhook.Fact{Channel: "chat:room", Member: fmt.Sprintf("uuser-%d-%d", round, i), Time: 1, Who: info})
		}
		record(gone...)
	}
	facts, _, err := ledger.Recall(t.Context(), partition)
	if err != nil || len(facts) != 2+40*256 {
		t.Fatalf("%d facts, %v", len(facts), err)
	}
	if facts[0].Channel != "chat:old" || !facts[0].Present || string(facts[1].Who) != string(info) || facts[2].Who != nil {
		t.Errorf("begins with %+v", facts[:3])
	}
	if used, err := ledger.Used(t.Context()); err != nil || used == 0 || used > 0.2 {
		t.Errorf("%.2f of the ledger is used, %v", used, err)
	}
	stream, err := jetStream(t, bcfg.NATSURL).Stream(t.Context(), "RIVULET_OCCUPANCY")
	if err != nil {
		t.Fatal(err)
	}
	for revision, want := range map[uint64]string{facts[0].Revision: "", facts[2].Revision: "5m0s"} {
		if m, err := stream.GetMsg(t.Context(), revision); err != nil || m.Header.Get(jetstream.MsgTTLHeader) != want {
			t.Errorf("record %d lives %v, %v", revision, m.Header, err)
		}
	}
}

// What was told is not told again after a restart, also where the log has discarded it.
func TestRestartTellsNothingAgain(t *testing.T) {
	rcv := receive(t, nil)
	bcfg := shared(t)("a")
	cfg := quick(crowdHook(t, rcv.URL))
	cfg.Grace = time.Minute
	n := run(t, bcfg, cfg)
	for i := range 50 {
		n.Occupied(patterns(t, fmt.Sprintf("chat:%d", i))[0])
	}
	told := len(ids(rcv.await(50)))
	eventually(t, 10*time.Second, func() (bool, string) {
		list, err := n.Status(t.Context())
		return err == nil && list[0].Lag == 0, fmt.Sprintf("%+v, %v", list, err)
	})
	n.stop()
	js := jetStream(t, bcfg.NATSURL)
	for p := range webhook.Partitions {
		s, err := js.Stream(t.Context(), fmt.Sprintf("RIVULET_EVENTS_%d", p))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Purge(t.Context()); err != nil { // as events.max_age does
			t.Fatal(err)
		}
	}
	before := len(rcv.events())
	n = run(t, bcfg, cfg)
	for p := range 16 { // all partitions
		n.Occupied(patterns(t, fmt.Sprintf("chat:new-%d", p))[0])
	}
	all := rcv.await(told + 16)
	if again := slices.DeleteFunc(all[before:], func(e webhook.Event) bool { return strings.HasPrefix(e.Channel, "chat:new-") }); len(again) > 0 {
		t.Errorf("%d events are told again", len(again))
	}
}
