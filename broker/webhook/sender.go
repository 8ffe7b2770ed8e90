package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/rivulet-rt/rivulet/auth/signature"
)

const (
	// mostAfter bounds what a Retry-After can ask for.
	mostAfter = time.Hour
	// mostAnswer is what is read of an answer, so that its connection can be used again.
	mostAnswer = 64 << 10
	// mostHeader is what a receiver may send before that.
	mostHeader = 32 << 10
	idleConns  = 90 * time.Second
	// mostErrorText bounds what is said of an error: a receiver can put any amount of text
	// into one, and it goes into dead letters, leases and answers.
	mostErrorText = 512
)

// outcome is how one request ended.
type outcome struct {
	status int           // 0 without an answer
	err    error         // nil if the events were taken
	after  time.Duration // what Retry-After asked for
}

// gone reports whether the receiver wants no more.
func (o outcome) gone() bool { return o.status == http.StatusGone }

// refused reports whether it is about the request itself, so that a part of it may be
// taken, and sending all of it again will not help.
func (o outcome) refused() bool {
	switch o.status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// sender makes the requests of one webhook. Its methods may be called concurrently.
type sender struct {
	hook   *Hook
	client *http.Client
	now    func() time.Time
}

func newSender(h *Hook) *sender {
	alive := max(h.Timeout, time.Second)
	t := &http.Transport{
		Proxy:                 nil, // the environment decides nothing of whom is told, as of hooks and key sets
		DialContext:           (&net.Dialer{Timeout: h.Timeout, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          h.Concurrency,
		MaxIdleConnsPerHost:   h.Concurrency,
		MaxConnsPerHost:       h.Concurrency,
		IdleConnTimeout:       idleConns,
		TLSHandshakeTimeout:   h.Timeout,
		ResponseHeaderTimeout: h.Timeout,

		MaxResponseHeaderBytes: mostHeader,
		// One connection serves all of HTTP/2, and one that has died without a word would be
		// used until TCP gives it up, many minutes later.
		HTTP2: &http.HTTP2Config{SendPingTimeout: alive, PingTimeout: alive},
	}
	return &sender{hook: h, now: time.Now, client: &http.Client{
		Transport: t,
		// A redirect is an answer that is not 2xx: events go where the configuration says.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (s *sender) close() { s.client.CloseIdleConnections() }

// bodyOf puts events together, each as it is stored.
func bodyOf(events [][]byte) []byte {
	n := len(`{"events":[]}`)
	for _, e := range events {
		n += len(e) + 1
	}
	b := append(make([]byte, 0, n), `{"events":[`...)
	for i, e := range events {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, e...)
	}
	return append(b, `]}`...)
}

// send makes one request. The time for it is the webhook's timeout.
func (s *sender) send(ctx context.Context, events [][]byte, attempt int) outcome {
	ctx, cancel := context.WithTimeout(ctx, s.hook.Timeout)
	defer cancel()
	body := bodyOf(events)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.hook.URL, bytes.NewReader(body))
	if err != nil {
		return outcome{err: plain(err)}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Rivulet-Webhook/1")
	req.Header.Set("Rivulet-Webhook", s.hook.Name)
	req.Header.Set("Rivulet-Attempt", strconv.Itoa(attempt))
	req.Header.Set(signature.Header, signature.Sign(s.hook.Secret, body, s.now()))
	resp, err := s.client.Do(req)
	if err != nil {
		return outcome{err: plain(err)}
	}
	defer resp.Body.Close()
	// What cannot be read does not change what the status says.
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, mostAnswer))
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return outcome{status: resp.StatusCode}
	}
	return outcome{
		status: resp.StatusCode,
		err:    fmt.Errorf("webhook: the receiver answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode)),
		after:  retryAfter(resp, s.now()),
	}
}

// plain takes the URL, which may hold a secret, out of an error, and bounds its text.
func plain(err error) error {
	doing := "webhook: "
	if e, ok := errors.AsType[*url.Error](err); ok {
		if e.Timeout() {
			doing += "no answer in time: "
		}
		err = e.Err
	}
	return errors.New(clip(doing + err.Error()))
}

// clip is the beginning of an error's text, fit for a header.
func clip(text string) string {
	if len(text) > mostErrorText {
		text = text[:mostErrorText] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}

// retryAfter reads the header in both of its forms. It counts with 429 and 503 only.
func retryAfter(resp *http.Response, now time.Time) time.Duration {
	if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	value := resp.Header.Get("Retry-After")
	var after time.Duration
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil {
		after = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		after = at.Sub(now)
	}
	return min(max(after, 0), mostAfter)
}
