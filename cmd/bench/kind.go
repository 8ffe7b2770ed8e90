//go:build linux

package bench

import (
	"errors"
	"io"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// kindPatterns find in an error what is the same for all of its kind.
type kindPatterns []*regexp.Regexp

func newKindPatterns() kindPatterns {
	return kindPatterns{
		regexp.MustCompile(`status \d+`),
		regexp.MustCompile(`handshake answered with "HTTP/1\.1 \d+`),
		regexp.MustCompile(`"code":\d+(?:,"message":"[^"]{1,80})?`),
		regexp.MustCompile(`close "[^"]{0,80}"`),
	}
}

// of is a short name for an error: without what differs from one to the next.
func (patterns kindPatterns) of(err error) string {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return errno.Error()
	}
	if errors.Is(err, io.EOF) {
		return "closed by the node"
	}
	text := err.Error()
	for _, p := range patterns {
		if found := p.FindString(text); found != "" {
			found = strings.ReplaceAll(found, `answered with "HTTP/1.1 `, "status ")
			return strings.NewReplacer(`"code":`, "code ", `,"message":"`, " ", `"`, "").Replace(found)
		}
	}
	return strings.TrimPrefix(strings.TrimPrefix(text, "bench: "), "raw: ")
}
