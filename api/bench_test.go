package api_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/fanout"
)

// instantLog stores nothing, at once.
type instantLog struct{ fakeLog }

func (*instantLog) Publish(context.Context, *fanout.Publication) (fanout.Receipt, error) {
	return fanout.Receipt{Position: positionAt(1)}, nil
}

// discardWriter is a ResponseWriter without a connection.
type discardWriter struct {
	header http.Header
	status int
}

func (w *discardWriter) Header() http.Header         { return w.header }
func (w *discardWriter) WriteHeader(status int)      { w.status = status }
func (w *discardWriter) Write(b []byte) (int, error) { return len(b), nil }

func BenchmarkPublish(b *testing.B) {
	log := &instantLog{}
	h := plainHandlerFor(log, &log.fakeLog)
	body := `{"data":{"text":"` + strings.Repeat("x", 230) + `"}}`
	r := httptest.NewRequest(http.MethodPost, lobby, nil)
	r.Header.Set("Content-Type", "application/json")
	r.ContentLength = int64(len(body))
	in := strings.NewReader(body)
	w := &discardWriter{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		in.Reset(body)
		r.Body = io.NopCloser(in)
		h.ServeHTTP(w, r)
	}
	if w.status != http.StatusCreated {
		b.Fatalf("status %d", w.status)
	}
}

// TestPublishAllocations guards the hot path: 22 allocations, and a few more where
// the race detector empties the pool.
func TestPublishAllocations(t *testing.T) {
	log := &instantLog{}
	h := plainHandlerFor(log, &log.fakeLog)
	const body = `{"data":{"text":"hello"}}`
	r := httptest.NewRequest(http.MethodPost, lobby, nil)
	r.Header.Set("Content-Type", "application/json")
	r.ContentLength = int64(len(body))
	in := strings.NewReader(body)
	w := &discardWriter{header: http.Header{}}
	n := testing.AllocsPerRun(200, func() {
		in.Reset(body)
		r.Body = io.NopCloser(in)
		h.ServeHTTP(w, r)
	})
	if n > 30 || w.status != http.StatusCreated {
		t.Errorf("%v allocations, status %d", n, w.status)
	}
}
