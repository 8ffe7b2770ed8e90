package cmd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/auth/hook"
	"github.com/rivulet-rt/rivulet/fanout"
)

// storesAll stands in for the log: what it costs itself is left out.
type storesAll struct{ outcomes []fanout.Outcome }

func (s *storesAll) Publish(context.Context, *fanout.Publication) (fanout.Receipt, error) {
	return fanout.Receipt{}, nil
}

func (s *storesAll) PublishAll(context.Context, []*fanout.Publication) []fanout.Outcome {
	return s.outcomes
}

func (s *storesAll) PublishAtomic(context.Context, []*fanout.Publication) ([]fanout.Receipt, error) {
	return nil, nil
}

func publications(tb testing.TB) []*fanout.Publication {
	tb.Helper()
	c, err := fanout.ParseChannel("chat:x")
	if err != nil {
		tb.Fatal(err)
	}
	return []*fanout.Publication{{Channel: c, Data: []byte("1")}}
}

// TestPublishingWithoutHooksIsUntouched: where there is no hook there is nothing between,
// and where others have one, not an allocation more for a single publish and for a batch.
func TestPublishingWithoutHooksIsUntouched(t *testing.T) {
	log := &storesAll{outcomes: make([]fanout.Outcome, 1)}
	none := &gates{}
	if none.publisher(log) != publisher(log) || none.slow() != nil || none.connect() != nil || none.subscribe() != nil {
		t.Error("something is between where there are no hooks")
	}
	pubs := publications(t)
	other := (&gates{pubs: map[string]*hook.Hook{"other": nil}}).publisher(log)
	if n := testing.AllocsPerRun(100, func() {
		_, _ = other.Publish(t.Context(), pubs[0])
		_ = other.PublishAll(t.Context(), pubs)
	}); n != 0 {
		t.Errorf("%v allocations in a namespace without a hook", n)
	}
}

// TestOneMessageIsRefusedAlone: where a receiver, or what is before it, refuses a request
// because of one message, or because there are too many, the others are asked about.
func TestOneMessageIsRefusedAlone(t *testing.T) {
	const most = 64 << 10
	asked := 0
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		body, _ := io.ReadAll(r.Body)
		switch {
		case len(body) > most:
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		case bytes.Contains(body, []byte("union select")):
			w.WriteHeader(http.StatusForbidden)
		default:
			_, _ = io.WriteString(w, `{"allow":true}`)
		}
	}))
	defer receiver.Close()
	cfg := hook.Config{Name: "publish:chat", URL: receiver.URL, Secret: []byte("0123456789abcdef"), Timeout: 5 * time.Second}
	h := hook.New(cfg.WithDefaults(), hook.NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	defer h.Close()
	channel := publications(t)[0].Channel
	var pubs []*fanout.Publication
	for i := range 100 {
		data := strings.Repeat("x", 2<<10) // together too many, each alone not
		switch i {
		case 17:
			data = strings.Repeat("x", most)
		case 60:
			data = "union select"
		}
		pubs = append(pubs, &fanout.Publication{Channel: channel, Data: []byte(strconv.Quote(data)), Publisher: "user:ann"})
	}
	for i, err := range ask(t.Context(), h, pubs) {
		_, denied := errors.AsType[*hook.DeniedError](err)
		if bad := i == 17 || i == 60; denied != bad || !bad && err != nil {
			t.Errorf("message %d: %v", i, err)
		}
	}
	if asked > 40 {
		t.Errorf("%d requests for two messages that are refused", asked)
	}
}

// BenchmarkAsk is what a question costs, by how many messages of 250 bytes it is about. The
// receiver, which reads it and says yes, is in the figures.
func BenchmarkAsk(b *testing.B) {
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{"allow":true}`)
	}))
	defer receiver.Close()
	cfg := hook.Config{Name: "publish:chat", URL: receiver.URL, Secret: []byte("0123456789abcdef"), Timeout: 5 * time.Second}
	h := hook.New(cfg.WithDefaults(), hook.NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	defer h.Close()
	for _, n := range []int{1, 10, 100} {
		var pubs []*fanout.Publication
		for range n {
			p := *publications(b)[0]
			p.Data = []byte(strconv.Quote(strings.Repeat("x", 248)))
			pubs = append(pubs, &p)
		}
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			for b.Loop() {
				if err := ask(b.Context(), h, pubs)[n-1]; err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(n), "us/message")
		})
	}
}

func BenchmarkPublishWithoutHook(b *testing.B) {
	log := &storesAll{outcomes: make([]fanout.Outcome, 1)}
	pubs := publications(b)
	for name, p := range map[string]publisher{
		"none":      (&gates{}).publisher(log),
		"elsewhere": (&gates{pubs: map[string]*hook.Hook{"other": nil}}).publisher(log),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = p.PublishAll(b.Context(), pubs)
			}
		})
	}
}
