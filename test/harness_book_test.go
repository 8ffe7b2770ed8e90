package test_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"
)

// entry is a message as somebody got it.
type entry struct {
	offset uint64
	key    string // its idempotency key
	sum    uint64 // of its data
}

func sum(data []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(data) // never fails
	return h.Sum64()
}

// caller speaks to the HTTP API and sees every answer. Safe for concurrent use.
type caller struct{ http *http.Client }

func newCaller(t *testing.T) *caller {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &caller{&http.Client{Transport: transport, Timeout: 20 * time.Second}}
}

// answer is what the API said; data is decoded where it is a receipt.
type answer struct {
	status     int
	retryAfter string
	message    string
	Offset     uint64 `json:"offset"`
	Position   string `json:"position"`
	Duplicate  bool   `json:"duplicate"`
}

func channelURL(base, channel string) string {
	return base + "/v1/channels/" + url.PathEscape(channel) + "/messages"
}

// publish does one POST. An error means that there was no answer.
func (c *caller) publish(ctx context.Context, base, channel, key string, data any) (answer, error) {
	body, err := json.Marshal(map[string]any{"data": data, "idempotency_key": key})
	if err != nil {
		return answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, channelURL(base, channel), bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	var a answer
	var envelope struct {
		Message string
		Data    *answer
	}
	envelope.Data = &a
	a.status, a.retryAfter, err = c.do(req, &envelope)
	a.message = envelope.Message
	return a, err
}

func (c *caller) do(req *http.Request, envelope any) (status int, retryAfter string, err error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, "", err // the answer did not come whole
	}
	if err := json.Unmarshal(raw, envelope); err != nil {
		return 0, "", fmt.Errorf("answer %d %q: %w", resp.StatusCode, raw, err)
	}
	return resp.StatusCode, resp.Header.Get("Retry-After"), nil
}

// history reads the whole log of a channel.
func (c *caller) history(t *testing.T, base, channel string) []entry {
	t.Helper()
	var all []entry
	for after := ""; ; {
		p := c.historyPage(t, base, channel, after)
		if after != "" && !p.Recovered {
			t.Fatalf("history of %s after %s is not complete", channel, after)
		}
		for _, m := range p.Messages {
			all = append(all, entry{m.Offset, m.ID, sum(m.Data)})
		}
		if after = p.Position; !p.More {
			return all
		}
	}
}

// historyAnswer is a page of history.
type historyAnswer struct {
	Messages []struct {
		Offset uint64
		ID     string
		Data   json.RawMessage
	}
	Position  string
	More      bool
	Recovered bool
}

// historyPage reads one page, waiting for a node that has just got its log back:
// what it publishes over may be there sooner than what it reads over.
func (c *caller) historyPage(t *testing.T, base, channel, after string) historyAnswer {
	t.Helper()
	query := "?limit=1000"
	if after != "" {
		query += "&after=" + url.QueryEscape(after)
	}
	ctx := bounded(t)
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, channelURL(base, channel)+query, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		var page struct {
			Message string
			Data    historyAnswer
		}
		status, _, err := c.do(req, &page)
		switch {
		case err != nil:
			t.Fatalf("history of %s: %v", channel, err)
		case status == http.StatusOK:
			return page.Data
		case status != http.StatusServiceUnavailable:
			t.Fatalf("history of %s: %d %s", channel, status, page.Message)
		}
		<-again.C // ctx ends it
	}
}

// outcome of a publish, as its publisher was told.
type outcome uint8

const (
	outcomeUnknown outcome = iota // no answer, or one that says so: stored or not, but at most once
	outcomeStored                 // a 2xx
	outcomeRefused                // an answer that says that nothing was stored
)

// mostProblems of one log are told.
const mostProblems = 10

// book is what the publishers of a channel were told. Safe for concurrent use.
type book struct {
	channel string

	mu    sync.Mutex // guards the following
	pages map[string]*page
}

// page is about one idempotency key.
type page struct {
	outcome outcome
	offset  uint64 // outcomeStored
	sum     uint64
}

func newBook(channel string) *book { return &book{channel: channel, pages: map[string]*page{}} }

// note records one answer. Once there was a 2xx, or an outcome that is open, a
// refusal of a repetition changes nothing.
func (b *book) note(t *testing.T, key string, data []byte, o outcome, offset uint64) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.pages[key]
	switch {
	case p == nil:
		b.pages[key] = &page{outcome: o, offset: offset, sum: sum(data)}
	case o == outcomeStored && p.outcome == outcomeStored && p.offset != offset:
		t.Errorf("%s: %s was stored at %d and again at %d", b.channel, key, p.offset, offset)
	case o == outcomeStored || p.outcome == outcomeRefused:
		p.outcome, p.offset = o, offset
	}
}

// last returns the offsets, by key, of those messages that were stored last.
func (b *book) last(most int) map[string]uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	stored := slices.DeleteFunc(slices.Collect(maps.Keys(b.pages)), func(key string) bool { return b.pages[key].outcome != outcomeStored })
	slices.SortFunc(stored, func(x, y string) int { return cmp.Compare(b.pages[y].offset, b.pages[x].offset) })
	last := map[string]uint64{}
	for _, key := range stored[:min(most, len(stored))] {
		last[key] = b.pages[key].offset
	}
	return last
}

// audit compares the log of the channel with what the publishers were told, and
// returns how many of those with an open outcome were stored.
func (b *book) audit(t *testing.T, log []entry) (opened int) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	problems := 0
	bad := func(format string, args ...any) {
		if problems++; problems <= mostProblems {
			t.Errorf(b.channel+": "+format, args...)
		}
	}
	at := map[string]uint64{}
	last := uint64(0)
	for _, e := range log {
		if e.offset <= last {
			bad("offset %d follows %d", e.offset, last)
		}
		last = e.offset
		p := b.pages[e.key]
		switch twice, seen := at[e.key]; {
		case seen:
			bad("%s is there twice, at %d and %d", e.key, twice, e.offset)
		case p == nil:
			bad("%s at %d was never published", e.key, e.offset)
		case p.outcome == outcomeRefused:
			bad("%s is at %d, and its publisher was told that nothing was stored", e.key, e.offset)
		case p.outcome == outcomeStored && p.offset != e.offset:
			bad("%s is at %d, and its publisher was told %d", e.key, e.offset, p.offset)
		case p.sum != e.sum:
			bad("%s at %d has other data than was published", e.key, e.offset)
		case p.outcome == outcomeUnknown:
			opened++
		}
		at[e.key] = e.offset
	}
	for key, p := range b.pages {
		if _, there := at[key]; p.outcome == outcomeStored && !there {
			bad("%s was answered with a 2xx at %d and is not in the log", key, p.offset)
		}
	}
	return opened
}
