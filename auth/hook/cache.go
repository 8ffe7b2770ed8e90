package hook

import (
	"crypto/sha256"
	"strconv"
	"strings"
	"time"
)

// KeyOf makes one key of the parts of a question. It is of a fixed size, and no other parts
// have the same.
func KeyOf(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(strconv.Itoa(len(p)))
		b.WriteByte(':')
		b.WriteString(p)
	}
	sum := sha256.Sum256([]byte(b.String()))
	return string(sum[:])
}

type keptVerdict struct {
	verdict Verdict
	until   time.Time
}

func (h *Hook) keep(key string, v Verdict) {
	h.cache.Add(key, keptVerdict{v, time.Now().Add(h.cfg.CacheTTL)})
}

// kept returns what was answered to all keys, if there is an answer to each.
func (h *Hook) kept(keys []string) ([]Verdict, bool) {
	now := time.Now()
	list := make([]Verdict, len(keys))
	for i, key := range keys {
		k, ok := h.cache.Get(key)
		if !ok || !now.Before(k.until) {
			return nil, false
		}
		list[i] = k.verdict
	}
	return list, true
}
