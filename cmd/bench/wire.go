package bench

import (
	"net/netip"
	"strconv"
)

// What Run and its workers say to each other: a line of JSON each. Run begins with
// a spec, then one order per step, which the worker answers with a report.

// Steps of a run.
const (
	stepConnect = "connect"
	stepPublish = "publish" // before anybody is connected
	stepLoad    = "load"
	stepDrain   = "drain" // wait for what is under way
	stepEnd     = "end"
	stepStop    = "stop" // no step: makes the others end early
)

type spec struct {
	Options Options
	Index   int    // of the worker
	Run     string // names the channels, so that each run has new ones
	Nodes   []node
}

// node is where a URL leads.
type node struct {
	Address netip.AddrPort
	Host    string
}

type order struct {
	Step string `json:"step"`
	// By channel: the number of the last message, and where the replay begins.
	Finals    []uint64 `json:"finals,omitempty"`
	Positions []string `json:"positions,omitempty"`
}

type report struct {
	Step      string    `json:"step,omitempty"` // that is done; "" is progress alone
	Error     string    `json:"error,omitempty"`
	Progress  counts    `json:"progress"`
	Finals    []uint64  `json:"finals,omitempty"`
	Positions []string  `json:"positions,omitempty"`
	Measured  *measured `json:"measured,omitempty"` // with stepEnd
}

// counts are what grows during a run.
type counts struct {
	Open     int `json:"open"`
	Received int `json:"received"`
	Stored   int `json:"stored"`
}

// measured is what one worker found.
type measured struct {
	counts
	Opened     int            `json:"opened"`
	Failed     int            `json:"failed"`
	Publishes  int            `json:"publishes_failed"`
	Unsent     int            `json:"unsent"`
	Abandoned  int            `json:"abandoned"` // channels
	Lost       int            `json:"lost"`
	Duplicate  int            `json:"duplicate"`
	OutOfOrder int            `json:"out_of_order"`
	Gaps       int            `json:"gaps"`
	Gone       int            `json:"gone"`
	Complete   int            `json:"complete"`
	Errors     map[string]int `json:"errors"`

	Connecting span `json:"connecting"`
	Publishing span `json:"publishing"` // from the start of the load to the last answer
	Receiving  span `json:"receiving"`  // from the start of the load to the last message

	ConnectLatency  latencies `json:"connect_latency"`
	PublishLatency  latencies `json:"publish_latency"`
	DeliverLatency  latencies `json:"deliver_latency"`
	CompleteLatency latencies `json:"complete_latency"`

	CPU  float64 `json:"cpu"`  // seconds
	Busy float64 `json:"busy"` // share of one processor
}

// span is a stretch of time, in Unix nanoseconds.
type span struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

func (s *span) join(o span) {
	if o.To == 0 {
		return
	}
	if s.To == 0 {
		*s = o
		return
	}
	s.From, s.To = min(s.From, o.From), max(s.To, o.To)
}

func (s span) seconds() float64 { return float64(s.To-s.From) / 1e9 }

// The work is shared out by these, so that every worker knows who does what.

// channel is the name of channel i.
func (s *spec) channel(i int) string {
	return s.Options.Namespace + ":bench." + s.Run + "." + strconv.Itoa(i)
}

// lanes is how many HTTP connections there are.
func (s *spec) lanes() int {
	if !s.Options.Scenario.Publishes() {
		return 0
	}
	return s.Options.Publishers
}

// laneOf is which of them publishes on channel i: one of the worker that has a
// subscriber of the channel, where that worker has any.
func (s *spec) laneOf(i int) int {
	o := &s.Options
	w := i % o.Processes // connection i is a subscriber of channel i
	own := (o.Publishers - w + o.Processes - 1) / o.Processes
	if own <= 0 {
		return i % o.Publishers
	}
	return w + o.Processes*(i/o.Processes%own)
}

// unheard is how many channels have no subscriber in the worker that publishes on them,
// so that it cannot know how far ahead of all subscribers it is.
func (s *spec) unheard() (n int) {
	o := &s.Options
	for i := range o.Channels {
		w, heard := s.laneOf(i)%o.Processes, false
		// After as many steps as there are workers they come round again.
		for k, j := 0, i; k < o.Processes && j < o.Connections && !heard; k, j = k+1, j+o.Channels {
			heard = j%o.Processes == w
		}
		if !heard {
			n++
		}
	}
	return n
}

// nodeOf spreads the connections over the nodes, and those of each channel too.
func (s *spec) nodeOf(connection int) node {
	return s.Nodes[(connection+connection/s.Options.Channels)%len(s.Nodes)]
}
