package test_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// ailing is the service of one hook, and what is wrong with it for now.
type ailing struct {
	name  string
	fault http.HandlerFunc
	well  atomic.Bool
	asked atomic.Int64
}

func (a *ailing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.asked.Add(1)
	_, _ = io.Copy(io.Discard, r.Body) // or it does not see that the node has gone
	if a.well.Load() {
		_, _ = io.WriteString(w, `{"allow":true}`)
		return
	}
	a.fault(w, r)
}

// trickled answers, a space at a time, and never comes to the end.
func trickled(w http.ResponseWriter, r *http.Request) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for r.Context().Err() == nil {
		_, _ = io.WriteString(w, " ")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-tick.C:
		case <-r.Context().Done():
		}
	}
}

func ailments() []*ailing {
	return []*ailing{
		{name: "hangs", fault: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		{name: "errors", fault: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }},
		{name: "resets", fault: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{name: "slow", fault: trickled},
		{name: "lies", fault: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"allow":"yes"}`) }},
	}
}

const (
	hookTimeout = 300 * time.Millisecond
	openFor     = time.Second
)

// TestBreaker: hooks that fail in every way there is. Publishing elsewhere goes on as before,
// and the publishes that need one of them fail, nothing stored; its breaker opens, so that the
// service is left alone, lets probes through, opens again, and closes when they are answered.
// Metrics and log tell.
func TestBreaker(t *testing.T) {
	t.Parallel()
	list := ailments()
	config := "namespaces:\n  free: {max_bytes: 64MiB}\n"
	for _, a := range list {
		server := httptest.NewServer(a)
		t.Cleanup(server.Close)
		config += fmt.Sprintf("  %s: {max_bytes: 64MiB, hooks: {publish: {url: %q, secret: 0123456789abcdef, timeout: %v, retries: -1, "+
			"breaker: {window: 10s, min_requests: 10, failure_ratio: 0.5, open_for: %v, half_open: 2}}}}\n", a.name, server.URL, hookTimeout, openFor)
	}
	f := besiege(t, config, "--dev")
	defer f.stands(t, 64<<20)
	v := visit(t, f.node)
	for range 20 {
		publishFree(t, v)
	}
	end, took := make(chan struct{}), []time.Duration(nil)
	var elsewhere, failing sync.WaitGroup
	elsewhere.Go(func() {
		for {
			select {
			case <-end:
				return
			default:
				took = append(took, publishFree(t, v))
			}
		}
	})
	for _, a := range list {
		failing.Go(func() { fails(t, v, a) })
	}
	failing.Wait()
	close(end)
	elsewhere.Wait()
	slices.Sort(took)
	t.Logf("%d publishes elsewhere: p50 %v, p99 %v, most %v", len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
	if p99 := took[len(took)*99/100]; p99 > hookTimeout {
		t.Errorf("the p99 of a publish that needs no hook is %v, as long as a hook may take", p99)
	}
	log := f.stderr.String()
	for _, a := range list {
		for _, change := range []string{`"from":"closed","to":"open"`, `"from":"open","to":"half-open"`, `"from":"half-open","to":"open"`, `"from":"half-open","to":"closed"`} {
			if !regexp.MustCompile(`"hook changed its state".*`+change).MatchString(log) || !strings.Contains(log, `"publish:`+a.name+`"`) {
				t.Errorf("%s: the log does not say %s", a.name, change)
			}
		}
	}
}

func publishFree(t *testing.T, v *visitor) time.Duration {
	t.Helper()
	begun := time.Now()
	if status, _, text := v.request(http.MethodPost, messagesPath("free:x"), `{"data":1}`, nil); status != http.StatusCreated {
		t.Errorf("elsewhere: %d %s", status, text)
	}
	return time.Since(begun)
}

// fails follows one hook from its failure until it is well again.
func fails(t *testing.T, v *visitor, a *ailing) {
	t.Helper()
	publish := func() int {
		status, head, _ := v.request(http.MethodPost, messagesPath(a.name+":x"), `{"data":1}`, nil)
		if status == http.StatusServiceUnavailable && head.Get("Retry-After") == "" {
			t.Errorf("%s: 503 without Retry-After", a.name)
		}
		return status
	}
	until := func(what string, met func() bool) bool {
		for end := time.Now().Add(deadline); time.Now().Before(end); {
			if met() {
				return true
			}
		}
		t.Errorf("%s: waited in vain for %s", a.name, what)
		return false
	}
	for range 10 {
		if status := publish(); status != http.StatusServiceUnavailable {
			t.Errorf("%s: %d", a.name, status)
		}
	}
	if got := hookState(t, v, a.name); got != "2" {
		t.Errorf("%s: after 10 failures the breaker is %s", a.name, got)
	}
	if n := a.asked.Load(); n != 10 {
		t.Errorf("%s: asked %d times, of 10 that fail", a.name, n)
	}
	// While it is open publishes are refused at once, and the service is not asked; then one
	// probe finds it as it was, and it opens again.
	until("a probe", func() bool { return publish() != http.StatusServiceUnavailable || a.asked.Load() > 10 })
	until("it to open again", func() bool { return hookState(t, v, a.name) == "2" })
	if n := a.asked.Load(); n > 12 {
		t.Errorf("%s: asked %d times, want 10 and probes", a.name, n)
	}
	a.well.Store(true)
	until("a publish", func() bool { return publish() == http.StatusCreated })
	until("it to close", func() bool { return publish() == http.StatusCreated && hookState(t, v, a.name) == "0" })
	if _, _, text := v.request(http.MethodGet, messagesPath(a.name+":x"), "", nil); strings.Count(text, `"offset"`) == 0 || strings.Count(text, `"offset"`) > 4 {
		t.Errorf("%s: the log has what was refused: %s", a.name, text)
	}
	for _, result := range []string{"failed", "open", "allowed"} {
		if got := metric(t, v, fmt.Sprintf(`rivulet_hook_questions_total{hook="publish:%s",result="%s"}`, a.name, result)); got == "" || got == "0" {
			t.Errorf("%s: %q questions %s", a.name, got, result)
		}
	}
}

func hookState(t *testing.T, v *visitor, namespace string) string {
	t.Helper()
	return metric(t, v, `rivulet_hook_breaker_state{hook="publish:`+namespace+`"}`)
}

// metric is the value of a series, "" where there is none.
func metric(t *testing.T, v *visitor, series string) string {
	t.Helper()
	_, _, text := v.request(http.MethodGet, "/metrics", "", nil)
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
