package fanout_test

import (
	"fmt"
	"slices"

	"github.com/rivulet-rt/rivulet/fanout"
)

// What the consumers of the model may have asked to be left out.

// modelKey gives three messages of four one of three keys.
func modelKey(data string) string {
	if n := data[len(data)-1] % 4; n > 0 {
		return fmt.Sprintf("k%d", n)
	}
	return ""
}

// modelPasses lets two messages of three through, and the last of each channel.
func modelPasses(m *fanout.Message) bool {
	return m.Data[0] == 'e' || (m.Data[len(m.Data)-1]+m.Data[len(m.Data)/2])%3 > 0
}

// refine has half of the consumers conflate, and some filter.
func (c *consumer) refine(rng *lockedRand, id uint64) {
	c.by.By = []fanout.ConflateBy{fanout.ConflateNone, fanout.ConflateNone, fanout.ConflateKey, fanout.ConflateLast}[rng.IntN(4)]
	if c.by.By != fanout.ConflateNone {
		c.by.MaxRate = []int{0, 1000, 150}[rng.IntN(3)]
	}
	if rng.IntN(4) == 0 {
		c.filter = fanout.NewFilter(id, modelPasses)
	}
}

// wants reports whether the consumer is to get the message r if nothing newer comes: it
// passes, and nothing outdates it. The caller holds the log's lock.
func (c *consumer) wants(r *record) bool {
	if c.filter != nil && !modelPasses(&r.msg) {
		return false
	}
	if c.by.By == fanout.ConflateNone || c.by.By == fanout.ConflateKey && r.msg.ConflationKey == "" {
		return true
	}
	return !slices.ContainsFunc(c.log.streams[r.msg.Stream].records, func(o *record) bool {
		return o.seq > r.seq && o.life >= r.life && o.msg.Kind == fanout.KindData && o.msg.Channel == r.msg.Channel &&
			(c.by.By == fanout.ConflateLast || o.msg.ConflationKey == r.msg.ConflationKey)
	})
}
