//go:build !windows

package edge

import "os"

// Exposed reports whether users other than the owner may read what info is of.
func Exposed(info os.FileInfo) bool { return info.Mode().Perm()&0o077 != 0 }
