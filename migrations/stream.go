package migrations

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"
)

// Metadata keys of a channel stream.
const (
	metaNamespace  = "rivulet.namespace"
	metaGeneration = "rivulet.generation"
	metaPartitions = "rivulet.partitions"
	metaLimits     = "rivulet.limits"
)

// mostPastLimits bounds what a stream remembers of its earlier limits.
const mostPastLimits = 16

// PastLimit says that a stream kept at least Limit messages per channel, and
// perhaps no more, until its sequence reached At. At 0 is a change under way: it
// holds for every sequence.
type PastLimit struct {
	Limit uint64 `json:"limit"`
	At    uint64 `json:"at"`
}

// StreamConfig is the configuration of partition p's stream, without what only
// the stream itself remembers.
func (l Layout) StreamConfig(s Spec, p int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:     l.Stream(p),
		Subjects: []string{l.StoredAll(p)},
		// Discarding old messages, also over the limit per channel: a full log must not
		// refuse new ones. One message more than promised is kept per channel, so that
		// a count above the promise proves that something was dropped.
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardOld,
		Storage:           jetstream.FileStorage,
		Replicas:          s.Replicas,
		MaxMsgs:           -1,
		MaxMsgsPerSubject: perSubject(s.MaxPerChannel),
		MaxAge:            max(s.MaxAge, 0),
		MaxBytes:          s.MaxBytes / int64(l.Partitions),
		MaxMsgSize:        s.maxStored(),
		MaxConsumers:      s.MaxConsumers,
		Duplicates:        s.DuplicateWindow,
		AllowDirect:       true,
		AllowMsgTTL:       true,
		AllowRollup:       true,
		// Atomic batches are how an embedded server commits many messages with one fsync.
		AllowAtomicPublish: true,
		RePublish:          &jetstream.RePublish{Source: l.StoredAll(p), Destination: l.LiveAll(p)},
		Metadata: map[string]string{
			metaNamespace:  l.Namespace,
			metaGeneration: strconv.Itoa(l.Generation),
			metaPartitions: strconv.Itoa(l.Partitions),
		},
	}
}

func perSubject(maxPerChannel int64) int64 {
	if maxPerChannel < 0 {
		return -1
	}
	return maxPerChannel + 1
}

// PromisedLimit is the number of messages per channel that a stream promised to
// keep at any time since its sequence x: the configured one, or a lower one that
// held at or after x. 0 is unlimited. It reads the stream's own configuration, as
// the server reports it, and so needs no word from the node that changed it.
func PromisedLimit(maxMsgsPerSubject int64, metadata map[string]string, x uint64) uint64 {
	limit := uint64(0)
	if maxMsgsPerSubject > 0 {
		limit = uint64(maxMsgsPerSubject - 1)
	}
	for _, past := range pastLimits(metadata) {
		if (past.At == 0 || x < past.At) && (limit == 0 || past.Limit < limit) {
			limit = past.Limit
		}
	}
	return limit
}

func pastLimits(metadata map[string]string) []PastLimit {
	var list []PastLimit
	if json.Unmarshal([]byte(metadata[metaLimits]), &list) != nil {
		return nil // absent; only this package writes it
	}
	return list
}

func setPastLimits(cfg *jetstream.StreamConfig, list []PastLimit) {
	cfg.Metadata = maps.Clone(cfg.Metadata)
	if len(list) == 0 {
		delete(cfg.Metadata, metaLimits)
		return
	}
	b, _ := json.Marshal(list) // plain numbers: cannot fail
	cfg.Metadata[metaLimits] = string(b)
}

// openLimit adds the lower of two limits, for every sequence until closeLimits.
func openLimit(list []PastLimit, from, to int64) []PastLimit {
	lower := from
	if from < 0 || to >= 0 && to < from {
		lower = to
	}
	if lower <= 0 { // both unlimited
		return list
	}
	return append(slices.Clone(list), PastLimit{Limit: uint64(lower - 1)})
}

// closeLimits ends what openLimit began at sequence at, forgets limits that only
// concern sequences below first, which no reader can resume from completely, and
// merges the oldest when there are too many.
func closeLimits(list []PastLimit, first, at uint64) []PastLimit {
	var out []PastLimit
	for _, past := range list {
		if past.At == 0 {
			past.At = at + 1 // positions up to and at the last sequence
		}
		if past.At > first {
			out = append(out, past)
		}
	}
	for len(out) > mostPastLimits {
		out[1] = PastLimit{Limit: min(out[0].Limit, out[1].Limit), At: max(out[0].At, out[1].At)}
		out = out[1:]
	}
	return out
}

// sameStream reports whether a stream already is as wanted. The server adds
// metadata of its own and fills in defaults, so only what is ours is compared.
func sameStream(have, want jetstream.StreamConfig) bool {
	return settings(have) == settings(want) &&
		slices.Equal(have.Subjects, want.Subjects) &&
		have.RePublish != nil && *have.RePublish == *want.RePublish
}

type streamSettings struct {
	replicas, consumers                        int
	perSubject, bytes                          int64
	msgSize                                    int32
	age, duplicates                            int64
	direct, ttl, rollup, atomic                bool
	namespace, generation, partitions, discard string
}

func settings(c jetstream.StreamConfig) streamSettings {
	return streamSettings{
		replicas: c.Replicas, consumers: c.MaxConsumers,
		perSubject: c.MaxMsgsPerSubject, bytes: c.MaxBytes, msgSize: c.MaxMsgSize,
		age: int64(c.MaxAge), duplicates: int64(c.Duplicates),
		direct: c.AllowDirect, ttl: c.AllowMsgTTL, rollup: c.AllowRollup, atomic: c.AllowAtomicPublish,
		namespace: c.Metadata[metaNamespace], generation: c.Metadata[metaGeneration],
		partitions: c.Metadata[metaPartitions], discard: c.Discard.String(),
	}
}
