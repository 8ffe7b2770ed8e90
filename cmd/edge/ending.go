package edge

import (
	"context"
	"io"
	"net/http"
)

// ending ends its requests at the end of something else than their contexts.
type ending struct {
	http.RoundTripper
	onEnd func(func()) (stop func() bool) // as context.AfterFunc
}

// RoundTrip implements http.RoundTripper.
func (e ending) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	stop := e.onEnd(cancel)
	done := func() {
		stop()
		cancel()
	}
	resp, err := e.RoundTripper.RoundTrip(r.WithContext(ctx))
	if err != nil {
		done()
		return nil, err
	}
	resp.Body = endingBody{resp.Body, done}
	return resp, nil
}

type endingBody struct {
	io.ReadCloser
	done func()
}

// Close implements io.Closer.
func (b endingBody) Close() error {
	defer b.done()
	return b.ReadCloser.Close()
}
