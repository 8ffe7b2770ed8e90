package bench

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The range of a latency, in microseconds; what is longer counts as the longest.
const (
	longest = int64(time.Hour / time.Microsecond)
	digits  = 3 // of precision
)

// latencies is a histogram that travels as text and can be added to another.
type latencies struct {
	h *hdrhistogram.Histogram // nil until something is recorded
}

func (l *latencies) histogram() *hdrhistogram.Histogram {
	if l.h == nil {
		l.h = hdrhistogram.New(1, longest, digits)
	}
	return l.h
}

func (l *latencies) record(d time.Duration) {
	// A clock that was set back makes a latency negative: it counts as none.
	_ = l.histogram().RecordValue(min(max(d.Microseconds(), 0), longest)) // within the range
}

func (l *latencies) merge(other latencies) {
	if other.h != nil {
		l.histogram().Merge(other.h)
	}
}

// MarshalJSON writes the histogram compressed.
func (l latencies) MarshalJSON() ([]byte, error) {
	if l.h == nil {
		return []byte("null"), nil
	}
	text, err := l.h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return nil, fmt.Errorf("bench: encode latencies: %w", err)
	}
	return json.Marshal(string(text))
}

// UnmarshalJSON reads what MarshalJSON writes.
func (l *latencies) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil || text == "" {
		return err
	}
	h, err := hdrhistogram.Decode([]byte(text))
	if err != nil {
		return fmt.Errorf("bench: decode latencies: %w", err)
	}
	l.h = h
	return nil
}

// Latency is the distribution of a latency, in milliseconds.
type Latency struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99_9"`
	Max  float64 `json:"max"`
}

// quantiles returns nil if nothing was recorded.
func (l *latencies) quantiles() *Latency {
	if l.h == nil || l.h.TotalCount() == 0 {
		return nil
	}
	ms := func(percent float64) float64 { return float64(l.h.ValueAtQuantile(percent)) / 1e3 }
	return &Latency{ms(50), ms(90), ms(99), ms(99.9), ms(100)}
}
