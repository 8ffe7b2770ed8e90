package broker_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rivulet-rt/rivulet/broker"
)

// replay gives the log what it held before a message was stored: the schedule, as if
// the node had died before it removed it.
func replay(t *testing.T, b *broker.Broker, msg *nats.Msg) {
	t.Helper()
	if _, err := b.JetStream().PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
}

func waitingAs(t *testing.T, b *broker.Broker, id string) *nats.Msg {
	t.Helper()
	s, err := b.JetStream().Stream(t.Context(), "RIVULET_SCHEDULES")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := s.GetLastMsgForSubject(t.Context(), "schedule."+id+".>")
	if err != nil {
		t.Fatal(err)
	}
	msg := &nats.Msg{Subject: raw.Subject, Data: raw.Data, Header: nats.Header{}}
	for k, v := range raw.Header {
		if !strings.HasPrefix(k, "Nats-") || k == jetstream.ExpectedLastSubjSeqHeader {
			msg.Header[k] = v
		}
	}
	return msg
}

// A message whose schedule is still there is stored once, whether its namespace
// remembers it or has long forgotten.
func TestScheduleExactlyOnce(t *testing.T) {
	for name, window := range map[string]time.Duration{"remembered": time.Minute, "forgotten": 100 * time.Millisecond} {
		for kind, key := range map[string]string{"with a key": "k", "without": ""} {
			t.Run(name+", "+kind, func(t *testing.T) {
				b := open(t, config(t, one(func(s *broker.NamespaceSpec) { s.DuplicateWindow = window })))
				p := later(t, "t:a", "once", 100*time.Millisecond)
				p.Key, p.Publisher = key, "p"
				msg := waitingAs(t, b, schedule(t, b, p))
				idle(t, b)
				publishMany(t, b, "t:a", 0, 300)
				if name == "forgotten" {
					eventually(t, "the window to be over", func() bool { return time.Since(time.Unix(0, p.DeliverAt)) > 3*window })
				}
				for range 3 {
					replay(t, b, msg)
					idle(t, b)
				}
				list := all(t, b, "t:a")
				n := 0
				for _, data := range list {
					if data == "once" {
						n++
					}
				}
				if n != 1 || len(list) != 301 {
					t.Errorf("stored %d times, %d messages", n, len(list))
				}
			})
		}
	}
}

// What is long overdue is stored between others that are published all the time.
func TestOverdueInABusyChannel(t *testing.T) {
	cfg := config(t, one(func(s *broker.NamespaceSpec) { s.DuplicateWindow = 100 * time.Millisecond }))
	b := open(t, cfg)
	for i := range 50 {
		schedule(t, b, later(t, "t:a", fmt.Sprint("late ", i), time.Duration(i)*time.Millisecond+400*time.Millisecond))
	}
	closeNow(t, b)
	closed := time.Now()
	eventually(t, "all to be overdue", func() bool { return time.Since(closed) > time.Second })
	b = open(t, cfg)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				publish(t, b, "t:a", "busy")
			}
		}
	}()
	idle(t, b)
	close(stop)
	<-done
	var late []string
	for _, data := range all(t, b, "t:a") {
		if strings.HasPrefix(data, "late ") {
			late = append(late, data)
		}
	}
	stored := len(late)
	slices.Sort(late)
	if late = slices.Compact(late); stored != 50 || len(late) != 50 {
		t.Errorf("stored %d messages, these: %v", stored, late)
	}
}

// Of the nodes on one NATS one stores what is due, and another takes over from it.
func TestScheduleTakeover(t *testing.T) {
	r := startRemote(t, remoteOptions(t, "one"))
	nodes := []*broker.Broker{open(t, config(t, connected(r))), open(t, config(t, connected(r))), open(t, config(t, connected(r)))}
	for i := range 30 {
		schedule(t, nodes[i%3], later(t, "t:a", fmt.Sprint(i), time.Duration(i)*100*time.Millisecond))
	}
	eventually(t, "some to be stored", func() bool { return len(all(t, nodes[2], "t:a")) > 5 })
	closeNow(t, nodes[0])
	eventually(t, "more to be stored", func() bool { return len(all(t, nodes[2], "t:a")) > 15 })
	closeNow(t, nodes[1])
	idle(t, nodes[2])
	if got := all(t, nodes[2], "t:a"); len(got) != 30 {
		t.Errorf("stored %v", got)
	}
}
