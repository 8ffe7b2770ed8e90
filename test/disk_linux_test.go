package test_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rivulet-rt/rivulet/protocol"
)

// ownMount marks the process of TestFullDisk that may mount: its value is where.
const ownMount = "RIVULET_TEST_MOUNT"

// TestFullDisk runs in a process of its own, on a small disk of its own.
func TestFullDisk(t *testing.T) {
	if dir := os.Getenv(ownMount); dir != "" {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=128m"); err != nil {
			t.Fatalf("mount: %v", err)
		}
		testFullDisk(t, dir)
		return
	}
	t.Parallel()
	cmd := exec.CommandContext(bounded(t), os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
	cmd.Env = append(os.Environ(), ownMount+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		t.Skip("this system lets no one but root mount")
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: TestFullDisk") {
		t.Errorf("%v\n%s", err, out)
	}
}

func testFullDisk(t *testing.T, dir string) {
	t.Helper()
	cfg := localConfig(t)
	cfg.Broker.Data, cfg.Broker.DiskBudget = filepath.Join(dir, "data"), 192<<20
	n := startLocal(t, cfg)
	sub := n.socket().follow(protocol.SubscribeCommand{Channel: "t:a"})
	k := n.socket()
	n.publishAll("t:a", 1, 3)
	filler := filepath.Join(dir, "filler")
	fillUp(t, filler)
	stored := 3
	eventually(t, "a publish to be refused", func() bool {
		r := n.post("t:a", stored+1, "")
		if r.status == http.StatusCreated {
			stored++
			return false
		}
		if r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" || !strings.Contains(r.Message, "out of disk space; nothing was stored") {
			t.Fatalf("a full disk: %d, Retry-After %q, %s", r.status, r.header.Get("Retry-After"), r.Message)
		}
		return true
	})
	k.send(protocol.Command{Publish: &protocol.PublishCommand{Channel: "t:a", Data: json.RawMessage("0")}})
	if ev := k.reply(); ev.Error == nil || ev.Error.Code != protocol.ErrorUnavailable || !ev.Error.Temporary || !strings.Contains(ev.Error.Message, "disk") {
		t.Errorf("over WebSocket: %s", shown(ev))
	}
	if r := n.call(http.MethodGet, "/readyz", nil, nil); r.status != http.StatusServiceUnavailable {
		t.Errorf("ready with a full disk: %d %s", r.status, r.Message)
	}
	// Reading goes on.
	late := n.socket().follow(protocol.SubscribeCommand{Channel: "t:a", Last: 1000})
	late.readTo(stored)
	late.told("who comes now", numbers(1, stored))
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	eventually(t, "publishes to be taken again", func() bool {
		return n.post("t:a", stored+1, "").status == http.StatusCreated
	})
	for _, f := range []*follower{sub, late} {
		f.readTo(stored + 1)
		f.told("who was there", numbers(1, stored+1))
		f.close()
	}
	k.close()
	n.stop()
	n = startLocal(t, cfg)
	if got := n.history("t:a", "").String(); got != numbers(1, stored+1) {
		t.Errorf("after a restart the log has %s", got)
	}
}

// fillUp leaves a few megabytes of the disk: less than a node keeps free.
func fillUp(t *testing.T, path string) {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &st); err != nil {
		t.Fatal(err)
	}
	const left = 6 << 20
	if err := os.WriteFile(path, make([]byte, int64(st.Bavail)*st.Bsize-left), 0o600); err != nil {
		t.Fatal(err)
	}
}
