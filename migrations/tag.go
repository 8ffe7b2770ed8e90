package migrations

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"time"
)

const (
	base62      = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	tagBytes    = 8
	tagNames    = 3 // characters for namespace and generation
	tagPart     = 2 // for the partition
	tagEpoch    = 3 // for the epoch
	tagEpochMod = 62 * 62 * 62
)

// Tag names a stream and its epoch in eight characters of [0-9A-Za-z]: three are
// a hash of namespace and generation, two are the partition, three a hash of
// when the stream was created and of its epoch's id. A stream that was created
// again therefore has another epoch, whatever the recorded id says.
func (l Layout) Tag(p int, created time.Time, epochID string) [tagBytes]byte {
	var tag [tagBytes]byte
	put62(tag[:tagNames], hash62(l.Namespace, strconv.Itoa(l.Generation)))
	put62(tag[tagNames:tagNames+tagPart], uint64(p))
	put62(tag[tagNames+tagPart:], hash62(strconv.FormatInt(created.UnixNano(), 10), epochID))
	return tag
}

func hash62(parts ...string) uint64 {
	h := sha256.New()
	for _, p := range parts {
		_, _ = h.Write([]byte(p)) // never fails
		_, _ = h.Write([]byte{0})
	}
	return binary.BigEndian.Uint64(h.Sum(nil)) % tagEpochMod
}

func put62(dst []byte, v uint64) {
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = base62[v%62]
		v /= 62
	}
}
