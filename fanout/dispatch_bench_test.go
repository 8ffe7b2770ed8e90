package fanout_test

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/rivulet-rt/rivulet/fanout"
)

// countingSink takes everything, as the frame that the first subscriber made.
type countingSink struct {
	taken *atomic.Int64
	bytes int
}

// Deliver implements fanout.Sink.
func (s *countingSink) Deliver(m *fanout.Message) bool {
	s.bytes += len(m.Frame(0, encodeOnce))
	s.taken.Add(1)
	return true
}

// Notify implements fanout.Sink.
func (s *countingSink) Notify(fanout.Notice) bool {
	s.taken.Add(1)
	return true
}

func encodeOnce(m *fanout.Message) []byte { return append([]byte("frame of "), m.Data...) }

// crowd is a hub with subscribers, and messages for it that are already made.
type crowd struct {
	node  *node
	taken atomic.Int64
	size  int64 // subscribers of each channel
	next  []*fanout.Message
}

func newCrowd(t testing.TB, channels, subscribers int) *crowd {
	t.Helper()
	c := &crowd{node: newNode(t, calm(0, 1), true, nil), size: int64(subscribers)}
	for i := range channels {
		for range subscribers {
			ch := mustChannel(t, fmt.Sprintf("t:c%d", i))
			if err := c.node.NewClient(&countingSink{taken: &c.taken}).Subscribe(fanout.SubscribeRequest{Channel: ch}); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.wait(int64(channels * subscribers))
	c.taken.Store(0)
	return c
}

// wait spins until n more were taken: a channel's wake-up would be part of the figure.
func (c *crowd) wait(n int64) {
	for c.taken.Load() < n {
		runtime.Gosched()
	}
}

// make prepares n messages, which follow each other in the channels in turn.
func (c *crowd) make(t testing.TB, n, channels int, first uint64) {
	t.Helper()
	c.next = c.next[:0]
	for i := range n {
		offset := first + uint64(i)
		m := message(mustChannel(t, fmt.Sprintf("t:c%d", i%channels)), offset, fanout.KindData, `{"text":"hello"}`)
		m.Stream, m.Prev = c.node.log.partition(m.Channel), 0
		if i >= channels {
			m.Prev = offset - uint64(channels)
		}
		m.Frame(0, encodeOnce)
		c.next = append(c.next, m)
	}
}

// TestDispatchAllocates holds that delivering a message whose frame is there costs
// no allocation, however many get it.
func TestDispatchAllocates(t *testing.T) {
	const warm, runs = 2100, 500
	c := newCrowd(t, 1, 100)
	c.make(t, warm+runs+1, 1, 1)
	i := 0
	dispatch := func() {
		c.node.Dispatch(c.next[i])
		i++
		c.wait(int64(i) * c.size)
	}
	for range warm { // until the ring is full and the queues have grown
		dispatch()
	}
	if got := testing.AllocsPerRun(runs, dispatch); got != 0 {
		t.Errorf("%v allocations to dispatch one message to %d subscribers", got, c.size)
	}
}

// BenchmarkDispatch is the cost of one delivery, from the feed to the sink.
func BenchmarkDispatch(b *testing.B) {
	for _, c := range []struct{ channels, subscribers int }{{1, 1000}, {1000, 10}} {
		b.Run(fmt.Sprintf("%dx%d", c.channels, c.subscribers), func(b *testing.B) {
			crowd := newCrowd(b, c.channels, c.subscribers)
			b.ReportAllocs()
			first, sent := uint64(1), int64(0)
			for b.Loop() {
				if len(crowd.next) == 0 {
					b.StopTimer()
					crowd.make(b, 10_000, c.channels, first)
					if first > 1 {
						for i := range crowd.next[:c.channels] {
							crowd.next[i].Prev = crowd.next[i].Offset() - uint64(c.channels)
						}
					}
					first += 10_000
					b.StartTimer()
				}
				crowd.node.Dispatch(crowd.next[0])
				crowd.next = crowd.next[1:]
				sent++
				if sent%64 == 0 {
					crowd.wait(sent * crowd.size)
				}
			}
			crowd.wait(sent * crowd.size)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(sent*crowd.size), "ns/delivery")
		})
	}
}
