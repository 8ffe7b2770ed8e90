package test_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestScheduledOnce: while messages become due, the node that stores them is killed
// again and again. Each that was accepted is stored exactly once, not before its time,
// whether the namespace still remembers it after the restart or not.
func TestScheduledOnce(t *testing.T) {
	t.Parallel()
	for name, window := range map[string]string{"remembered": "2m", "forgotten": "100ms"} {
		for _, level := range []string{"interval", "always"} {
			t.Run(name+", sync "+level, func(t *testing.T) {
				t.Parallel()
				scheduleAndKill(t, window, level)
			})
		}
	}
}

// appointments are what was scheduled, by what the message says.
type appointments struct {
	mu  sync.Mutex // guards the following
	due map[string]int64
}

func scheduleAndKill(t *testing.T, window, level string) {
	t.Helper()
	const count, kills = 600, 4
	dir := t.TempDir()
	address := ownAddress(t)
	config := filepath.Join(dir, "rivulet.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "namespaces: {s: {partitions: 2, max_bytes: 64MiB, duplicate_window: %s}}\n", window), 0o600); err != nil {
		t.Fatal(err)
	}
	restart := func() *node {
		return started(t, start(t, nil, binary(t), "serve", "--dev", "--config", config, "--listen", address,
			"--data", filepath.Join(dir, "data"), "--disk-budget", "1GiB", "--sync", level))
	}
	n := restart()
	a := &appointments{due: map[string]int64{}}
	c := &scheduler{t: t, url: n.url(), caller: newCaller(t)}

	first := time.Now().Add(5 * time.Second) // when all are scheduled
	var scheduling sync.WaitGroup
	for w := range 4 {
		scheduling.Go(func() {
			for i := w; i < count; i += 4 {
				c.insist(a, fmt.Sprintf("s:room.%d", i%5), fmt.Sprint("m", i), first.Add(time.Duration(i)*10*time.Millisecond))
			}
		})
	}
	scheduling.Wait()
	for k := range kills {
		next := first.Add(time.Duration(k+1) * time.Duration(count*10/(kills+1)) * time.Millisecond)
		<-time.NewTimer(time.Until(next)).C // what is due is spread over time: so are the kills
		n.kill(t)
		n = restart()
	}
	eventually(t, "nothing to wait any more", func() bool { return c.waiting() == 0 })
	times := map[string][]int64{}
	for room := range 5 {
		for _, m := range c.history(fmt.Sprintf("s:room.%d", room)) {
			times[m.Data] = append(times[m.Data], m.Time)
		}
	}
	var worst int64
	for data, due := range a.due {
		got := times[data]
		if len(got) != 1 || got[0] < due {
			t.Errorf("%s, due %d, was stored at %v", data, due, got)
			continue
		}
		worst = max(worst, got[0]-due)
	}
	if len(a.due) != count || len(times) != count {
		t.Errorf("%d accepted, %d stored, want %d", len(a.due), len(times), count)
	}
	t.Logf("%d messages, %d kills, at most %d ms late", count, kills, worst)
}

// scheduler speaks to a node that is killed now and then.
type scheduler struct {
	t      *testing.T
	url    string
	caller *caller
}

func (s *scheduler) do(method, path string, body any, data any) (int, error) {
	var in bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&in).Encode(body); err != nil {
			return 0, err
		}
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, &in)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	envelope := struct {
		Data any `json:"data"`
	}{data}
	status, _, err := s.caller.do(req, &envelope)
	return status, err
}

// insist schedules a message until the node says that it waits, or has been stored.
func (s *scheduler) insist(a *appointments, channel, data string, at time.Time) {
	body := map[string]any{"data": data, "idempotency_key": data, "deliver_at": at.UnixMilli()}
	for ctx := bounded(s.t); ctx.Err() == nil; {
		var receipt struct{}
		status, err := s.do(http.MethodPost, "/v1/channels/"+channel+"/messages", body, &receipt)
		if err == nil && status == http.StatusCreated {
			a.mu.Lock()
			a.due[data] = at.UnixMilli()
			a.mu.Unlock()
			return
		}
		if err == nil && status < 500 {
			s.t.Errorf("%s: %d", data, status)
			return
		}
	}
	s.t.Errorf("%s is not accepted", data)
}

func (s *scheduler) waiting() int {
	var page struct {
		Schedules []struct{} `json:"schedules"`
	}
	if status, err := s.do(http.MethodGet, "/v1/schedules", nil, &page); err != nil || status != http.StatusOK {
		return 1
	}
	return len(page.Schedules)
}

type storedMessage struct {
	Data string `json:"data"`
	Time int64  `json:"time"`
}

func (s *scheduler) history(channel string) (all []storedMessage) {
	after := ""
	for {
		var page struct {
			Messages []storedMessage `json:"messages"`
			Position string          `json:"position"`
			More     bool            `json:"more"`
		}
		status, err := s.do(http.MethodGet, "/v1/channels/"+channel+"/messages?limit=1000"+after, nil, &page)
		if err != nil || status != http.StatusOK {
			s.t.Fatalf("history of %s: %d, %v", channel, status, err)
		}
		all = append(all, page.Messages...)
		if !page.More {
			return all
		}
		after = "&after=" + page.Position
	}
}
