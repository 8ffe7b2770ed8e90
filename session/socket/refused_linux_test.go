package socket_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rivulet-rt/rivulet/session/socket"
)

// loggingGroup is a group and what it has logged, to be read once nothing runs.
func loggingGroup(t *testing.T) (*socket.Group, *bytes.Buffer) {
	t.Helper()
	var wg sync.WaitGroup
	log := new(bytes.Buffer)
	g := socket.NewGroup(wg.Go, slog.New(slog.NewTextHandler(log, nil)))
	t.Cleanup(func() {
		g.Close()
		wg.Wait()
	})
	return g, log
}

// TestNoDescriptorForEpoll: a connection that comes while no descriptor is left has a
// goroutine, and one that comes later has an epoll set; the log says so once.
func TestNoDescriptorForEpoll(t *testing.T) {
	g, log := loggingGroup(t)
	for range 2 {
		client, server := tcp(t)
		restore := noDescriptors(t)
		h := attach(t, g, server, nil)
		restore()
		if _, direct := socket.Behind(h.driver); direct {
			t.Error("there was a descriptor; the test shows nothing")
		}
		send(t, client, "hello")
		h.waitFor("hello")
		_ = client.Close()
		if err := h.end(); !errors.Is(err, io.EOF) {
			t.Errorf("ended with %v, want EOF", err)
		}
	}
	client, server := tcp(t)
	h := attach(t, g, server, nil)
	if _, direct := socket.Behind(h.driver); !direct {
		t.Error("there are descriptors again, and epoll is not used")
	}
	_ = client.Close()
	_ = h.end()
	if n := strings.Count(log.String(), "no epoll set"); n != 1 {
		t.Errorf("logged %d times, want once:\n%s", n, log)
	}
}

// noDescriptors lets this process open nothing until restore is called.
func noDescriptors(t *testing.T) (restore func()) {
	t.Helper()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	none := before
	none.Cur = 1
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	restore = func() { _ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before) }
	t.Cleanup(restore)
	return restore
}

// TestNotWatched: a connection that the kernel refuses to watch ends, once, and the log
// says why once.
func TestNotWatched(t *testing.T) {
	g, log := loggingGroup(t)
	ended := make(chan error, 4)
	var handlers []*lateHandler
	for range 2 {
		_, server := tcp(t)
		h := &lateHandler{ended: ended}
		h.driver = g.Attach(server, h)
		handlers = append(handlers, h)
	}
	for _, h := range handlers {
		// The kernel refuses to watch a file, as it refuses what is one too many.
		if err := unix.Dup3(unwatchable(t), socket.DescriptorOf(h.driver), unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		h.driver.Begin()
		if err := wait(t, ended, time.After(far)); !errors.Is(err, unix.EPERM) {
			t.Errorf("ended with %v, want EPERM", err)
		}
		h.driver.Release()
	}
	if n := strings.Count(log.String(), "refused to watch"); n != 1 || len(ended) > 0 {
		t.Errorf("logged %d times, and Ended came %d times more than once:\n%s", n, len(ended), log)
	}
}

func unwatchable(t *testing.T) int {
	t.Helper()
	fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}
