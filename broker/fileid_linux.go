package broker

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// fileID tells a file from a copy of it, "" where it cannot: its inode and, where
// the file system knows it, when that was made. Neither is changed by writing,
// moving or another owner.
func fileID(f *os.File) string {
	var st unix.Statx_t
	if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil || st.Mask&unix.STATX_INO == 0 {
		return ""
	}
	if st.Mask&unix.STATX_BTIME == 0 {
		return fmt.Sprint(st.Ino)
	}
	return fmt.Sprintf("%d-%d-%d", st.Ino, st.Btime.Sec, st.Btime.Nsec)
}
