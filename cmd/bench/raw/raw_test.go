//go:build linux

package raw_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rivulet-rt/rivulet/cmd/bench/raw"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// frame is a text frame as a node sends it.
func frame(payload string) []byte {
	b := []byte{0x81, 126}
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	return append(b, payload...)
}

func message(offset, n int) string {
	return fmt.Sprintf(`{"message":{"channel":"a","offset":%d,"position":"p-%d","time":1,"data":{"n":%d,"sent":1700000000000000000,"x":1}}}`,
		offset, offset, raw.FirstN+n)
}

const handshake = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"

// server accepts one connection, and after whatever it is sent first writes the
// pieces, each when the one before was read.
func server(t *testing.T, pieces ...[]byte) netip.AddrPort {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		buf := make([]byte, 4096)
		if _, err := conn.Read(buf); err != nil {
			return
		}
		for _, p := range pieces {
			if _, err := conn.Write(p); err != nil {
				return
			}
		}
		for err == nil { // until the client has gone
			_, err = conn.Read(buf)
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return netip.MustParseAddrPort(l.Addr().String())
}

func newLoop(t *testing.T) *raw.Loop {
	t.Helper()
	l, err := raw.NewLoop()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// TestSubscriberChecks: what a load is for is noticed, however the bytes arrive.
func TestSubscriberChecks(t *testing.T) {
	for _, test := range []struct {
		name   string
		events []string
		done   func(*raw.Tally) bool
		want   string // in Faults; "" is none
	}{
		{"in order", []string{message(4, 1), message(9, 2), message(10, 3)}, func(t *raw.Tally) bool { return t.Received == 3 }, ""},
		{"lost", []string{message(4, 1), message(9, 4)}, func(t *raw.Tally) bool { return t.Received == 2 }, "2 messages lost"},
		{"twice", []string{message(4, 1), message(4, 1)}, func(t *raw.Tally) bool { return t.Duplicate == 1 }, "1 twice"},
		{"stored twice", []string{message(4, 1), message(5, 1)}, func(t *raw.Tally) bool { return t.Duplicate == 1 }, "1 twice"},
		{"out of order", []string{message(4, 1), message(6, 2), message(5, 1)}, func(t *raw.Tally) bool { return t.Disorder == 1 }, "1 out of order"},
		{"offsets out of order", []string{message(4, 1), message(3, 2)}, func(t *raw.Tally) bool { return t.Disorder == 1 }, "1 out of order"},
		{"history gone", []string{`{"id":1,"subscribed":{"channel":"a","position":"p","recovered":false}}`}, func(t *raw.Tally) bool { return t.Subscribed == 1 }, "1 histories gone"},
		{"gap", []string{`{"gap":{"channel":"a","position":"p","reason":"purged"}}`}, func(t *raw.Tally) bool { return t.Unrecovered == 1 }, "1 histories gone"},
		{"told of what is gone", []string{message(4, 1), `{"gap":{"channel":"a","position":"p","reason":"retention"}}`, message(9, 4)}, func(t *raw.Tally) bool { return t.Received == 2 && t.Gone == 2 && t.Lost == 0 }, "0 messages lost"},
		{"told once, lost later", []string{message(4, 1), `{"gap":{"channel":"a","position":"p","reason":"retention"}}`, message(9, 4), message(12, 6)}, func(t *raw.Tally) bool { return t.Received == 3 && t.Gone == 2 && t.Lost == 1 }, "1 messages lost"},
		{"refused", []string{`{"id":1,"error":{"code":4403,"message":"no"}}`}, func(t *raw.Tally) bool { return t.Failed == 1 }, "4403 not allowed by the token: no"},
		{"refused with a field", []string{`{"id":1,"error":{"code":4400,"message":"no","field":"channel"}}`}, func(t *raw.Tally) bool { return t.Failed == 1 }, "4400 bad request: no (channel)"},
		{"disconnected", []string{`{"disconnect":{"code":4001,"reason":"no sign of life from the client"}}`}, func(t *raw.Tally) bool { return t.Failed == 1 }, "4001 no sign of life from the client"},
	} {
		for _, pieces := range []string{"at once", "byte by byte"} {
			t.Run(test.name+"/"+pieces, func(t *testing.T) {
				all := []byte(handshake)
				for _, ev := range test.events {
					all = append(all, frame(ev)...)
				}
				list := [][]byte{all}
				if pieces == "byte by byte" {
					list = nil
					for i := range all {
						list = append(list, all[i:i+1])
					}
				}
				loop, tally := newLoop(t), &raw.Tally{Measure: true}
				s := raw.NewSubscriber(tally, "a")
				if err := s.Connect(loop, server(t, list...)); err != nil {
					t.Fatal(err)
				}
				if err := loop.Run(t.Context(), func() bool { return test.done(tally) }); err != nil {
					t.Fatal(err)
				}
				if err := tally.Faults(); test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
					t.Errorf("faults %v, want %q", err, test.want)
				}
				if len(tally.Latencies) != tally.Received {
					t.Errorf("%d latencies of %d messages", len(tally.Latencies), tally.Received)
				}
				loop.Close()
			})
		}
	}
}

// TestSubscriberKeepsItsPosition: it subscribes after the position that it was told last.
func TestSubscriberKeepsItsPosition(t *testing.T) {
	loop, tally := newLoop(t), &raw.Tally{}
	s := raw.NewSubscriber(tally, "a")
	s.Keep = true
	subscribed := `{"id":1,"subscribed":{"channel":"a","position":"p-3","recovered":true}}`
	to := server(t, []byte(handshake), frame(subscribed), frame(message(4, 1)))
	if err := s.Connect(loop, to); err != nil {
		t.Fatal(err)
	}
	if err := loop.Run(t.Context(), func() bool { return tally.Received == 1 }); err != nil {
		t.Fatal(err)
	}
	if s.Position != "p-4" || tally.Subscribed != 1 {
		t.Errorf("position %q after %d subscriptions, want p-4 after 1", s.Position, tally.Subscribed)
	}
	loop.Close()
}

func TestRunEndsWithItsContext(t *testing.T) {
	loop := newLoop(t)
	fired := 0
	if err := loop.At(time.Now().Add(time.Millisecond), func() { fired++ }); err != nil {
		t.Fatal(err)
	}
	if err := loop.Run(t.Context(), func() bool { return fired == 1 }); err != nil {
		t.Fatal(err)
	}
	s := raw.NewSubscriber(&raw.Tally{}, "a")
	if err := s.Connect(loop, netip.MustParseAddrPort("[::1]:80")); err == nil {
		t.Error("connected over IPv6, which the loop does not know")
	}
}

// TestSubscriberIsRefused: a handshake that fails, and a close frame, say why.
func TestSubscriberIsRefused(t *testing.T) {
	const refused = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 39\r\n\r\n" + `{"code":503,"message":"full","data":{}}`
	for _, test := range []struct{ name, answer, want string }{
		{"handshake", refused, "raw: handshake: status 503 Service Unavailable: full"},
		{"handshake of another", "HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\n<p>\n\n  <p>", "status 404 Not Found: <p> <p>"},
		{"no length", "HTTP/1.1 502 Bad Gateway\r\n\r\n<html>", `"HTTP/1.1 502 Bad Gateway"`},
		{"close", handshake + "\x88\x06\x0f\xa0away", "raw: closed: 4000 node is shutting down: away"},
		{"close without a code", handshake + "\x88\x00", "1005 closed without a code"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got error
			tally := &raw.Tally{OnFailed: func(_ *raw.Subscriber, err error) { got = err }}
			loop := newLoop(t)
			half := len(test.answer) / 2
			s := raw.NewSubscriber(tally, "a")
			if err := s.Connect(loop, server(t, []byte(test.answer[:half]), []byte(test.answer[half:]))); err != nil {
				t.Fatal(err)
			}
			if err := loop.Run(t.Context(), func() bool { return got != nil }); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(got.Error(), test.want) {
				t.Errorf("error %v, want %q", got, test.want)
			}
			loop.Close()
		})
	}
}

func TestPublisher(t *testing.T) {
	for _, test := range []struct{ name, answer, want string }{
		{"stored", "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}", ""},
		{"refused", "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno", "status 503 Service Unavailable: no"},
		{"refused by a node", "HTTP/1.1 400 Bad Request\r\nContent-Length: 63\r\n\r\n" + `{"code":400,"message":"channel: no","data":{"field":"channel"}}` + "\n", "status 400 Bad Request: channel: no"},

		{"no HTTP", "SSH-2.0-x\r\n\r\n", "SSH-2.0-x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			loop := newLoop(t)
			p, err := raw.NewPublisher(loop, server(t, []byte(test.answer)))
			if err != nil {
				t.Fatal(err)
			}
			data := append(make([]byte, raw.StampSize), `"x":1}`...)
			req := raw.NewRequest("load:a", data)
			req.Stamp(7, time.Now().UnixNano())
			answered := false
			p.Publish(req, func(got error) { answered, err = true, got })
			if err := loop.Run(t.Context(), func() bool { return answered }); err != nil {
				t.Fatal(err)
			}
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			loop.Close()
		})
	}
}

// TestStamp: what is stamped is found again, and never changes in size.
func TestStamp(t *testing.T) {
	for _, n := range []uint64{0, 1, 999_999_999} {
		data := []byte(strings.Repeat("x", raw.StampSize) + "rest")
		raw.Stamp(data, n, 1_800_000_000_123_456_789)
		m, ok := raw.ParseMessage([]byte(`{"message":{"offset":5,"data":` + string(data)))
		if want := (raw.Message{Offset: 5, N: raw.FirstN + n, Sent: 1_800_000_000_123_456_789}); !ok || m != want {
			t.Errorf("%d: found %+v, want %+v", n, m, want)
		}
		if !bytes.HasSuffix(data, []byte(",rest")) {
			t.Errorf("%d: stamped %q", n, data)
		}
	}
}

func FuzzParseFrame(f *testing.F) {
	f.Add(frame(message(1, 1)))
	f.Add(frame("x")[:3])
	f.Add([]byte{0x81, 127, 0, 0, 0, 0, 0, 0, 0, 1, 'x'})
	f.Add([]byte{0x81, 127, 255, 255, 255, 255, 255, 255, 255, 255})
	f.Add(raw.AppendMasked(nil, 1, []byte("masked")))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, payload, size, err := raw.ParseFrame(b)
		if err != nil && size != 0 || size > len(b) || len(payload) > size {
			t.Errorf("size %d and %d bytes of payload of %d bytes, error %v", size, len(payload), len(b), err)
		}
	})
}

func FuzzParseMessage(f *testing.F) {
	f.Add([]byte(message(1, 1)))
	f.Add([]byte(`{"message":{"offset":,"data":{"n":`))
	f.Add([]byte(`"offset":99999999999999999999"data":{"n":1,"sent":`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, ok := raw.ParseMessage(b); ok && m.Offset == 0 {
			t.Errorf("a message at offset 0: %+v", m)
		}
		if p := raw.Position(b); !bytes.Contains(b, []byte(p)) {
			t.Errorf("position %q, which is not there", p)
		}
	})
}

func FuzzParseAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1"))
	f.Add([]byte("HTTP/1.1 \r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200\r\nContent-Length: 99999999999999999999\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, body, size, err := raw.ParseAnswer(b)
		if err != nil && size != 0 || size > len(b) || len(body) > size {
			t.Errorf("size %d and %d bytes of body of %d bytes, error %v", size, len(body), len(b), err)
		}
	})
}

// TestPeer: a connection comes from its address, and says who it is.
func TestPeer(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	heads, from := make(chan string, 2), make(chan string, 2)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for range 2 {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 4096)
			n, _ := conn.Read(buf)
			heads <- string(buf[:n])
			from <- conn.RemoteAddr().String()
			conn.Close()
		}
	})
	loop := newLoop(t)
	peer := raw.Peer{To: netip.MustParseAddrPort(l.Addr().String()), From: netip.MustParseAddr("127.0.0.9"), Host: "h:1", Token: "secret"}
	failed := false
	s := raw.NewSubscriber(&raw.Tally{OnFailed: func(*raw.Subscriber, error) { failed = true }}, "a")
	if err := s.ConnectPeer(loop, peer); err != nil {
		t.Fatal(err)
	}
	p, err := raw.NewPeerPublisher(loop, peer)
	if err != nil {
		t.Fatal(err)
	}
	p.Publish(raw.NewPeerRequest(peer, "a", make([]byte, raw.StampSize)), func(got error) { err = got })
	if runErr := loop.Run(t.Context(), func() bool { return failed && err != nil }); runErr != nil {
		t.Fatal(runErr)
	}
	if !p.Ended() {
		t.Error("the publisher does not know that its connection is gone")
	}
	for range 2 {
		if head := <-heads; !strings.Contains(head, "\r\nHost: h:1\r\n") || !strings.Contains(head, "\r\nAuthorization: Bearer secret\r\n") {
			t.Errorf("sent %q", head)
		}
		if address := <-from; !strings.HasPrefix(address, "127.0.0.9:") {
			t.Errorf("came from %s", address)
		}
	}
	loop.Close()
}
