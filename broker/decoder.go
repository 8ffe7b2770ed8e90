package broker

import (
	"strings"
	"sync"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/migrations"
)

// decoderChannels is how many channels' names a decoder remembers, at most twice
// over: about 10 MB where all are long.
const decoderChannels = 16_384

// decoder turns subjects into channels, and remembers the latest, so that the
// name of a busy channel exists once.
type decoder struct {
	mu  sync.Mutex // guards the following
	now map[string]fanout.Channel
	old map[string]fanout.Channel // what now was before it was full
}

func newDecoder() *decoder { return &decoder{now: map[string]fanout.Channel{}} }

// channel returns the channel whose messages have this stored or republished
// subject. ok is false for a subject that is no channel's.
func (d *decoder) channel(subject, namespace string) (c fanout.Channel, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c, ok = d.now[subject]; ok {
		return c, true
	}
	if c, ok = d.old[subject]; !ok {
		if c, ok = parseSubject(subject, namespace); !ok {
			return c, false
		}
	}
	if len(d.now) >= decoderChannels {
		d.now, d.old = map[string]fanout.Channel{}, d.now
	}
	d.now[strings.Clone(subject)] = c
	return c, true
}

func parseSubject(subject, namespace string) (fanout.Channel, bool) {
	_, encoded, ok := migrations.SplitHead(subject)
	if !ok {
		return fanout.Channel{}, false
	}
	name, err := migrations.DecodeName(encoded)
	if err != nil {
		return fanout.Channel{}, false
	}
	c, err := fanout.ParseChannel(namespace + ":" + name)
	return c, err == nil && c.Name() == name
}
