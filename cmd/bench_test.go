//go:build linux

package cmd_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/cmd"
	"github.com/rivulet-rt/rivulet/cmd/bench"
)

// runBench runs `rivulet bench --json`.
func runBench(t testing.TB, code int, url string, args ...string) bench.Result {
	t.Helper()
	r := run(t, "", nil, append([]string{"bench", "--json", "--url", url}, args...)...).check(t, code)
	var res bench.Result
	if err := json.Unmarshal([]byte(r.out), &res); err != nil {
		t.Fatalf("%v in\n%s\nstderr:\n%s", err, r.out, r.err)
	}
	return res
}

func TestBenchScenarios(t *testing.T) {
	n := startNode(t, devConfig(t))
	for _, tc := range []struct {
		scenario              string
		args                  []string
		open, stored, receive int // stored and received: -1 is some
	}{
		{"idle", []string{"--connections", "7", "--own-channels"}, 7, 0, 0},
		{"connect", []string{"--connections", "20", "--channels", "3", "--rate", "100"}, 20, 0, 0},
		{"fanout", []string{"--connections", "20", "--rate", "50"}, 20, 15, 300},
		{"rooms", []string{"--connections", "20", "--channels", "4", "--rate", "200"}, 20, 60, 300},
		{"rooms", []string{"--connections", "20", "--channels", "4", "--rate", "0", "--processes", "2"}, 20, -1, -1},
		{"publish", []string{"--channels", "8", "--publishers", "4"}, 0, -1, 0},
		{"replay", []string{"--connections", "10", "--channels", "2", "--missed", "5"}, 10, 12, 50},
		{"replay", []string{"--connections", "10", "--channels", "3", "--missed", "5", "--processes", "3"}, 10, 18, 50},
	} {
		t.Run(tc.scenario+strings.Join(tc.args, " "), func(t *testing.T) {
			args := append([]string{"--scenario", tc.scenario}, tc.args...)
			if tc.scenario != "replay" && tc.scenario != "connect" {
				args = append(args, "--duration", "300ms")
			}
			res := runBench(t, 0, n.URL(), args...)
			if res.Connect.Open != tc.open || res.Connect.Failed != 0 || len(res.Errors) != 0 {
				t.Errorf("connections %+v, errors %v", res.Connect, res.Errors)
			}
			if tc.open > 0 && (res.Connect.PerSecond <= 0 || res.Connect.Latency == nil || res.Connect.Latency.Max <= 0) {
				t.Errorf("connecting was not measured: %+v", res.Connect)
			}
			stored, received := 0, 0
			if res.Publish != nil {
				stored = res.Publish.Stored
			}
			if res.Deliver != nil {
				received = res.Deliver.Received
			}
			if tc.stored >= 0 && stored != tc.stored || tc.stored < 0 && stored == 0 {
				t.Errorf("stored %d, want %d", stored, tc.stored)
			}
			if tc.receive >= 0 && received != tc.receive || tc.receive < 0 && received == 0 {
				t.Errorf("received %d, want %d", received, tc.receive)
			}
			if res.Node.Source != "proc" || len(res.Node.PIDs) != 1 || res.Node.PIDs[0] != os.Getpid() || res.Node.Memory.Settled <= 0 {
				t.Errorf("the node is this process and was measured as %+v", res.Node)
			}
			if tc.scenario == "replay" && (res.Replay.Complete != tc.open || res.Replay.Latency == nil || res.Deliver.PerSecond <= 0) {
				t.Errorf("replay %+v, deliveries %+v", res.Replay, res.Deliver)
			}
			if received > 0 && tc.scenario != "replay" && (res.Deliver.Latency == nil || res.Deliver.Latency.P50 > res.Deliver.Latency.Max) {
				t.Errorf("latency %+v", res.Deliver.Latency)
			}
		})
	}
}

// TestBenchReplayOfWhatIsGone: what the log has dropped is neither lost nor delivered.
func TestBenchReplayOfWhatIsGone(t *testing.T) {
	cfg := devConfig(t)
	cfg.Namespaces = map[string]cmd.NamespaceConfig{"default": {MaxPerChannel: 50, MaxBytes: 256 << 20}}
	n := startNode(t, cfg)
	r := run(t, "", nil, "bench", "--json", "--url", n.URL(), "--scenario", "replay", "--connections", "4", "--channels", "2", "--missed", "100").
		check(t, 1, "4 histories gone")
	var res bench.Result
	if err := json.Unmarshal([]byte(r.out), &res); err != nil {
		t.Fatal(err)
	}
	if d := res.Deliver; d.Received < 200 || d.Gone == 0 || d.Received+d.Gone != 400 || d.Lost != 0 || d.Gaps != 4 || res.Replay.Complete != 0 {
		t.Errorf("deliveries %+v, %d complete; want 50 or a few more of 100 for each of 4, and the others gone", *d, res.Replay.Complete)
	}
	if !strings.Contains(strings.Join(res.Warnings, "\n"), "does not keep --missed 100 messages of a channel; raise the namespace's max_per_channel") {
		t.Errorf("nothing says what to do: %q", res.Warnings)
	}
}

func TestBenchNoticesFaults(t *testing.T) {
	held := map[string][]byte{}
	for _, tc := range []struct {
		name    string
		deliver func(offset int, event []byte, write func([]byte))
		want    func(d *bench.Deliveries) bool
		inErr   string
	}{
		{"right", nil, func(d *bench.Deliveries) bool { return d.Lost+d.Duplicate+d.OutOfOrder == 0 }, ""},
		{"drops", func(offset int, event []byte, write func([]byte)) {
			if offset != 3 {
				write(event)
			}
		}, func(d *bench.Deliveries) bool { return d.Lost == 2 }, "2 messages lost"},
		{"drops all from one on", func(offset int, event []byte, write func([]byte)) {
			if offset < 28 {
				write(event)
			}
		}, func(d *bench.Deliveries) bool { return d.Lost == 6 }, "6 messages lost"},
		{"repeats", func(offset int, event []byte, write func([]byte)) {
			write(event)
			if offset == 5 {
				write(event)
			}
		}, func(d *bench.Deliveries) bool { return d.Duplicate == 2 }, "2 came twice"},
		{"swaps", func(offset int, event []byte, write func([]byte)) {
			switch offset {
			case 6:
				held["6"] = event
				return
			case 7:
				write(event)
				write(held["6"])
				return
			}
			write(event)
		}, func(d *bench.Deliveries) bool { return d.OutOfOrder == 2 }, "2 out of order"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			url := startFake(t, tc.deliver)
			code := 1
			if tc.inErr == "" {
				code = 0
			}
			args := []string{"bench", "--json", "--url", url, "--scenario", "fanout", "--connections", "2", "--rate", "100", "--duration", "300ms"}
			r := run(t, "", nil, args...).check(t, code, tc.inErr)
			var res bench.Result
			if err := json.Unmarshal([]byte(r.out), &res); err != nil {
				t.Fatal(err)
			}
			if !tc.want(res.Deliver) || res.Publish.Stored != 30 {
				t.Errorf("deliveries %+v of %+v", res.Deliver, res.Publish)
			}
		})
	}
}

func TestBenchNoticesWhatFails(t *testing.T) {
	url := startFake(t, func(offset int, event []byte, write func([]byte)) {
		if offset == 4 {
			write([]byte(`{"disconnect":{"code":4000,"reason":"node is shutting down"}}`))
			return
		}
		write(event)
	})
	res := runBench(t, 1, url, "--scenario", "fanout", "--connections", "3", "--rate", "50", "--duration", "300ms")
	if res.Connect.Failed != 3 || res.Connect.Open != 0 || res.Errors["connection: 4000 node is shutting down"] != 3 {
		t.Errorf("connections %+v, errors %v", res.Connect, res.Errors)
	}
}

// TestBenchSaysWhatWasNotSent: a publish of unknown outcome ends a channel, and all that
// was due on it after that is said.
func TestBenchSaysWhatWasNotSent(t *testing.T) {
	answers := &fakeNode{status: func(offset int) int {
		if offset == 5 {
			return http.StatusGatewayTimeout
		}
		return http.StatusCreated
	}}
	args := []string{"--scenario", "fanout", "--connections", "2", "--rate", "100", "--duration", "300ms"}
	res := runBench(t, 1, answers.start(t), args...)
	if p := res.Publish; p.Stored != 4 || p.Failed != 1 || p.Unsent != 25 || p.Abandoned != 1 {
		t.Errorf("publishes %+v", p)
	}
	r := run(t, "", nil, append([]string{"bench", "--url", answers.start(t)}, args...)...).check(t, 1, "1 publish failed")
	for _, want := range []string{"\nunsent      25\n", "warning: on 1 of 1 channel, after a publish", "1 x publish: status 504 Gateway Timeout"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
	}
}

// TestBenchOutlivesTheNode: a node that stops in the middle of a run ends it with
// a result, and not never.
func TestBenchOutlivesTheNode(t *testing.T) {
	n := startNode(t, devConfig(t))
	_, sub := subscribe(t, n, "bench.>", rivulet.SubscribeOptions{})
	var res bench.Result
	var wg sync.WaitGroup
	wg.Go(func() {
		res = runBench(t, 1, n.URL(), "--connections", "8", "--channels", "8", "--rate", "40", "--duration", "2s")
	})
	receive(t, sub, 8)
	stopNode(t, n)
	wg.Wait()
	if res.Connect.Failed != 8 || res.Publish == nil || res.Publish.Failed == 0 {
		t.Errorf("connections %+v, publishes %+v", res.Connect, res.Publish)
	}
}

// TestBenchIdleEndsWithTheNode: what holds no connection any more is over.
func TestBenchIdleEndsWithTheNode(t *testing.T) {
	n := startNode(t, devConfig(t))
	var res bench.Result
	var wg sync.WaitGroup
	wg.Go(func() { res = runBench(t, 1, n.URL(), "--scenario", "idle", "--connections", "8", "--duration", "1h") })
	deadline := time.Now().Add(10 * time.Second)
	for look := range time.Tick(10 * time.Millisecond) {
		if strings.Contains(get(t, n.URL()+"/metrics"), `rivulet_session_connections{transport="websocket"} 8`) || look.After(deadline) {
			break
		}
	}
	stopNode(t, n)
	wg.Wait()
	if res.Connect.Failed != 8 || res.Seconds > 60 || res.Errors["connection: 4000 node is shutting down"] != 8 {
		t.Errorf("connections %+v, errors %v, %v s", res.Connect, res.Errors, res.Seconds)
	}
}

// TestBenchSaysWhatIsRefused: what the node takes too little of is said once, by name.
func TestBenchSaysWhatIsRefused(t *testing.T) {
	n := startNode(t, devConfig(t))
	r := run(t, "", at(n), "bench", "--payload", "300KiB").check(t, 1, "--payload 300KiB: is more than the namespace takes (status 413")
	if strings.Count(r.err, "\n") != 1 {
		t.Errorf("not one line: %q", r.err)
	}
	long := writeFile(t, "long", `"`+strings.Repeat("x", 300<<10)+`"`)
	run(t, "", at(n), "bench", "--events", long).check(t, 1, "--events "+long+": its first line is more than the namespace takes")
}

func TestBenchTokens(t *testing.T) {
	cfg := devConfig(t)
	const secret = "0123456789abcdef0123456789abcdef"
	loaded, err := cmd.Load(cmd.Sources{Environ: []string{"RIVULET_AUTH_HMAC_SECRET=" + secret}})
	if err != nil {
		t.Fatal(err)
	}
	loaded.Server.Listen, loaded.Broker = "127.0.0.1:0", cfg.Broker
	n := startNode(t, loaded)
	small := []string{"--connections", "4", "--channels", "2", "--duration", "200ms", "--rate", "50"}
	res := runBench(t, 0, n.URL(), append(small, "--token-secret", secret)...)
	if res.Deliver.Received != 20 {
		t.Errorf("received %d, want 20", res.Deliver.Received)
	}
	bad := func(want string, environ []string, args ...string) {
		t.Helper()
		r := run(t, "", environ, append(append([]string{"bench", "--url", n.URL()}, small...), args...)...).check(t, 1, want)
		if r.out != "" || strings.Contains(r.err, secret) {
			t.Errorf("printed %s\n%s", r.out, r.err)
		}
	}
	bad("4401 token missing", nil)
	bad("give --token, or --token-secret", nil)
	bad("does not accept the token", []string{"RIVULET_AUTH_HMAC_SECRET=" + strings.Repeat("x", 32)})
	token := func(allow string) string {
		return strings.TrimSpace(run(t, "", []string{"RIVULET_AUTH_HMAC_SECRET=" + secret}, "token", "--sub", "ann", "--allow", allow).check(t, 0).out)
	}
	bad("must allow subscribe and publish on default:bench.>", nil, "--token", token("default:bench.>=subscribe"))
	run(t, "", nil, append([]string{"bench", "--url", n.URL(), "--token", token("default:bench.>=subscribe,publish")}, small...)...).check(t, 0)
}

func TestBenchEvents(t *testing.T) {
	n := startNode(t, devConfig(t))
	plain := writeFile(t, "events.ndjson", "{\"a\": 1}\n\n[1, 2]\n{}\n\"text\"\n")
	zipped := filepath.Join(t.TempDir(), "events.gz")
	f, err := os.Create(zipped)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	_, _ = z.Write([]byte("{\"b\":2}\n"))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	for _, file := range []string{plain, zipped} {
		res := runBench(t, 0, n.URL(), "--events", file, "--connections", "2", "--channels", "2", "--duration", "200ms", "--rate", "100")
		if res.Deliver.Received != 20 {
			t.Errorf("%s: received %d, want 20", file, res.Deliver.Received)
		}
	}
	run(t, "", at(n), "bench", "--events", "/absent").check(t, cmd.ExitUsage, "--events: open /absent")
	run(t, "", at(n), "bench", "--events", writeFile(t, "bad", "{}\nnope\n")).check(t, cmd.ExitUsage, "line 2: ", "must be one JSON value")
	run(t, "", at(n), "bench", "--events", writeFile(t, "empty", "\n")).check(t, cmd.ExitUsage, "--events ", "no line in it is a message; write a JSON value per line")
}

// TestBenchInterrupted: Ctrl-C ends the run and prints what it has.
func TestBenchInterrupted(t *testing.T) {
	n := startNode(t, devConfig(t))
	_, sub := subscribe(t, n, "bench.>", rivulet.SubscribeOptions{})
	for _, processes := range []string{"1", "2"} {
		ctx, cancel := context.WithCancel(testContext(t))
		out, stderr := newBuffer(), newBuffer()
		var wg sync.WaitGroup
		code := 0
		wg.Go(func() {
			args := []string{"bench", "--url", n.URL(), "--connections", "4", "--channels", "2", "--duration", "1h", "--processes", processes}
			code = cmd.Main(ctx, args, cmd.Streams{Out: out, Err: stderr})
		})
		receive(t, sub, 20)
		cancel()
		wg.Wait()
		if text := out.String(); code != 0 || !strings.Contains(text, "interrupted") || !strings.Contains(text, "0 lost, 0 twice, 0 out of order") {
			t.Errorf("exit %d, printed\n%s\n%s", code, text, stderr.String())
		}
	}
}

func TestBenchUsage(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"scenario", []string{"--scenario", "x"}, `--scenario "x": must be fanout, rooms`},
		{"no connections", []string{"--connections", "0"}, "--connections 0: must be from 1"},
		{"channels", []string{"--channels", "-1"}, "--channels -1: must be from 1"},
		{"more channels than connections", []string{"--connections", "5", "--channels", "6"}, "--channels 6: is more than --connections 5"},
		{"rate", []string{"--rate", "-1"}, "--rate -1: must be from 0"},
		{"publishers", []string{"--publishers", "0"}, "--publishers 0: must be from 1"},
		{"more publishers than channels", []string{"--channels", "2", "--publishers", "3"}, "--publishers 3: must be at most --channels 2"},
		{"payload", []string{"--payload", "10"}, "--payload 10: must be from 64"},
		{"payload in the user's unit", []string{"--payload", "2000KiB"}, "--payload 2000KiB: must be from 64"},
		{"namespace", []string{"--namespace", "BAD"}, `--namespace "BAD" may only have a-z`},
		{"no number", []string{"--connections", "abc"}, `--connections "abc": must be a whole number; see`},
		{"a rate that is none", []string{"--rate", "fast"}, `--rate "fast": must be a number; see`},
		{"a large number", []string{"--channels", "99999999999999999999"}, "--channels 99999999999999999999: is too large; see"},
		{"a span that is none", []string{"--duration", "soon"}, `--duration: "soon" is not a span of time`},
		{"own channels of nobody", []string{"--scenario", "publish", "--own-channels"}, "--own-channels: means nothing to --scenario publish; it is for idle, fanout"},
		{"own channels and so many", []string{"--own-channels", "--channels", "5"}, "--own-channels and --channels exclude each other"},
		{"own channels, more publishers", []string{"--own-channels", "--connections", "2", "--publishers", "3"}, "--publishers 3: must be at most --connections 2"},
		{"missed live", []string{"--missed", "5"}, "--missed: means nothing to --scenario rooms; it is for replay"},
		{"the rate of nothing", []string{"--scenario", "idle", "--rate", "5"}, "--rate: means nothing to --scenario idle"},
		{"the duration of a replay", []string{"--scenario", "replay", "--duration", "5s"}, "--duration: means nothing to --scenario replay"},
		{"data of nothing", []string{"--scenario", "connect", "--payload", "100"}, "--payload: means nothing to --scenario connect"},
		{"two sizes", []string{"--events", "x", "--payload", "100"}, "--events and --payload exclude each other"},
		{"duration", []string{"--duration", "0s"}, "--duration 0s: must be above 0"},
		{"missed", []string{"--scenario", "replay", "--missed", "0"}, "--missed 0: must be from 1"},
		{"processes", []string{"--processes", "0"}, "--processes 0: must be from 1"},
		{"too many processes", []string{"--connections", "2", "--channels", "2", "--processes", "3"}, "--processes 3: is more than there are connections"},
		{"secret", []string{"--token-secret", "short"}, "--token-secret: "},
		{"both tokens", []string{"--token", "x", "--token-secret", "y"}, "exclude each other"},
		{"pid", []string{"--pid", "-1"}, "--pid -1"},
		{"https", []string{"--url", "https://127.0.0.1:1"}, "must begin with http://"},
		{"path", []string{"--url", "http://127.0.0.1:1/x"}, "must have no path"},
		{"no host", []string{"--url", "localhost"}, `--url "localhost": write for example`},
		{"files", []string{"--connections", "9999999", "--url", "http://127.0.0.1:1"}, "file descriptors and the limit is"},
		{"arguments", []string{"x"}, `bench takes no arguments, got "x"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			run(t, "", nil, append([]string{"bench"}, tc.args...)...).check(t, cmd.ExitUsage, tc.want)
		})
	}
	run(t, "", nil, "bench", "--url", "http://127.0.0.1:1").check(t, 1, "node not reachable: --url http://127.0.0.1:1:")
}
