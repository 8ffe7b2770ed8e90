//go:build linux

package bench

import (
	"errors"
	"io"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rivulet-rt/rivulet/cmd/bench/raw"
)

// kinds name errors.
type kinds struct {
	ours *regexp.Regexp
}

// maxKinds bounds how many kinds of errors a worker tells apart.
const maxKinds = 32

func newKinds() kinds { return kinds{regexp.MustCompile(`bench([-.])[a-z0-9]{10}[-.a-z0-9]*`)} }

// of is a short name for an error: without what differs from one to the next.
func (k kinds) of(err error) string {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return errno.Error()
	}
	if errors.Is(err, io.EOF) {
		return "closed by the node"
	}
	if refusal, ok := errors.AsType[*raw.RefusedError](err); ok {
		err = refusal
	}
	return k.ours.ReplaceAllString(strings.TrimPrefix(strings.TrimPrefix(err.Error(), "bench: "), "raw: "), "bench$1*")
}
