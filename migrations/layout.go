package migrations

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// The first tokens of the subjects: of what is stored, and of what the server
// republishes once it is stored.
const (
	storedPrefix = "c."
	livePrefix   = "live."
	streamPrefix = "CH_"
	headTokens   = 4 // prefix, namespace, generation, partition
)

// LiveWildcard matches every republished message of every namespace.
const LiveWildcard = livePrefix + ">"

// Wildcard segments of a pattern, which are not encoded.
const (
	anySegment = "*"
	anyRest    = ">"
)

// Layout names the streams and subjects of one generation of a namespace.
type Layout struct {
	Namespace  string
	Generation int
	Partitions int
}

// Partition is the partition of a channel, given in its canonical form
// "namespace:name". It must never change for stored messages to be found.
func (l Layout) Partition(channel string) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(channel)) // never fails
	return int(h.Sum64() % uint64(l.Partitions))
}

// Stream is the name of partition p's stream.
func (l Layout) Stream(p int) string {
	return fmt.Sprintf("%s%s_%d_%d", streamPrefix, l.Namespace, l.Generation, p)
}

// Streams are the names of all partitions' streams, in order.
func (l Layout) Streams() []string {
	names := make([]string, l.Partitions)
	for p := range names {
		names[p] = l.Stream(p)
	}
	return names
}

// Subject is where a channel's messages are stored. Segments are the channel's
// name split at its dots.
func (l Layout) Subject(p int, segments []string) string {
	return l.subject(storedPrefix, p, segments, false)
}

// Filter matches the stored subjects of partition p that a pattern covers: "*"
// stands for one segment, a final ">" for the rest.
func (l Layout) Filter(p int, segments []string) string {
	return l.subject(storedPrefix, p, segments, true)
}

// LiveSubject is where the server republishes a channel's messages.
func (l Layout) LiveSubject(p int, segments []string) string {
	return l.subject(livePrefix, p, segments, false)
}

// LiveFilter matches the republished subjects of partition p that a pattern covers.
func (l Layout) LiveFilter(p int, segments []string) string {
	return l.subject(livePrefix, p, segments, true)
}

// StoredAll and LiveAll match everything of partition p.
func (l Layout) StoredAll(p int) string { return l.head(storedPrefix, p) + anyRest }

// LiveAll matches everything that is republished of partition p.
func (l Layout) LiveAll(p int) string { return l.head(livePrefix, p) + anyRest }

// LiveHead is what the republished subjects of partition p begin with, without
// the final dot; SplitHead cuts it off.
func (l Layout) LiveHead(p int) string {
	return strings.TrimSuffix(l.head(livePrefix, p), ".")
}

func (l Layout) head(prefix string, p int) string {
	return prefix + l.Namespace + "." + strconv.Itoa(l.Generation) + "." + strconv.Itoa(p) + "."
}

func (l Layout) subject(prefix string, p int, segments []string, wildcards bool) string {
	b := append(make([]byte, 0, 96), l.head(prefix, p)...)
	for i, seg := range segments {
		if i > 0 {
			b = append(b, '.')
		}
		if wildcards && (seg == anySegment || seg == anyRest && i == len(segments)-1) {
			b = append(b, seg...)
			continue
		}
		b = AppendToken(b, seg)
	}
	return string(b)
}

// SplitHead cuts a stored or republished subject into its first four tokens,
// which name the stream, and the encoded name. It does not allocate.
func SplitHead(subject string) (head, name string, ok bool) {
	at := 0
	for range headTokens {
		dot := strings.IndexByte(subject[at:], '.')
		if dot < 0 {
			return "", "", false
		}
		at += dot + 1
	}
	return subject[:at-1], subject[at:], at < len(subject)
}

// DecodeName turns the encoded name of a subject back into the channel's name.
// Errors wrap ErrSubject. The result need not be a valid name: what others wrote
// into a stream is not checked here.
func DecodeName(encoded string) (string, error) {
	b := make([]byte, 0, len(encoded))
	var err error
	for i := 0; ; i++ {
		token, rest, more := strings.Cut(encoded, ".")
		if i > 0 {
			b = append(b, '.')
		}
		if b, err = appendSegment(b, token); err != nil {
			return "", err
		}
		if !more {
			return string(b), nil
		}
		encoded = rest
	}
}

// ParseStream is the inverse of Layout.Stream: ok is false where name is not a
// channel stream's.
func ParseStream(name string) (namespace string, generation, partition int, ok bool) {
	rest, found := strings.CutPrefix(name, streamPrefix)
	parts := strings.Split(rest, "_")
	if !found || len(parts) != 3 {
		return "", 0, 0, false
	}
	generation, err1 := strconv.Atoi(parts[1])
	partition, err2 := strconv.Atoi(parts[2])
	l := Layout{Namespace: parts[0], Generation: generation}
	if err1 != nil || err2 != nil || generation < 0 || partition < 0 || l.Stream(partition) != name {
		return "", 0, 0, false
	}
	return parts[0], generation, partition, true
}
