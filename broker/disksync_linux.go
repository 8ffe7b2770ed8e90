package broker

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// leastKernel reports a failed write to whoever syncs the file system, even where
// the kernel tried by itself, or for another caller, before.
const leastKernelMajor, leastKernelMinor = 5, 8

// syncer makes everything durable that was written to the file system of dir. The
// directory is opened once: the kernel reports each failure once per open file,
// from when it was opened.
func syncer(dir *os.Root) (sync func() error, closed func() error, err error) {
	d, err := dir.Open(".")
	if err != nil {
		return nil, nil, fmt.Errorf("broker: sync: %w", err)
	}
	return func() error {
		for {
			err := unix.Syncfs(int(d.Fd()))
			if err != unix.EINTR {
				return os.NewSyscallError("syncfs", err)
			}
		}
	}, d.Close, nil
}

// orderly reports why a sync of the file system cannot stand for those that the
// server makes of each file, if it cannot.
//
// The server rewrites a block in which most was deleted as a new file that it
// renames over the old one, and unless it syncs every write it syncs that file
// later. Its messages were answered long ago, so a power failure in between must
// leave the old file or the new one. That is what ext4 does with its defaults:
// data is written before the names that lead to it (data=ordered), also where it
// would be delayed (auto_da_alloc). Other file systems may leave an empty file.
func orderly(dir string) (why string) {
	if !kernelAtLeast(leastKernelMajor, leastKernelMinor) {
		return "the kernel is older than 5.8"
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return err.Error()
	}
	device := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(uint64(st.Dev)), unix.Minor(uint64(st.Dev))) //nolint:unconvert // the types differ between systems
	link, err := os.Readlink(device)
	if err != nil {
		return "the file system has no disk of its own"
	}
	options, err := os.ReadFile(filepath.Join("/proc/fs/ext4", filepath.Base(link), "options"))
	if err != nil {
		return "the file system is not ext4"
	}
	return ext4Orderly(string(options))
}

func kernelAtLeast(major, minor int) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	release := unix.ByteSliceToString(u.Release[:])
	a, rest, _ := strings.Cut(release, ".")
	b, _, _ := strings.Cut(rest, ".")
	x, errX := strconv.Atoi(a)
	y, errY := strconv.Atoi(strings.TrimRight(b, "-+abcdefghijklmnopqrstuvwxyz"))
	return errX == nil && errY == nil && (x > major || x == major && y >= minor)
}
