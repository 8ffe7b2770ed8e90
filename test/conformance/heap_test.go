package conformance_test

import (
	"bytes"
	"compress/flate"
	"runtime"
	"sync"
	"testing"
	"time"
)

// heapInUse is what the process holds, node and test together.
func heapInUse() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// settledHeap is heapInUse without garbage.
func settledHeap() int64 {
	runtime.GC()
	runtime.GC() // pools are emptied by the second
	return heapInUse()
}

// watchHeap samples the heap until peak is called, which returns by how much it grew
// at most.
func watchHeap(t *testing.T) (peak func() int64) {
	t.Helper()
	base, most := settledHeap(), int64(0)
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				most = max(most, heapInUse()-base)
			case <-quit:
				return
			}
		}
	})
	stop := sync.OnceFunc(func() { close(quit); wg.Wait() })
	t.Cleanup(stop)
	return func() int64 { stop(); return max(most, heapInUse()-base) }
}

// bombOf compresses so many zeros without ever holding them.
func bombOf(n int) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		panic(err) // a level that does not exist
	}
	for zeros := make([]byte, 1<<20); n > 0; n -= len(zeros) {
		_, _ = w.Write(zeros) // a buffer takes everything
	}
	_ = w.Flush()
	return bytes.TrimSuffix(b.Bytes(), []byte("\x00\x00\xff\xff"))
}
