package cmd

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// patience says on err that a node does not take what is sent to it, so that a command
// which tries again does not look as if it hung: once, and anew after a good answer.
type patience struct {
	next    http.RoundTripper
	err     io.Writer
	timeout time.Duration // how long it is tried
	told    atomic.Bool
}

// RoundTrip implements http.RoundTripper.
func (p *patience) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := p.next.RoundTrip(req)
	switch {
	case err != nil && req.Context().Err() != nil: // the command has ended, and says why
	case err != nil:
		p.tell("the node cannot be reached: %v", err)
	case res.StatusCode >= http.StatusInternalServerError:
		p.tell("the node answered %d", res.StatusCode)
	default:
		p.told.Store(false)
	}
	return res, err
}

func (p *patience) tell(format string, args ...any) {
	if !p.told.Swap(true) {
		fmt.Fprintf(p.err, format+"; trying again for up to %v\n", append(args, p.timeout)...)
	}
}
