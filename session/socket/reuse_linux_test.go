package socket_test

import (
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rivulet-rt/rivulet/session/socket"
)

// onePoller makes the groups of the test have one epoll set.
func onePoller(t *testing.T) {
	t.Helper()
	before := runtime.GOMAXPROCS(1)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
}

// TestEventOfAReleasedSocket: an event that was fetched, and not yet looked at, when
// its socket was released is not taken for one of the socket that got its descriptor.
func TestEventOfAReleasedSocket(t *testing.T) {
	onePoller(t)
	g := group(t)
	late := time.After(far)
	inside, proceed := make(chan struct{}), make(chan struct{})
	pause := func(h *handler) {
		h.receive = func([]byte) bool { inside <- struct{}{}; <-proceed; return false }
	}
	gateClient, gateServer := tcp(t)
	gate := attach(t, g, gateServer, pause)
	firstClient, firstServer := tcp(t)
	first := attach(t, g, firstServer, pause)
	oldClient, oldServer := tcp(t)
	old := &lateHandler{ended: make(chan error, 1)}
	old.driver = g.Attach(oldServer, old)
	old.driver.Begin()
	const later = 8 // so many that one of them gets its descriptor
	var clients, servers [later]net.Conn
	for i := range later {
		clients[i], servers[i] = tcp(t)
	}

	send(t, gateClient, "wait") // the poller waits here, while two sockets become ready
	wait(t, inside, late)
	send(t, firstClient, "wait")
	acknowledged(t, firstClient)
	_ = oldClient.Close()
	// Its end is there before the poller looks again.
	eventually(t, "the end has come", func() bool { return hasEnded(socket.DescriptorOf(old.driver)) })
	proceed <- struct{}{}
	wait(t, inside, late) // both were fetched; this is the first
	descriptor := socket.DescriptorOf(old.driver)
	old.driver.Release()
	var handlers [later]*handler
	same := -1
	for i := range later {
		handlers[i] = attach(t, g, servers[i], nil)
		if socket.DescriptorOf(handlers[i].driver) == descriptor {
			same = i
		}
	}
	if same < 0 {
		t.Fatal("nobody got the descriptor; the test shows nothing")
	}
	proceed <- struct{}{}
	for i := range later {
		send(t, clients[i], "hello") // comes after the stale event
		handlers[i].waitFor("hello")
		if behind, _ := socket.Behind(handlers[i].driver); behind {
			t.Errorf("socket %d of %d, with %d the descriptor's, was taken for one that has ended", i, later, same)
		}
		_ = clients[i].Close()
		_ = handlers[i].end()
	}
	for _, h := range []*handler{gate, first} {
		_ = h.driver.Close()
		_ = h.end()
	}
}

// hasEnded reports whether the peer's end has come to a descriptor.
func hasEnded(fd int) bool {
	polled := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(polled, 0)
	return n == 1 && err == nil
}

// acknowledged waits until all that was sent is in the peer's kernel.
func acknowledged(t *testing.T, conn net.Conn) {
	t.Helper()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "all is acknowledged", func() bool {
		left := -1
		if err := raw.Control(func(fd uintptr) { left, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); err != nil {
			t.Fatal(err)
		}
		return left == 0
	})
}

// TestUrgentByte: what follows a byte that is marked urgent, at which a read ends, is
// received all the same.
func TestUrgentByte(t *testing.T) {
	for _, late := range []bool{false, true} { // before Begin, and after it
		client, server := tcp(t)
		talk := func() {
			send(t, client, "aaa")
			raw, err := client.(*net.TCPConn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			if err := raw.Control(func(fd uintptr) {
				if err := unix.Sendto(int(fd), []byte("!"), unix.MSG_OOB, nil); err != nil {
					t.Error(err)
				}
			}); err != nil {
				t.Fatal(err)
			}
			send(t, client, "bbb")
			acknowledged(t, client)
		}
		if !late {
			talk()
		}
		h := attach(t, group(t), server, nil)
		if late {
			talk()
		}
		h.waitFor("aaabbb")
		_ = client.Close()
		_ = h.end()
	}
}

// TestOneSocketDoesNotStarveOthers: one on which there is always something to read has
// its poller for a few reads, and then a goroutine of its own.
func TestOneSocketDoesNotStarveOthers(t *testing.T) {
	onePoller(t)
	g := group(t)
	const size, turn = 112 << 10, 4 // bytes that are there at once, and reads on the poller
	client, server := tcp(t)
	if err := server.(*net.TCPConn).SetReadBuffer(size * 2); err != nil {
		t.Fatal(err)
	}
	send(t, client, string(make([]byte, size)))
	acknowledged(t, client)
	other, otherServer := tcp(t)
	quiet := attach(t, g, otherServer, nil)
	reads, proceed := 0, make(chan struct{})
	goOn := sync.OnceFunc(func() { close(proceed) })
	t.Cleanup(goOn)
	reached := make(chan struct{})
	h := attach(t, g, server, func(h *handler) {
		h.receive = func([]byte) bool {
			if reads++; reads == turn+1 {
				close(reached)
				<-proceed // it never ends, as far as the others can tell
			}
			return false
		}
	})
	wait(t, reached, time.After(far))
	send(t, other, "hello")
	quiet.waitFor("hello")
	goOn()
	_, _ = client.Close(), other.Close()
	_ = h.end()
	_ = quiet.end()
}
