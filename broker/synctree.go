package broker

import (
	"errors"
	"io/fs"
	"os"
)

// syncTree makes everything in dir durable, file by file. A sync of the whole file
// system would wait for whatever else is written to it.
func syncTree(dir *os.Root) error {
	return fs.WalkDir(dir.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the server removes a deleted stream's folder in the background
		}
		if err != nil || !d.Type().IsRegular() && !d.IsDir() {
			return err
		}
		f, err := dir.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}
