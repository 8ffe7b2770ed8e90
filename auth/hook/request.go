package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/rivulet-rt/rivulet/auth/signature"
)

// retryPause is between two attempts.
const retryPause = 20 * time.Millisecond

// answer is the body of a 200: results, or one answer about all items.
type answer struct {
	one
	Results []one `json:"results"`
}

type one struct {
	Allow   *bool           `json:"allow"`
	Message string          `json:"message"`
	Claims  json.RawMessage `json:"claims"`
}

// temporaryError is worth another attempt.
type temporaryError struct{ err error }

func (e *temporaryError) Error() string { return e.err.Error() }

// refusal is a status that says of this one request why nothing comes of it. The service
// works, and others may be answered.
type refusal struct{ status int }

func (e *refusal) Error() string { return fmt.Sprintf("it answered %d, must answer 200", e.status) }

// isRefusal reports whether a status is a refusal: a 4xx, unless it tells of load. Whoever
// asks can bring about any of them by what the question has in it, where a receiver, or a
// filter before it, is made so: they must not keep others from being asked.
func isRefusal(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return status >= http.StatusBadRequest && status < http.StatusInternalServerError
}

// misplaced reports whether the status is rather about where and how the hook is asked, so
// that it is no answer.
func (e *refusal) misplaced() bool {
	switch e.status {
	case http.StatusUnauthorized, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired,
		http.StatusGone, http.StatusMisdirectedRequest, http.StatusUpgradeRequired:
		return true
	}
	return false
}

// request asks, again where that may help, within the hook's timeout.
func (h *Hook) request(parent context.Context, q Question) ([]Verdict, error) {
	body, err := json.Marshal(q.Body)
	if err != nil {
		return nil, fmt.Errorf("encode the question: %w", err)
	}
	ctx, cancel := context.WithTimeout(parent, h.cfg.Timeout)
	defer cancel()
	for attempt := 0; ; attempt++ {
		verdicts, err := h.attempt(ctx, body, len(q.Keys))
		_, again := errors.AsType[*temporaryError](err)
		switch {
		case err != nil && over(parent):
			return nil, errGivenUp
		case err == nil || !again || attempt >= h.cfg.Retries || ctx.Err() != nil:
			return verdicts, err
		}
		pause := time.NewTimer(retryPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
}

// over reports whether the caller's own time has ended. A connection that is being made
// knows of its end a moment before the context does.
func over(ctx context.Context) bool {
	end, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(end)
}

func (h *Hook) attempt(ctx context.Context, body []byte, items int) ([]Verdict, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return nil, plain(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Rivulet-Hook/1")
	req.Header.Set("Rivulet-Hook", h.cfg.Name)
	req.Header.Set(signature.Header, signature.Sign(h.cfg.Secret, body, time.Now()))
	resp, err := h.client.Do(req)
	if err != nil {
		return nil, &temporaryError{h.reason(err)}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case resp.StatusCode >= http.StatusBadGateway && resp.StatusCode <= http.StatusGatewayTimeout:
		return nil, &temporaryError{fmt.Errorf("it answered %d", resp.StatusCode)}
	case isRefusal(resp.StatusCode):
		return nil, &refusal{resp.StatusCode}
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("it answered %d, must answer 200", resp.StatusCode)
	case err != nil:
		return nil, &temporaryError{h.reason(err)}
	case len(text) > maxAnswer:
		return nil, fmt.Errorf("its answer has over %d bytes", maxAnswer)
	}
	return read(text, items)
}

// read understands an answer, which must be about as many items as were asked about.
func read(text []byte, items int) ([]Verdict, error) {
	a, err := decode(text)
	if err != nil {
		return nil, err
	}
	list := a.Results
	if list == nil {
		list = make([]one, items)
		for i := range list {
			list[i] = a.one
		}
	}
	if len(list) != items {
		return nil, fmt.Errorf("its answer has %d results, must have %d", len(list), items)
	}
	verdicts := make([]Verdict, items)
	for i, o := range list {
		switch {
		case o.Allow == nil:
			return nil, errors.New(`its answer has no "allow"`)
		case *o.Allow:
			verdicts[i].Claims = o.Claims
		default:
			verdicts[i].Denied = &DeniedError{Message: clean(o.Message)}
		}
	}
	return verdicts, nil
}

// decode is strict: what is not understood, capabilities beside the claims and not among
// them, would leave the caller more than the service meant to give.
func decode(text []byte) (a answer, err error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&a); err != nil {
		return a, fmt.Errorf("its answer is not the JSON that is expected: %.*s; the fields are allow, message, claims and results", maxText, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return a, errors.New("its answer has something behind the JSON object")
	}
	if a.Results != nil && (a.Allow != nil || a.Claims != nil) {
		return a, errors.New(`its answer has "results" and, outside of them, "allow" or "claims"; give one or the other`)
	}
	return a, nil
}

// reason is why a request failed, for an operator.
func (h *Hook) reason(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("no answer within %v (timeout)", h.cfg.Timeout)
	}
	return plain(err)
}

// clean makes a text fit to be shown and logged.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, s)
	if s == "" {
		return "denied"
	}
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "")
	}
	return s
}

// plain takes the URL, which may hold a secret, out of an error.
func plain(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
