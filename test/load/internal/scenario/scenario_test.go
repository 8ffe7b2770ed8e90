//go:build linux

package scenario_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rivulet-rt/rivulet/test/load/internal/scenario"
)

// binaries are built once, for all tests.
type binaries struct {
	dir   string
	build func() error
}

var built binaries // by TestMain

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "rivulet-load-test-")
	if err != nil {
		panic(err)
	}
	built = binaries{dir: dir, build: sync.OnceValue(func() error {
		out, err := exec.Command("go", "build", "-o", dir, "../../../../cmd/rivulet", "../../../limit", "../..", "github.com/nats-io/nats-server/v2").CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
		return err
	})}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// small is everything that a scenario does, with little of it.
func small(t *testing.T) scenario.Config {
	t.Helper()
	if err := built.build(); err != nil {
		t.Fatalf("build: %v", err)
	}
	return scenario.Config{
		Node: filepath.Join(built.dir, "rivulet"), Limit: filepath.Join(built.dir, "limit"),
		NATS: filepath.Join(built.dir, "nats-server"), Self: []string{filepath.Join(built.dir, "load")},
		Events: "../../../testdata/commits-sample.ndjson.gz", Log: t.Output(),
		Sizes: scenario.Sizes{
			PublishConnections: []int{1, 4}, PublishFor: 100 * time.Millisecond,
			FanoutSubscribers: 20, FanoutSingles: 3, FanoutBurst: 10, FanoutPerSecond: 50, FanoutFor: 100 * time.Millisecond,
			Rooms: 8, RoomSize: 3, RoomsPerSecond: 100, RoomsFor: 100 * time.Millisecond,
			ConflateSubscribers: 20, ConflateKeys: 30, ConflatePerSecond: 300, ConflateRate: 5, ConflateFor: 300 * time.Millisecond,
			IdleConnections: 20, IdleSettle: 50 * time.Millisecond,
			ConnectConnections: 40, ConnectWindow: 8,
			CrowdNodes: 2, CrowdConnections: 10, CrowdMessages: 1,
			Sessions: []int{20}, GroupMessages: 200, SessionsSettle: 10 * time.Millisecond,
			StormClients: 40, StormChannels: 4, StormMissed: 20, StormLive: 100,
			PresenceMembers: 30,
			WebhookEvents:   200, WebhookSingles: 3,
		},
	}
}

// TestScenarios: every scenario runs, each case gives its figures, and no message
// is lost, comes twice or out of order.
func TestScenarios(t *testing.T) {
	for _, test := range []struct {
		name  string
		cases int
		every string // a figure that every row has, above zero
	}{
		{"publish", 4, "publishes/s"},
		{"latency", 2, "p99 ms"},
		{"fanout", 5, "deliveries/s"},
		{"rooms", 1, "deliveries/s"},
		{"connect", 1, "connects/s"},
		{"storm", 7, "all complete ms"},
		{"sessions", 2, "sessions per GB"},
		{"groups", 2, "acknowledged/s"},
		{"presence", 4, "joins/s"},
		{"webhooks", 3, "events/s"},
		{"conflate", 3, "deliveries/s"},
		{"idle", 2, "node MB without"},
		{"crowd", 1, "deliveries"},
	} {
		t.Run(test.name, func(t *testing.T) {
			rows, err := scenario.Run(t.Context(), test.name, small(t))
			if err != nil {
				t.Fatal(err)
			}
			if len(rows) != test.cases {
				t.Errorf("%d rows, want %d: %v", len(rows), test.cases, rows)
			}
			for _, row := range rows {
				figures := map[string]float64{}
				for _, m := range row.Metrics {
					figures[m.Name] = m.Value
				}
				if figures[test.every] <= 0 {
					t.Errorf("%s: %q is %v, want more than 0", row.Case, test.every, figures[test.every])
				}
				if sum := figures["lost"] + figures["twice"] + figures["out of order"]; sum != 0 {
					t.Errorf("%s: %v messages lost, twice or out of order", row.Case, sum)
				}
			}
		})
	}
}

func TestRunRefuses(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(c *scenario.Config)
		run    string
		want   string
	}{
		{"unknown scenario", func(*scenario.Config) {}, "flood", "publish, latency, fanout, rooms, connect, storm"},
		{"missing events", func(c *scenario.Config) { c.Events = "nowhere.gz" }, "publish", "nowhere.gz"},
		{"url of another kind", func(c *scenario.Config) { c.URL = "https://localhost" }, "publish", `"https://localhost"`},
		{"a program that is no node", func(c *scenario.Config) { c.Node = "/bin/true" }, "publish", "/bin/true ended"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := small(t)
			test.change(&cfg)
			_, err := scenario.Run(t.Context(), test.run, cfg)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		cfg := small(t)
		cfg.URL = "http://127.0.0.1:1"
		if _, err := scenario.Run(t.Context(), "publish", cfg); err == nil {
			t.Error("no error")
		}
	})
}

func TestMedians(t *testing.T) {
	row := func(name string, value float64) scenario.Row {
		return scenario.Row{Scenario: "s", Case: name, Metrics: []scenario.Metric{{Name: "x", Value: value}}}
	}
	got := scenario.Medians([]scenario.Row{row("a", 5), row("b", 1), row("a", 1), row("b", 2), row("a", 3)})
	if len(got) != 2 || got[0].Metrics[0].Value != 3 || got[1].Metrics[0].Value != 1.5 {
		t.Errorf("medians %v, want 3 of a and 1.5 of b", got)
	}
}

func TestWriteTables(t *testing.T) {
	rows := []scenario.Row{
		{"s", "a", []scenario.Metric{{"x/s", 1234567.8}, {"y", 0}}},
		{"s", "b", []scenario.Metric{{"x/s", 12.34}, {"y", 0.126}}},
		{"t", "c", []scenario.Metric{{"z", 456.7}}},
	}
	var b strings.Builder
	scenario.WriteTables(&b, rows)
	const want = `
| s | x/s | y |
| --- | ---: | ---: |
| a | 1,234,568 | 0 |
| b | 12.3 | 0.13 |

| t | z |
| --- | ---: |
| c | 457 |
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}
