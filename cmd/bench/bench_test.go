//go:build linux

package bench_test

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/rivulet-rt/rivulet/cmd/bench"
	"github.com/rivulet-rt/rivulet/cmd/bench/raw"
	"github.com/rivulet-rt/rivulet/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestLatenciesAddUp: what several workers recorded is as if one had.
func TestLatenciesAddUp(t *testing.T) {
	var a, b, all []time.Duration
	for i := range 1000 {
		d := time.Duration(i+1) * time.Millisecond
		all = append(all, d)
		if i%3 == 0 {
			a = append(a, d)
		} else {
			b = append(b, d)
		}
	}
	apart, err := bench.Merged(a, b, nil)
	if err != nil {
		t.Fatal(err)
	}
	together, err := bench.Merged(all)
	if err != nil {
		t.Fatal(err)
	}
	if *apart != *together {
		t.Errorf("apart %+v, together %+v", *apart, *together)
	}
	for got, want := range map[float64]float64{apart.P50: 500, apart.P90: 900, apart.P99: 990, apart.P999: 999, apart.Max: 1000} {
		if got < want*0.998 || got > want*1.002 {
			t.Errorf("a quantile is %v, want about %v", got, want)
		}
	}
	odd, err := bench.Merged([]time.Duration{-time.Second, 100 * time.Hour})
	if err != nil || odd.P50 != 0 || odd.Max < 3.5e6 {
		t.Errorf("out of range: %+v, %v", odd, err)
	}
	if none, err := bench.Merged(nil, nil); none != nil || err != nil {
		t.Errorf("nothing is %+v, %v", none, err)
	}
}

func TestParseMetrics(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		memory     int64
		ok         bool
	}{
		{"all", "# TYPE x counter\nx{a=\"b c\"} 3\nprocess_cpu_seconds_total 2.5\nprocess_resident_memory_bytes 1.5e+07\n", 15e6, true},
		{"one is missing", "process_cpu_seconds_total 2.5\n", 0, false},
		{"something else", "<html>", 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cpu, memory, err := bench.ParseMetrics(strings.NewReader(tc.text))
			if (err == nil) != tc.ok || memory != tc.memory || tc.ok && cpu != 2500*time.Millisecond {
				t.Errorf("%v, %d, %v", cpu, memory, err)
			}
		})
	}
}

// TestSources: no address has more connections to a node than it has ports.
func TestSources(t *testing.T) {
	if a := bench.Source("127.0.0.1:1", 1000, 5); a.IsValid() {
		t.Errorf("a few connections come from %v, want any", a)
	}
	if a := bench.Source("10.0.0.1:1", 1_000_000, 5); a.IsValid() {
		t.Errorf("connections to another machine come from %v, want any", a)
	}
	const connections = 1_000_000
	count := map[netip.Addr]int{}
	for i := range connections {
		a := bench.Source("127.0.0.1:1", connections, i)
		if !a.IsLoopback() {
			t.Fatalf("connection %d comes from %v", i, a)
		}
		count[a]++
	}
	for a, n := range count {
		if n > 28_000 {
			t.Errorf("%v has %d connections", a, n)
		}
	}
}

func TestKinds(t *testing.T) {
	for want, err := range map[string]error{
		"connection refused":         fmt.Errorf("connect to 10.0.0.1:5: %w", unix.ECONNREFUSED),
		"closed by the node":         io.EOF,
		"4000 node is shutting down": fmt.Errorf("raw: closed: %w", &raw.RefusedError{Code: protocol.CloseDraining, Message: "node is shutting down"}),
		"4403 not allowed by the token: no subscribe on default:bench.*": &raw.RefusedError{Code: protocol.ErrorForbidden, Message: "no subscribe on default:bench.abcde23456.17"},
		"status 503 Service Unavailable: full":                           fmt.Errorf("raw: handshake: %w", &raw.RefusedError{Status: 503, Message: "full"}),
		"something new":                                                  errors.New("raw: something new"),
	} {
		if got := bench.Kind(err); got != want {
			t.Errorf("%v is %q, want %q", err, got, want)
		}
	}
}

// TestPilots: when the subscriber that a publisher follows ends, it follows another.
func TestPilots(t *testing.T) {
	o := bench.Options{Scenario: bench.Rooms, Connections: 24, Channels: 3, Publishers: 3, Processes: 2}
	for index, want := range [][]int{{22, 16, 10, 4}, {19, 13, 7, 1}} {
		if got := bench.Pilots(o, index, 1); !slices.Equal(got, want) {
			t.Errorf("worker %d follows %v, want %v", index, got, want)
		}
	}
}

// TestDue: the connections of a storm are due one after the other over all workers, and
// no later because those before them take long.
func TestDue(t *testing.T) {
	o := bench.Options{Scenario: bench.Connect, Rate: 100, Processes: 2}
	for i := range 10 {
		if got, want := bench.Due(o, i%2, i/2), time.Duration(i)*10*time.Millisecond; got != want {
			t.Errorf("connection %d is due after %v, want %v", i, got, want)
		}
	}
	o.Rate = 0
	if got := bench.Due(o, 1, 500); got > time.Second {
		t.Errorf("without a rate a connection is due after %v", got)
	}
}

// TestLanesMeetSubscribers: who publishes on a channel as fast as it is read has one of
// its subscribers beside it, where there are enough publishers, and each has channels.
func TestLanesMeetSubscribers(t *testing.T) {
	for _, tc := range []struct{ connections, channels, publishers, processes, unheard int }{
		{1000, 100, 16, 1, 0},
		{1000, 100, 16, 2, 0},
		{20, 20, 15, 2, 0},
		{30, 10, 7, 3, 0},
		{1000, 1, 1, 4, 0},
		{9, 3, 3, 4, 0},
		{1000, 100, 1, 2, 50},
	} {
		lanes, unheard := bench.Lanes(bench.Options{Connections: tc.connections, Channels: tc.channels, Publishers: tc.publishers, Processes: tc.processes})
		if unheard != tc.unheard {
			t.Errorf("%+v: %d channels have no subscriber beside their publisher", tc, unheard)
		}
		missed := 0
		count := map[int]int{}
		for channel, lane := range lanes {
			count[lane]++
			heard := false
			for j := channel; j < tc.connections; j += tc.channels {
				heard = heard || j%tc.processes == lane%tc.processes
			}
			if !heard {
				missed++
			}
		}
		if missed != unheard || len(count) != tc.publishers {
			t.Errorf("%+v: %d channels without, said to be %d; the lanes have %v", tc, missed, unheard, count)
		}
	}
}

func TestPrint(t *testing.T) {
	latency := &bench.Latency{P50: 0.5, P90: 12.34, P99: 123.4, P999: 1234, Max: 12345}
	r := bench.Result{
		Scenario: bench.Rooms, URLs: []string{"http://a", "http://b"}, Connections: 12345, Channels: 1, Publishers: 2, Processes: 3, Seconds: 9.96,
		Connect: bench.Connects{Opened: 12344, Open: 12344, Failed: 1, PerSecond: 999.5, Latency: latency},
		Publish: &bench.Publishes{Stored: 5, PerSecond: 0.5, Unsent: 1200},
		Deliver: &bench.Deliveries{Received: 1234567, PerSecond: 123456.7, Latency: latency, Lost: 1000, OutOfOrder: 2, Gaps: 1, Gone: 1050},
		Errors:  map[string]int{"connection: closed by the node": 1},
		Node: bench.Node{
			Source: "proc", PIDs: []int{7, 8}, CPU: 1, CPUPerMillion: 0.81,
			Memory: bench.Memory{Kind: "pss", Before: 1 << 20, Peak: 3 << 20, Settled: 2 << 20, PerConnection: 1536},
		},
		Generator: bench.Generator{CPU: 2.5, Busiest: 0.25},
		Warnings:  []string{"be careful"},
	}
	var b strings.Builder
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	const want = `rooms at http://a, http://b
12,345 connections, 1 channel, 2 publishers, 3 processes, 10.0 s

                   count   per second        p50        p90        p99      p99.9        max
connected         12,344        1,000    0.50 ms    12.3 ms     123 ms     1.23 s     12.3 s
published              5            1
delivered      1,234,567      123,457    0.50 ms    12.3 ms     123 ms     1.23 s     12.3 s

messages    1,000 lost, 0 twice, 2 out of order, 1 gaps
gone        1,050, as the node said
unsent      1,200
errors      1
              1 x connection: closed by the node
node        CPU 1.00 s, 0.8 s per million deliveries
            memory 1.0 MiB before, 3.0 MiB peak, 2.0 MiB settled, 1.5 KiB per connection (PSS of process 7, 8)
generator   CPU 2.50 s, 25% of a processor at most

warning: be careful
`
	if got := b.String(); got != want {
		t.Errorf("printed\n%s\nwant\n%s", got, want)
	}
	err := r.Err()
	if !errors.Is(err, bench.ErrFaults) || !strings.HasSuffix(err.Error(), "1,000 messages lost, 2 out of order, 1 history gone, 1 connection failed") {
		t.Errorf("the fault is %v", err)
	}
}

// TestPrintReplay: what is not measured leaves no holes, and a short time is one.
func TestPrintReplay(t *testing.T) {
	r := bench.Result{
		Scenario: bench.Replay, URLs: []string{"http://a"}, Connections: 5, Channels: 1, Publishers: 1, Processes: 1, Seconds: 0.0123,
		Publish: &bench.Publishes{Stored: 101, PerSecond: 1000, Latency: &bench.Latency{}},
		Deliver: &bench.Deliveries{Received: 500, PerSecond: 10_000},
		Replay:  &bench.Replays{Missed: 100, Complete: 5},
	}
	var b strings.Builder
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"1 publisher, 101 messages per channel and all but the first missed, 12.3 ms\n", "delivered            500       10,000\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

// TestProgressKeepsItsColumns: a line that jumps cannot be read.
func TestProgressKeepsItsColumns(t *testing.T) {
	a := bench.Progress{Step: "load", Open: 7, Connections: 1000, ReceivedPerSecond: 5, Remaining: 9 * time.Second}.String()
	b := bench.Progress{Step: "load", Open: 1000, Connections: 1000, ReceivedPerSecond: 123456, StoredPerSecond: 1234, Remaining: 10 * time.Second}.String()
	if len(a) != len(b) || b != "loading     1,000/1,000 open    123,456 deliveries/s    1,234 publishes/s   10 s left" {
		t.Errorf("%q\n%q", a, b)
	}
}
