package test_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/cmd"
	"github.com/rivulet-rt/rivulet/protocol"
)

// Durable sessions as they are on the wire.

// stores are the ways to keep durable sessions.
func stores() []string { return []string{"consumer", "kv"} }

func durableConfig(t *testing.T, store string) cmd.Config {
	t.Helper()
	cfg := localConfig(t, func(n *cmd.NamespaceConfig) { n.SessionStore = store })
	cfg.Session.FlushInterval = cmd.Duration(50 * time.Millisecond)
	return cfg
}

// resume connects with a durable session.
func (s *site) resume(session string, known bool) *socket {
	s.t.Helper()
	k := s.socket()
	k.send(protocol.Command{Connect: &protocol.ConnectCommand{Session: session}})
	ev := k.reply()
	if ev.Connected == nil || ev.Connected.Session != session || ev.Connected.Resumed != known {
		s.t.Fatalf("connect with the session %s: %s, want resumed %v", session, shown(ev), known)
	}
	return k
}

func (k *socket) durable(channel string) *protocol.SubscribedEvent {
	k.t.Helper()
	s := k.subscribe(protocol.SubscribeCommand{Channel: channel, Durable: true})
	if !s.Durable {
		k.t.Fatalf("subscribed to %s, not durable", channel)
	}
	return s
}

// messages reads the next messages, which must be the numbers from first to last.
func (k *socket) messages(first, last int) (list []*protocol.MessageEvent) {
	k.t.Helper()
	for n := first; n <= last; {
		ev := k.next()
		if ev.CaughtUp != nil {
			continue
		}
		if ev.Message == nil || string(ev.Message.Data) != fmt.Sprint(n) {
			k.t.Fatalf("got %s, want message %d", shown(ev), n)
		}
		list = append(list, ev.Message)
		n++
	}
	return list
}

func (k *socket) acks(a protocol.AckCommand) protocol.Event {
	k.t.Helper()
	id := k.send(protocol.Command{Ack: &a})
	for {
		if ev := k.next(); ev.ID == id {
			return ev
		}
	}
}

func (k *socket) acked(m *protocol.MessageEvent) {
	k.t.Helper()
	if ev := k.acks(protocol.AckCommand{Channel: m.Channel, Position: m.Position}); ev.Acked == nil || ev.Acked.Offset != m.Offset {
		k.t.Fatalf("acknowledge %d: %s", m.Offset, shown(ev))
	}
}

// wantClosed reads up to the disconnect, which must have the code.
func (k *socket) wantClosed(code protocol.Code) {
	k.t.Helper()
	for {
		if ev := k.next(); ev.Disconnect != nil {
			if ev.Disconnect.Code != code {
				k.t.Fatalf("disconnected: %s, want %d", shown(ev), code)
			}
			return
		}
	}
}

func TestDurableSessionGoesOn(t *testing.T) {
	for _, store := range stores() {
		t.Run(store, func(t *testing.T) {
			cfg := durableConfig(t, store)
			n := startLocal(t, cfg)
			k := n.resume("phone-1", false)
			if s := k.durable("t:a"); s.Resumed || !s.Recovered {
				t.Errorf("at first: %+v", s)
			}
			n.publishAll("t:a", 1, 10)
			list := k.messages(1, 10)
			k.acked(list[2])
			k.acked(list[5])
			if ev := k.acks(protocol.AckCommand{Channel: "t:a", Offset: list[3].Offset}); ev.Acked == nil || ev.Acked.Offset != list[5].Offset {
				t.Errorf("an earlier acknowledgement: %s", shown(ev))
			}
			if ev := k.acks(protocol.AckCommand{Channel: "t:a", Offset: list[6].Offset}); ev.Acked == nil || ev.Acked.Position != list[6].Position {
				t.Errorf("an acknowledgement by offset: %s", shown(ev))
			}
			k.close()
			n.publishAll("t:a", 11, 12)

			k = n.resume("phone-1", true)
			if s := k.durable("t:a"); !s.Resumed || !s.Recovered || s.Position != list[6].Position {
				t.Errorf("resumed: %+v, want %s", s, list[6].Position)
			}
			list = k.messages(8, 12)
			k.acked(list[4])
			k.close() // else the stop waits for its good-bye
			n.stop()

			cfg.Server.Listen = "127.0.0.1:0"
			n = startLocal(t, cfg)
			n.publish("t:a", 13)
			k = n.resume("phone-1", true)
			k.durable("t:a")
			k.messages(13, 13)
			k.send(protocol.Command{Unsubscribe: &protocol.UnsubscribeCommand{Channel: "t:a"}})
			for ev := k.next(); ev.Unsubscribed == nil; ev = k.next() {
				if ev.CaughtUp == nil {
					t.Fatalf("unsubscribe: %s", shown(ev))
				}
			}
			k.close()
			n.publish("t:a", 14)
			k = n.resume("phone-1", true)
			if s := k.durable("t:a"); s.Resumed {
				t.Errorf("after unsubscribe: %+v", s)
			}
			n.publish("t:a", 15)
			k.messages(15, 15)
		})
	}
}

// A subscription that is new to the session begins where the client says, and what it
// says is kept, too.
func TestDurableSessionStarts(t *testing.T) {
	for _, store := range stores() {
		t.Run(store, func(t *testing.T) {
			n := startLocal(t, durableConfig(t, store))
			at := n.publishAll("t:a", 1, 10)
			for name, c := range map[string]struct {
				start protocol.SubscribeCommand
				first int
			}{
				"last":     {protocol.SubscribeCommand{Last: 3}, 8},
				"position": {protocol.SubscribeCommand{Position: at[4]}, 5},
				"since":    {protocol.SubscribeCommand{Since: 1}, 1},
			} {
				k := n.resume(name, false)
				c.start.Channel, c.start.Durable = "t:a", true
				if s := k.subscribe(c.start); s.Resumed || !s.Recovered {
					t.Errorf("%s: %+v", name, s)
				}
				k.messages(c.first, 10)
				k.close()
				k = n.resume(name, true) // nothing was acknowledged
				c.start.Last, c.start.Position, c.start.Since = 0, "", 0
				if s := k.subscribe(c.start); !s.Resumed {
					t.Errorf("%s, again: %+v", name, s)
				}
				k.messages(c.first, 10)
				k.close()
			}
		})
	}
}

func TestDurableSessionIsTakenOver(t *testing.T) {
	for _, store := range stores() {
		t.Run(store, func(t *testing.T) {
			for _, nodes := range []int{1, 2} {
				t.Run(fmt.Sprint(nodes, " nodes"), func(t *testing.T) {
					cfg := durableConfig(t, store)
					if nodes == 2 {
						log := startLog(t)
						cfg.Broker = remoteConfig(t, log.url()).Broker
					}
					cfg.Session.FlushInterval = cmd.Duration(time.Minute) // what is written is so at the takeover
					a := startLocal(t, cfg)
					b := a
					if nodes == 2 {
						b = startLocal(t, cfg)
					}
					old := a.resume("phone-1", false)
					old.durable("t:a")
					a.publishAll("t:a", 1, 5)
					old.acked(old.messages(1, 5)[2])
					k := b.resume("phone-1", true)
					old.wantClosed(protocol.CloseSuperseded)
					k.durable("t:a")
					k.acked(k.messages(4, 5)[1])
					again := a.resume("phone-1", true)
					k.wantClosed(protocol.CloseSuperseded)
					again.durable("t:a")
					a.publish("t:a", 6)
					again.messages(6, 6)
				})
			}
		})
	}
}

// What can no longer be given is said to be gone, until the client has acknowledged that.
func TestDurableSessionLosesHistory(t *testing.T) {
	for _, store := range stores() {
		t.Run(store, func(t *testing.T) {
			cfg := durableConfig(t, store)
			n := startLocal(t, cfg)
			k := n.resume("phone-1", false)
			k.durable("t:a")
			n.publishAll("t:a", 1, 5)
			k.acked(k.messages(1, 5)[2])
			k.close()
			n.purge("t:a")
			n.publish("t:a", 6)
			for range 2 {
				k = n.resume("phone-1", true)
				s := k.durable("t:a")
				if s.Recovered || s.Reason != protocol.ReasonPurged || !s.Resumed {
					t.Fatalf("after a purge: %+v", s)
				}
				k.close()
			}
			k = n.resume("phone-1", true)
			k.durable("t:a")
			for ev := k.next(); ev.Message == nil; ev = k.next() {
				if ev.CaughtUp != nil {
					t.Fatalf("nothing came: %s", shown(ev))
				}
				if ev.Gap != nil {
					continue
				}
			}
			if ev := k.acks(protocol.AckCommand{Channel: "t:a", Position: n.publish("t:b", 1)}); ev.Error == nil || ev.Error.Field != "position" {
				t.Errorf("an acknowledgement of what was not delivered: %s", shown(ev))
			}
		})
	}
}

func TestDurableSessionBadInput(t *testing.T) {
	cfg := durableConfig(t, "kv")
	cfg.Namespaces["off"] = cmd.NamespaceConfig{Partitions: 1, MaxBytes: 64 << 20, SessionStore: "off"}
	cfg.Namespaces["small"] = cmd.NamespaceConfig{Partitions: 1, MaxBytes: 64 << 20, SessionStore: "kv", MaxSessions: 1, MaxSessionChannels: 1}
	n := startLocal(t, cfg)
	for name, c := range map[string]struct{ session, field string }{
		"no such character": {"a b", "session"},
		"too long":          {string(make([]byte, 65)), "session"},
		"not ASCII":         {"é", "session"},
	} {
		t.Run(name, func(t *testing.T) {
			k := n.socket()
			k.send(protocol.Command{Connect: &protocol.ConnectCommand{Session: c.session}})
			if ev := k.reply(); ev.Error == nil || ev.Error.Code != protocol.ErrorBadRequest || ev.Error.Field != c.field {
				t.Errorf("got %s", shown(ev))
			}
		})
	}
	at := n.publishAll("t:a", 1, 3)
	other := n.publish("t:b", 1)
	k := n.resume("phone-1", false)
	k.durable("t:a")
	plain := n.socket()
	plain.subscribe(protocol.SubscribeCommand{Channel: "t:a"})
	taken := n.resume("small", false)
	taken.durable("small:a")
	empty := n.resume("empty", false)
	sub := func(s protocol.SubscribeCommand) protocol.Command {
		s.Durable = true
		return protocol.Command{Subscribe: &s}
	}
	ack := func(a protocol.AckCommand) protocol.Command { return protocol.Command{Ack: &a} }
	for _, c := range []struct {
		name  string
		on    *socket
		cmd   protocol.Command
		code  protocol.Code
		field string
	}{
		{"durable without a session", plain, sub(protocol.SubscribeCommand{Channel: "t:x"}), protocol.ErrorBadRequest, "durable"},
		{"a pattern", k, sub(protocol.SubscribeCommand{Channel: "t:>"}), protocol.ErrorBadRequest, "durable"},
		{"twice", k, sub(protocol.SubscribeCommand{Channel: "t:a"}), protocol.ErrorConflict, "channel"},
		{"two starts", k, sub(protocol.SubscribeCommand{Channel: "t:x", Last: 1, Since: 1}), protocol.ErrorBadRequest, "position"},
		{"off", k, sub(protocol.SubscribeCommand{Channel: "off:a"}), protocol.ErrorNotSupported, "durable"},
		{"too many sessions", empty, sub(protocol.SubscribeCommand{Channel: "small:a"}), protocol.ErrorTooManyRequests, "session"},
		{"too many channels", taken, sub(protocol.SubscribeCommand{Channel: "small:b"}), protocol.ErrorForbidden, "channel"},
		{"a second session", k, protocol.Command{Connect: &protocol.ConnectCommand{Session: "x"}}, protocol.ErrorConflict, ""},
		{"ack of nothing", k, ack(protocol.AckCommand{Channel: "t:a"}), protocol.ErrorBadRequest, "position"},
		{"ack of two things", k, ack(protocol.AckCommand{Channel: "t:a", Offset: 1, Position: at[1]}), protocol.ErrorBadRequest, "position"},
		{"ack by token", k, ack(protocol.AckCommand{Channel: "t:a", Token: "x"}), protocol.ErrorNotFound, "channel"},
		{"ack of no position", k, ack(protocol.AckCommand{Channel: "t:a", Position: "x"}), protocol.ErrorBadRequest, "position"},
		{"ack beyond the delivered", k, ack(protocol.AckCommand{Channel: "t:a", Position: other[:9] + "zzzzz" + other[len(other)-11:]}), protocol.ErrorBadRequest, "position"},
		{"ack of another stream", k, ack(protocol.AckCommand{Channel: "t:a", Position: "00000000-1-1"}), protocol.ErrorBadRequest, "position"},
		{"ack of an offset of another channel", k, ack(protocol.AckCommand{Channel: "t:a", Offset: 4}), protocol.ErrorBadRequest, "offset"},
		{"ack of an offset that is not stored", k, ack(protocol.AckCommand{Channel: "t:a", Offset: 99}), protocol.ErrorBadRequest, "offset"},
		{"ack of a pattern", k, ack(protocol.AckCommand{Channel: "t:>", Offset: 1}), protocol.ErrorBadRequest, "channel"},
		{"ack without a subscription", k, ack(protocol.AckCommand{Channel: "t:none", Offset: 1}), protocol.ErrorNotFound, "channel"},
		{"ack without a session", plain, ack(protocol.AckCommand{Channel: "t:a", Offset: 1}), protocol.ErrorBadRequest, "channel"},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := c.on.send(c.cmd)
			ev := c.on.next()
			for ev.CaughtUp != nil {
				ev = c.on.next()
			}
			if ev.ID != id || ev.Error == nil || ev.Error.Code != c.code || ev.Error.Field != c.field {
				t.Errorf("got %s, want %d on %q", shown(ev), c.code, c.field)
			}
		})
	}
	// A subscription that is not durable acknowledges nothing.
	k.subscribe(protocol.SubscribeCommand{Channel: "t:b"})
	if ev := k.acks(protocol.AckCommand{Channel: "t:b", Position: other}); ev.Error == nil || ev.Error.Code != protocol.ErrorNotFound {
		t.Errorf("an acknowledgement of what is not durable: %s", shown(ev))
	}
	if r := n.call(http.MethodGet, "/healthz", nil, nil); r.status != http.StatusOK {
		t.Errorf("after all of it: %d", r.status)
	}
}

// What was acknowledged is written when a node stops, and when the log is back that was
// away: nothing of it comes again.
func TestDurableSessionIsWritten(t *testing.T) {
	for _, store := range stores() {
		t.Run(store+" at a stop", func(t *testing.T) {
			cfg := durableConfig(t, store)
			cfg.Session.FlushInterval = cmd.Duration(time.Minute)
			n := startLocal(t, cfg)
			k := n.resume("phone-1", false)
			k.durable("t:a")
			n.publishAll("t:a", 1, 5)
			k.acked(k.messages(1, 5)[3])
			left := make(chan struct{})
			go func() { // answers the good-bye
				defer close(left)
				for {
					if _, _, err := k.ReadMessage(); err != nil {
						k.close()
						return
					}
				}
			}()
			n.stop()
			<-left
			n = startLocal(t, cfg)
			k = n.resume("phone-1", true)
			k.durable("t:a")
			k.messages(5, 5)
		})
		t.Run(store+" after an outage", func(t *testing.T) {
			log := startLog(t)
			cfg := durableConfig(t, store)
			cfg.Broker = remoteConfig(t, log.url()).Broker
			n := startLocal(t, cfg)
			k := n.resume("phone-1", false)
			k.durable("t:a")
			n.publishAll("t:a", 1, 5)
			list := k.messages(1, 5)
			log.stop()
			k.acked(list[3]) // needs no log
			eventually(t, "a connect to be refused", func() bool {
				o := n.socket()
				defer o.close()
				o.send(protocol.Command{Connect: &protocol.ConnectCommand{Session: "phone-2"}})
				ev := o.reply()
				return ev.Error != nil && ev.Error.Code == protocol.ErrorUnavailable
			})
			log.start()
			n.ready()
			k.close()
			eventually(t, "the position to be written", func() bool {
				var s struct{ Channels []struct{ Offset uint64 } }
				r := n.call(http.MethodGet, "/v1/users/-/sessions/phone-1", nil, nil)
				if r.status != http.StatusOK {
					return false
				}
				r.into(t, &s)
				return len(s.Channels) == 1 && s.Channels[0].Offset == list[3].Offset
			})
			k = n.resume("phone-1", true)
			k.durable("t:a")
			k.messages(5, 5)
		})
	}
}
