package cmd

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Bytes is an amount of bytes, written "512MiB", "16GiB" or as a plain number.
type Bytes int64

// byteUnits are ordered so that the first suffix that fits is the right one.
func byteUnits() []byteUnit {
	return []byteUnit{
		{"KiB", 1 << 10},
		{"MiB", 1 << 20},
		{"GiB", 1 << 30},
		{"TiB", 1 << 40},
		{"kB", 1e3},
		{"KB", 1e3},
		{"MB", 1e6},
		{"GB", 1e9},
		{"TB", 1e12},
		{"B", 1},
	}
}

type byteUnit struct {
	suffix string
	size   int64
}

// UnmarshalText reads an amount.
func (b *Bytes) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	size := int64(1)
	for _, u := range byteUnits() {
		if number, ok := strings.CutSuffix(s, u.suffix); ok {
			s, size = strings.TrimSpace(number), u.size
			break
		}
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(v) || v*float64(size) >= math.MaxInt64 || v*float64(size) <= -math.MaxInt64 {
		return fmt.Errorf("%q is not an amount of bytes; write for example 512MiB, 16GiB or 1000000", text)
	}
	*b = Bytes(v * float64(size))
	return nil
}

// String writes the amount in the largest binary unit that it is a multiple of.
func (b Bytes) String() string {
	units := byteUnits()
	for i := 3; i >= 0; i-- {
		if u := units[i]; b != 0 && int64(b)%u.size == 0 {
			return strconv.FormatInt(int64(b)/u.size, 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// MarshalText writes what UnmarshalText reads.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// Duration is a span of time, written "250ms", "1h30m" or "7d".
type Duration time.Duration

// Unlimited is written "unlimited", where a key allows it.
const Unlimited Duration = -1

const day = 24 * time.Hour

// UnmarshalText reads a span.
func (d *Duration) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	if s == "unlimited" {
		*d = Unlimited
		return nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 64)
		if err == nil && n <= uint64(math.MaxInt64/day) {
			*d = Duration(time.Duration(n) * day)
			return nil
		}
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is not a span of time; write for example 250ms, 90s, 24h or 7d", text)
	}
	*d = Duration(v)
	return nil
}

// String writes days as such and everything else as Go does.
func (d Duration) String() string {
	v := time.Duration(d)
	switch {
	case d == Unlimited:
		return "unlimited"
	case v >= day && v%day == 0:
		return strconv.FormatInt(int64(v/day), 10) + "d"
	}
	return trimZeros(v.String())
}

// trimZeros writes 24h for 24h0m0s.
func trimZeros(s string) string {
	if t, ok := strings.CutSuffix(s, "m0s"); ok {
		s = t + "m"
	}
	if t, ok := strings.CutSuffix(s, "h0m"); ok {
		s = t + "h"
	}
	return s
}

// MarshalText writes what UnmarshalText reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }
