package webhook_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/broker/webhook"
)

// garble is a receiver that answers with text that is no HTTP.
func garble(tb testing.TB, text string) string {
	tb.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			tb.Error(err)
			return
		}
		_, _ = conn.Write([]byte(text)) // the sender may have enough of it
		_ = conn.Close()
	}))
	tb.Cleanup(srv.Close)
	return srv.URL
}

// What receivers answer does not cost this node its leases, however much it is and
// however many they are: notes fit, and are shown.
func TestLongAnswersAreCut(t *testing.T) {
	for name, text := range map[string]string{
		"short of the bound": strings.Repeat("<", 30<<10) + "\r\n",
		"endless":            strings.Repeat("<", 4<<20) + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			url := garble(t, text)
			var hooks []webhook.Hook
			for i := range 16 {
				h := hook(t, fmt.Sprint("hook-", i), url, webhook.MessagePublished)
				h.Channels = patterns(t, "chat:>")
				hooks = append(hooks, h)
			}
			cfg := brokerConfig(t)
			cfg.Namespaces[1].Partitions = 1
			var leases webhook.Leases
			n := run(t, cfg, quick(hooks...), func(s *webhook.Services) { leases = s.Leases })
			n.publish(t, "chat:a", 0, 1)
			eventually(t, 20*time.Second, func() (bool, string) {
				list, err := n.Status(t.Context())
				for _, s := range list {
					if s.State != webhook.Retrying || s.LastError == "" || len(s.LastError) > 600 {
						return false, fmt.Sprintf("%s is %s, its error has %d bytes", s.Name, s.State, len(s.LastError))
					}
				}
				return err == nil, fmt.Sprint(err)
			})
			notes, err := leases.Notes(t.Context(), webhook.Partitions)
			for _, note := range notes {
				if err != nil || len(note) == 0 || len(note) > 33<<10 {
					t.Errorf("a note of %d bytes, %v", len(note), err)
				}
			}
			if res, _ := n.Test(t.Context(), hooks[0].Name); res.Error == "" || len(res.Error) > 600 {
				t.Errorf("an error of %d bytes", len(res.Error))
			}
		})
	}
}

func TestLongHeadersAreRefused(t *testing.T) {
	rcv := receive(t, func(_ int, _ []webhook.Event, w http.ResponseWriter) { w.Header().Set("X", strings.Repeat("x", 1<<20)) })
	n := run(t, brokerConfig(t), quick(hook(t, "a", rcv.URL, webhook.MessagePublished)))
	if res, _ := n.Test(t.Context(), "a"); res.Status != 0 || !strings.Contains(res.Error, "headers exceeded") {
		t.Errorf("%+v", res)
	}
}
