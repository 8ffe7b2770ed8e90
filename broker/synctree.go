package broker

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// syncTree makes everything in dir durable, file by file. A sync of the whole file
// system would wait for whatever else is written to it.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() && !d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}
