package broker_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
)

// inMountNamespace marks the child process, which may mount.
const inMountNamespace = "RIVULET_TEST_TMPFS"

// TestDiskFull runs in a process of its own, with a small disk of its own.
func TestDiskFull(t *testing.T) {
	if dir := os.Getenv(inMountNamespace); dir != "" {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=96m"); err != nil {
			t.Fatalf("mount: %v", err)
		}
		testDiskFull(t, dir)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDiskFull$", "-test.v")
	cmd.Env = append(os.Environ(), inMountNamespace+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		t.Skip("this system lets no one but root mount") // a small disk cannot be made otherwise
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

func testDiskFull(t *testing.T, dir string) {
	t.Helper()
	cfg := config(t, func(c *broker.Config) { c.Data, c.PublishTimeout = filepath.Join(dir, "data"), 500*time.Millisecond })
	var log bytes.Buffer // read when the broker is closed
	b, err := broker.Open(t.Context(), cfg, slog.New(slog.NewTextHandler(&log, nil)), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNow(t, b) })
	first := publish(t, b, "t:a", "1")
	// Something else fills the disk to below what is kept free.
	b.SetLeastFree(16 << 20)
	filler := filepath.Join(dir, "filler")
	fill(t, filler, 81<<20)
	eventually(t, "publishes to be refused", func() bool {
		_, err := b.Publish(t.Context(), publication(t, "t:a", "x"))
		return errors.Is(err, fanout.ErrDiskFull)
	})
	if err := b.Ready(t.Context()); !errors.Is(err, broker.ErrNotReady) || !errors.Is(err, fanout.ErrDiskFull) {
		t.Errorf("ready: %v", err)
	}
	if _, ok, reason, _ := judge(t, b, "t:a", first); !ok {
		t.Errorf("reading: %s", reason)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	eventually(t, "publishes to be accepted again", func() bool {
		_, err := b.Publish(t.Context(), publication(t, "t:a", "y"))
		return err == nil
	})
	// Without the guard: what the server does when the disk is full all the same.
	b.SetLeastFree(0)
	fill(t, filler, 90<<20)
	big := make([]byte, 200<<10)
	var stored []fanout.Position
	for range 200 {
		var r fanout.Receipt
		if r, err = b.Publish(t.Context(), &fanout.Publication{Channel: channel(t, "t:big"), Data: big, Binary: true}); err != nil {
			break
		}
		stored = append(stored, r.Position)
	}
	t.Logf("after %d messages: %v", len(stored), err)
	if err == nil {
		t.Fatal("the disk never filled")
	}
	if !errors.Is(err, fanout.ErrOutcomeUnknown) && !errors.Is(err, fanout.ErrDiskFull) && !errors.Is(err, fanout.ErrUnavailable) {
		t.Errorf("full: %v", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	// The server's stream has given up on its disk for good. The node says so.
	for range 3 {
		_, err = b.Publish(t.Context(), publication(t, "t:a", "z"))
		t.Logf("with room again: %v", err)
	}
	if err := b.Ready(t.Context()); !errors.Is(err, broker.ErrNotReady) {
		t.Errorf("ready with a broken stream: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	t.Logf("close: %v", b.Close(ctx))
	for _, want := range []string{"the disk is nearly full", "the disk has room again"} {
		if n := strings.Count(log.String(), want); n != 1 {
			t.Errorf("the log says %d times that %s", n, want)
		}
	}
	b = open(t, cfg)
	publish(t, b, "t:a", "after the restart")
	for _, p := range stored {
		if _, ok, reason, _ := judge(t, b, "t:big", p); !ok {
			t.Errorf("acknowledged %v: %s", p, reason)
		}
	}
}

func fill(t *testing.T, path string, n int) {
	t.Helper()
	if err := os.WriteFile(path, make([]byte, n), 0o600); err != nil {
		t.Fatal(err)
	}
}
