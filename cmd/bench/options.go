package bench

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
)

// ErrPlatform is the end elsewhere: the load generator drives its sockets by epoll.
var ErrPlatform = errors.New("bench: the load generator needs Linux; run it there, against a node anywhere")

// ErrOptions marks what is wrong with Options.
var ErrOptions = errors.New("bench: options")

// Scenario is what is done to the nodes.
type Scenario string

// The scenarios.
const (
	Idle    Scenario = "idle"    // connections that receive nothing
	Fanout  Scenario = "fanout"  // few channels, many subscribers each
	Rooms   Scenario = "rooms"   // many channels, some subscribers each
	Publish Scenario = "publish" // nobody is subscribed
	Replay  Scenario = "replay"  // all come back at once and missed something
	Connect Scenario = "connect" // all connect at once
)

// Scenarios are all there are.
func Scenarios() []Scenario { return []Scenario{Idle, Fanout, Rooms, Publish, Replay, Connect} }

// Options are the load.
type Options struct {
	URLs        []string      `json:"urls"`
	Scenario    Scenario      `json:"scenario"`
	Connections int           `json:"connections"`
	Channels    int           `json:"channels"`
	OwnChannels bool          `json:"own_channels"` // each connection has one: Channels is Connections
	Rate        float64       `json:"rate"`         // messages a second; connections with Connect; 0 is all at once
	Publishers  int           `json:"publishers"`   // HTTP connections
	Payload     int           `json:"payload"`      // bytes of data
	PayloadText string        `json:"-"`            // Payload as the user wrote it, for errors; "" is the number
	Events      string        `json:"events"`       // file with data instead
	Duration    time.Duration `json:"duration"`
	Missed      int           `json:"missed"` // messages of each channel, with Replay
	Processes   int           `json:"processes"`
	Namespace   string        `json:"namespace"`
	Token       string        `json:"token"`
	// TokenSecret signs a token for every connection, each for another subject.
	TokenSecret string `json:"token_secret"`
	PID         int    `json:"pid"` // of the node; 0 finds it

	// Worker is the command line that runs Work on its stdin and stdout. Without
	// one, all workers run in this process.
	Worker []string  `json:"-"`
	Stderr io.Writer `json:"-"` // of the workers
	// OnProgress, if set, is called several times a second.
	OnProgress func(Progress) `json:"-"`
}

// Progress is how far a run has come.
type Progress struct {
	Step               string
	Open, Connections  int
	Received, Stored   int
	ReceivedPerSecond  float64
	StoredPerSecond    float64
	Elapsed, Remaining time.Duration
}

// Defaults are the sizes of a scenario where the user names none.
func Defaults(s Scenario) Options {
	o := Options{
		Scenario: s, Connections: 1000, Channels: 100, Publishers: 16, Payload: 250, Missed: 100,
		Duration: 10 * time.Second, Processes: 1, Namespace: "default",
	}
	switch s {
	case Fanout:
		o.Channels, o.Publishers, o.Rate = 1, 1, 10
	case Rooms:
		o.Rate = 500
	case Publish:
		o.Connections, o.Channels = 0, 1000
	case Replay:
		o.Channels = 1
	case Idle, Connect:
	}
	return o
}

// Publishes reports whether the scenario publishes at all.
func (s Scenario) Publishes() bool { return s != Idle && s != Connect }

// live reports whether messages are published while subscribers listen.
func (s Scenario) live() bool { return s == Fanout || s == Rooms || s == Publish }

// uses reports whether a flag means anything to the scenario.
func (s Scenario) uses(flag string) bool {
	switch flag {
	case "connections", "own-channels":
		return s != Publish
	case "rate":
		return s.live() || s == Connect
	case "duration":
		return s.live() || s == Idle
	case "publishers", "payload", "events":
		return s.Publishes()
	case "missed":
		return s == Replay
	}
	return true
}

// Chosen refuses what the user named and would not get: chosen reports whether a flag
// was. It wraps ErrOptions.
func (o *Options) Chosen(chosen func(flag string) bool) error {
	for _, flag := range []string{"connections", "own-channels", "rate", "duration", "publishers", "payload", "events", "missed"} {
		if !chosen(flag) || o.Scenario.uses(flag) {
			continue
		}
		var of []string
		for _, s := range Scenarios() {
			if s.uses(flag) {
				of = append(of, string(s))
			}
		}
		return wrong("--%s: means nothing to --scenario %s; it is for %s", flag, o.Scenario, strings.Join(of, ", "))
	}
	switch {
	case o.OwnChannels && chosen("channels"):
		return wrong("--own-channels and --channels exclude each other: with the first, every connection has a channel of its own")
	case chosen("events") && chosen("payload"):
		return wrong("--events and --payload exclude each other: the lines of the file have their own sizes")
	}
	return nil
}

// Fit makes what was not chosen fit what was.
func (o *Options) Fit(chosen func(flag string) bool) {
	if o.OwnChannels {
		o.Channels = o.Connections
	}
	if o.Connections > 0 && o.Channels > o.Connections && !chosen("channels") {
		o.Channels = o.Connections
	}
	if o.Publishers > o.Channels && !chosen("publishers") {
		o.Publishers = o.Channels
	}
	if o.Scenario == Publish {
		o.Connections = 0
	}
}

// Bounds of what a run is meant for.
const (
	MaxProcesses = 256
	maxPayload   = 1 << 20
	minPayload   = 64 // the stamp and an empty text
)

// Validate reports the first problem, naming the flag. It wraps ErrOptions.
func (o *Options) Validate() error {
	if !slices.Contains(Scenarios(), o.Scenario) {
		names := fmt.Sprint(Scenarios())
		return wrong("--scenario %q: there are %s", o.Scenario, strings.Trim(names, "[]"))
	}
	if len(o.URLs) == 0 {
		return wrong("--url: is missing")
	}
	if err := o.validateCounts(); err != nil {
		return err
	}
	switch {
	case o.Rate < 0 || o.Rate > 1e7:
		return wrong("--rate %v: must be from 0 (as fast as possible) to 10,000,000", o.Rate)
	case o.Duration <= 0:
		return wrong("--duration %v: must be above 0", o.Duration)
	case o.Payload < minPayload || o.Payload > maxPayload:
		return wrong("--payload %s: must be from %d bytes (each message has its number and time) to 1MiB", o.payload(), minPayload)
	case o.Token != "" && o.TokenSecret != "":
		return wrong("--token and --token-secret exclude each other: one token for all, or one for each")
	case o.PID < 0:
		return wrong("--pid %d: must be a process", o.PID)
	}
	if err := fanout.CheckNamespace(o.Namespace); err != nil {
		return wrong("--namespace %s", err.Problem)
	}
	if o.TokenSecret != "" {
		if err := o.hmac().Validate(); err != nil {
			return wrong("--token-secret: %w", err)
		}
	}
	return nil
}

// payload is the size of a message as the user knows it.
func (o *Options) payload() string {
	if o.PayloadText != "" {
		return o.PayloadText
	}
	return strconv.Itoa(o.Payload)
}

func (o *Options) validateCounts() error {
	channels := fmt.Sprintf("--channels %d", o.Channels)
	if o.OwnChannels {
		channels = fmt.Sprintf("--connections %d", o.Connections)
	}
	switch {
	case o.Scenario != Publish && (o.Connections < 1 || o.Connections > 10_000_000):
		return wrong("--connections %d: must be from 1 to 10,000,000", o.Connections)
	case o.Channels < 1 || o.Channels > 10_000_000:
		return wrong("--channels %d: must be from 1 to 10,000,000", o.Channels)
	case o.Scenario != Publish && o.Channels > o.Connections:
		return wrong("--channels %d: is more than --connections %d, so some channels would have no subscriber", o.Channels, o.Connections)
	case o.Scenario.Publishes() && (o.Publishers < 1 || o.Publishers > 10_000):
		return wrong("--publishers %d: must be from 1 to 10,000", o.Publishers)
	case o.Scenario.Publishes() && o.Publishers > o.Channels:
		return wrong("--publishers %d: must be at most %s: one connection publishes each channel, so that its order can be checked", o.Publishers, channels)
	case o.Scenario == Replay && (o.Missed < 1 || o.Missed > 1_000_000):
		return wrong("--missed %d: must be from 1 to 1,000,000", o.Missed)
	case o.Processes < 1 || o.Processes > MaxProcesses:
		return wrong("--processes %d: must be from 1 to %d", o.Processes, MaxProcesses)
	case o.Processes > max(o.Connections, o.Publishers):
		return wrong("--processes %d: is more than there are connections to share out", o.Processes)
	}
	return nil
}

func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrOptions, fmt.Errorf(format, args...))
}

func (o *Options) hmac() auth.HMACConfig {
	cfg := auth.DefaultConfig().HMAC
	cfg.Secret = auth.NewSecret(o.TokenSecret)
	return cfg
}

// tokenLife outlasts any run.
const tokenLife = 24 * time.Hour

// token returns what a connection authenticates with.
func (o *Options) token(subject string) (string, error) {
	if o.TokenSecret == "" {
		return o.Token, nil
	}
	caps, err := auth.NewCapabilities(map[string][]auth.Action{
		o.Namespace + ":bench.>": {"subscribe", "publish", "history"},
	})
	if err != nil {
		return "", wrong("--namespace %q: %w", o.Namespace, err)
	}
	return auth.Mint(o.hmac(), auth.Claims{Subject: subject, ExpiresAt: time.Now().Add(tokenLife), Capabilities: caps})
}
