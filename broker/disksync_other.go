//go:build !linux

package broker

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// syncer makes everything durable that is in dir, file by file.
func syncer(dir *os.Root) (sync func() error, closed func() error, err error) {
	return func() error {
		return filepath.WalkDir(dir.Name(), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			return errors.Join(f.Sync(), f.Close())
		})
	}, func() error { return nil }, nil
}

// orderly: no other system has a sync of a whole file system that says whether it
// failed.
func orderly(string) (why string) { return "the system is not Linux" }
