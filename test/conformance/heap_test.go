package conformance_test

import (
	"bytes"
	"compress/flate"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/test/conformance/internal/wire"
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

// bombOf is so many MiB of zeros. The blocks of a flushed writer can be repeated.
func bombOf(mib int) []byte {
	const flushed = "\x00\x00\xff\xff"
	block := append(wire.Deflate(make([]byte, 1<<20), flate.BestCompression), flushed...)
	return bytes.TrimSuffix(bytes.Repeat(block, mib), []byte(flushed))
}
