package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

const (
	markerFile = "BOOT"
	bootIDFile = "/proc/sys/kernel/random/boot_id"
)

// marker is left in the data directory and tells a crash of the process, which
// loses nothing that the kernel had, from one of the machine, which loses what
// was not synced; and the directory itself from a copy of it.
type marker struct {
	BootID string `json:"boot_id"`          // of the kernel; empty where unknown
	Clean  bool   `json:"clean"`            // the server was stopped, and synced
	Folder string `json:"folder,omitempty"` // fileID of the lock; empty where unknown
}

func bootID() string {
	b, err := os.ReadFile(bootIDFile)
	if err != nil {
		return "" // not Linux: every unclean stop counts as the machine's
	}
	return strings.TrimSpace(string(b))
}

// readMarker returns ok false for a new directory.
func readMarker(dir *os.Root) (m marker, ok bool, err error) {
	b, err := dir.ReadFile(markerFile)
	if errors.Is(err, fs.ErrNotExist) {
		return marker{}, false, nil
	}
	if err != nil {
		return marker{}, false, fmt.Errorf("read %s: %w", markerFile, err)
	}
	if json.Unmarshal(b, &m) != nil {
		m = marker{} // torn by a crash: an unclean stop, of an unknown boot
	}
	return m, true, nil
}

// lostWrites reports whether messages that were acknowledged, or that subscribers
// have seen, may be gone since the marker was written. The latter is so at every
// level of durability: the server shows the messages of an atomic batch before it
// syncs them.
func (m marker) lostWrites(now string) bool {
	return !m.Clean && (m.BootID == "" || m.BootID != now)
}

// copied reports whether the directory is not the one that the marker was written
// in. A copy is mostly an older one: what was acknowledged since then is gone, and
// other messages may take the offsets.
func (m marker) copied(folder string) bool {
	return m.Folder != "" && folder != "" && m.Folder != folder
}

// writeMarker replaces the marker durably.
func writeMarker(dir *os.Root, m marker) error {
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("write %s: %w", markerFile, err)
	}
	const next = markerFile + ".new"
	if err := writeSynced(dir, next, b); err != nil {
		return fmt.Errorf("write %s: %w", markerFile, err)
	}
	if err := dir.Rename(next, markerFile); err != nil {
		return fmt.Errorf("write %s: %w", markerFile, err)
	}
	d, err := dir.Open(".")
	if err != nil {
		return fmt.Errorf("write %s: %w", markerFile, err)
	}
	return errors.Join(d.Sync(), d.Close())
}

func writeSynced(dir *os.Root, name string, b []byte) error {
	f, err := dir.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}
