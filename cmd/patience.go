package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// patience says on err that a node does not take what is sent to it, so that a command
// which tries again does not look as if it hung: once, and anew after a good answer. What
// will not change by itself, a certificate that is not trusted, ends the command instead.
type patience struct {
	next    http.RoundTripper
	err     io.Writer
	timeout time.Duration // how long it is tried
	told    atomic.Bool
}

// RoundTrip implements http.RoundTripper.
func (p *patience) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := p.next.RoundTrip(req)
	if lasting := lastingTLS(err); lasting != nil {
		if stop, ok := req.Context().Value(stopKey{}).(context.CancelCauseFunc); ok {
			stop(lasting)
		}
	}
	switch {
	case err != nil && req.Context().Err() != nil: // the command has ended, and says why
	case err != nil:
		p.tell("the node cannot be reached: %v", err)
	case res.StatusCode >= http.StatusInternalServerError:
		p.tell("the node answered %d%s", res.StatusCode, reason(res))
	default:
		p.told.Store(false)
	}
	return res, err
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

func (p *patience) tell(format string, args ...any) {
	if !p.told.Swap(true) {
		fmt.Fprintf(p.err, format+"; trying again for up to %v\n", append(args, p.timeout)...)
	}
}
