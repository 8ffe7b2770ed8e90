package webhook

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"
)

// TestTheEnvironmentNamesNoProxy: events go to the receiver alone. What is in the environment
// is read once by a process, so that the sender is in another one.
func TestTheEnvironmentNamesNoProxy(t *testing.T) {
	const inChild = "RIVULET_TEST_SENDER"
	if os.Getenv(inChild) != "" {
		s := newSender(&Hook{Name: "x", URL: "http://receiver.invalid/", Secret: []byte("0123456789abcdef"), Timeout: 5 * time.Second, Concurrency: 1})
		defer s.close()
		if o := s.send(t.Context(), [][]byte{[]byte("{}")}, 1); o.err == nil {
			t.Errorf("a receiver that is nowhere took the events with %d", o.status)
		}
		return
	}
	var asked atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer proxy.Close()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTheEnvironmentNamesNoProxy$")
	child.Env = append(os.Environ(), inChild+"=1", "HTTP_PROXY="+proxy.URL, "http_proxy="+proxy.URL, "NO_PROXY=", "no_proxy=")
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the proxy of the environment got %d requests", n)
	}
}
