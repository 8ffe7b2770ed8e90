//go:build linux

package scenario

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Config says what to run, and how large.
type Config struct {
	// Node and Limit are paths of the binaries ./cmd/rivulet and ./test/limit.
	Node, Limit string
	// NATS is the path of a nats-server binary, for several nodes.
	NATS string
	// Self is the command that runs Worker in another process: a generator's share of
	// more connections than one process may have.
	Self []string
	// URL is a node that runs already, instead of Node; its processor time cannot be
	// told then, and it is not restarted.
	URL string
	// Sync is the node's --sync, "" for its default.
	Sync string
	// NATSURL, if set, is the node's --nats-url.
	NATSURL string
	// Presence gives the node's namespace presence; a node that runs open has it anyway.
	Presence bool
	// Secret, if set, is what the node's tokens are signed with; else it runs open.
	Secret string
	// SessionStore, if set, is the namespace's session_store.
	SessionStore string
	// Limits, if set, is a key of the configuration and its value: "limits.commands=10".
	Limits string
	// FloodRate, if set, is the publish_rate of the namespace that is flooded.
	FloodRate int
	// Webhook, if set, is the node's only one, in YAML.
	Webhook string
	// Ways are those in which the abusive client of abuse and bulkhead is so, nil for all.
	Ways []string
	// Events is a gzipped file of JSON objects, one per line, that messages are made of.
	Events string
	Log    io.Writer // what is being done, a line each
	Sizes  Sizes
}

// Sizes are how large the loads are.
type Sizes struct {
	PublishConnections []int
	PublishFor         time.Duration

	FanoutSubscribers int // of one channel
	FanoutSingles     int // messages, each published when the one before has reached everybody
	FanoutBurst       int // messages published as fast as possible
	FanoutPerSecond   int // messages per second when paced
	FanoutFor         time.Duration

	Rooms          int // channels
	RoomSize       int // subscribers of each, every one a connection of its own
	RoomsPerSecond int // messages per second, over all channels, when paced
	RoomsFor       time.Duration

	ConflateSubscribers int // of one channel
	ConflateKeys        int // of its messages
	ConflatePerSecond   int // messages
	ConflateRate        int // of each subscriber, where it has one
	ConflateFor         time.Duration

	IdleConnections int
	// IdleSettle is until memory is measured again. Nobody asks the node to collect its
	// garbage: Go does so every two minutes, and gives pages back meanwhile.
	IdleSettle time.Duration

	ConnectConnections int
	ConnectWindow      int // handshakes under way at once

	CrowdNodes       int // processes, with a generator process each
	CrowdConnections int // of each
	CrowdMessages    int // to all, one per second

	Sessions []int // durable sessions, each with a channel of its own
	// SessionsSettle is until their memory is measured.
	SessionsSettle time.Duration

	GroupMessages int // that wait for a group's members

	StormClients  int
	StormChannels int // of the variant with several
	StormMissed   int // messages of each channel
	StormLive     int // messages per second meanwhile, of the variant with live messages

	AbuseRooms     int // channels of the clients that are not abusive
	AbuseRoom      int // subscribers of each
	AbusePerSecond int // messages, over all
	AbuseFor       time.Duration

	PresenceMembers int // connections that join one channel at once

	WebhookEvents  int // that wait for a webhook when it begins to take them
	WebhookSingles int // messages, each published when the one before has arrived
}

// DefaultSizes are those of docs/performance.md.
func DefaultSizes() Sizes {
	return Sizes{
		PublishConnections: []int{1, 16, 64}, PublishFor: 2500 * time.Millisecond,
		FanoutSubscribers: 5000, FanoutSingles: 50, FanoutBurst: 200, FanoutPerSecond: 10, FanoutFor: 3 * time.Second,
		Rooms: 1000, RoomSize: 10, RoomsPerSecond: 500, RoomsFor: 3 * time.Second,
		ConflateSubscribers: 1000, ConflateKeys: 1000, ConflatePerSecond: 5000, ConflateRate: 2, ConflateFor: 5 * time.Second,
		IdleConnections: 10_000, IdleSettle: 4*time.Minute + 20*time.Second,
		ConnectConnections: 10_000, ConnectWindow: 256,
		CrowdNodes: 6, CrowdConnections: 16_700, CrowdMessages: 5,
		Sessions: []int{1000, 10_000}, GroupMessages: 50_000, SessionsSettle: 10 * time.Second,
		StormClients: 2000, StormChannels: 20, StormMissed: 100, StormLive: 100,
		AbuseRooms: 50, AbuseRoom: 4, AbusePerSecond: 200, AbuseFor: 10 * time.Second,
		PresenceMembers: 5000,
		WebhookEvents:   50_000, WebhookSingles: 100,
	}
}

// Metric is one figure.
type Metric struct {
	Name  string  `json:"name"` // with its unit
	Value float64 `json:"value"`
}

// Row is what one case of a scenario gave.
type Row struct {
	Scenario string   `json:"scenario"`
	Case     string   `json:"case"`
	Metrics  []Metric `json:"metrics"`
}

func (r *Row) add(name string, value float64) {
	r.Metrics = append(r.Metrics, Metric{name, value})
}

type scenario struct {
	name string
	run  func(ctx context.Context, cfg Config) ([]Row, error)
}

func all() []scenario {
	return []scenario{
		{"publish", publish},
		{"latency", latency},
		{"fanout", fanout},
		{"rooms", rooms},
		{"connect", connect},
		{"storm", storm},
		{"sessions", sessions},
		{"groups", groups},
		{"presence", presence},
		{"webhooks", webhooks},
		{"conflate", conflate},
		{"abuse", abuse},
		{"bulkhead", bulkhead},
		{"idle", idle},
		{"crowd", crowd},
	}
}

// Names are the scenarios there are.
func Names() []string {
	var names []string
	for _, s := range all() {
		names = append(names, s.name)
	}
	return names
}

// Usual are those without the ones that take minutes or fill the machine.
func Usual() []string { return Names()[:len(all())-4] }

// Run runs a scenario once. The rows so far come with the error, if there is one.
func Run(ctx context.Context, name string, cfg Config) ([]Row, error) {
	list := all()
	i := slices.IndexFunc(list, func(s scenario) bool { return s.name == name })
	if i < 0 {
		return nil, fmt.Errorf("scenario: there is no %q; there are %s", name, strings.Join(Names(), ", "))
	}
	rows, err := list[i].run(ctx, cfg)
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return rows, err
}

func (c Config) logf(format string, args ...any) { fmt.Fprintf(c.Log, format+"\n", args...) }
