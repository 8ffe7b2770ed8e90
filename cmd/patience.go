package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"
)

// patience says on err that a node does not take what is sent to it, so that a command
// which tries again does not look as if it hung: once, and anew after a good answer. What
// will not change by itself, a certificate that is not trusted, ends the command instead; and
// so does a port at which nobody listens, where that is all the command has met for startGrace
// and it was not told to wait.
type patience struct {
	next    http.RoundTripper
	err     io.Writer
	timeout time.Duration // how long it is tried
	waits   bool          // was told to wait
	met     atomic.Bool   // a node was there
	refused atomic.Int64  // Unix nanoseconds of when nobody listened first
	told    atomic.Bool
}

// startGrace is how long a node may take to listen that was started just before the command,
// as scripts do.
const startGrace = 5 * time.Second

// RoundTrip implements http.RoundTripper.
func (p *patience) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := p.next.RoundTrip(req)
	lasting := lastingTLS(err)
	nobody := !p.waits && !p.met.Load() && connectionRefused(err)
	now := time.Now()
	if nobody && !p.refused.CompareAndSwap(0, now.UnixNano()) && now.Sub(time.Unix(0, p.refused.Load())) >= startGrace {
		const hint = "nothing was stored; is a node running there? To wait for one, give --timeout"
		lasting = &lastingError{fmt.Errorf("the node cannot be reached: %w", err), hint}
		err = &lastingError{err, hint}
	}
	p.met.CompareAndSwap(false, err == nil)
	timeout := p.timeout
	if nobody {
		timeout = min(timeout, startGrace)
	}
	if lasting != nil {
		if stop, ok := req.Context().Value(stopKey{}).(context.CancelCauseFunc); ok {
			stop(lasting)
		}
	}
	switch {
	case lasting != nil, err != nil && req.Context().Err() != nil: // the command has ended, and says why
	case err != nil:
		p.tell(timeout, "the node cannot be reached: %v", err)
	case res.StatusCode >= http.StatusInternalServerError:
		p.tell(timeout, "the node answered %d%s", res.StatusCode, reason(res))
	default:
		p.told.Store(false)
	}
	return res, err
}

// wsaConnectionRefused is what Windows has instead of ECONNREFUSED.
const wsaConnectionRefused = 10061

// connectionRefused reports whether nobody listens at the port.
func connectionRefused(err error) bool {
	errno, ok := errors.AsType[syscall.Errno](err)
	return ok && (errno == syscall.ECONNREFUSED || errno == wsaConnectionRefused)
}

// mostReason bounds what is looked at of an answer.
const mostReason = 4 << 10

// reason is what an answer says, which can still be read as it was.
func reason(res *http.Response) string {
	text, _ := io.ReadAll(io.LimitReader(res.Body, mostReason)) // who reads the rest meets the error again
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(text), res.Body), res.Body}
	var answer struct{ Message string }
	if err := json.Unmarshal(text, &answer); err != nil || answer.Message == "" {
		return ""
	}
	return ": " + answer.Message
}

func (p *patience) tell(timeout time.Duration, format string, args ...any) {
	if !p.told.Swap(true) {
		fmt.Fprintf(p.err, format+"; trying again for up to %v\n", append(args, timeout)...)
	}
}
