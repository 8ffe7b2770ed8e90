package api

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

// appendOpening appends the begin of every body, up to the value of "data".
func appendOpening(b []byte, code int, message string) []byte {
	b = append(b, `{"code":`...)
	b = strconv.AppendInt(b, int64(code), 10)
	b = append(b, `,"message":`...)
	b = appendString(b, message)
	return append(b, `,"data":`...)
}

// appendReceipt appends the data of a stored or scheduled message, or a marker.
func appendReceipt(b []byte, c fanout.Channel, r fanout.Receipt) []byte {
	b = append(b, `{"channel":`...)
	b = appendString(b, c.String())
	if r.Schedule != "" {
		b = appendString(append(b, `,"schedule":`...), r.Schedule)
		b = appendMillis(append(b, `,"deliver_at":`...), r.DeliverAt)
		b = strconv.AppendBool(append(b, `,"duplicate":`...), r.Duplicate)
		return append(b, '}')
	}
	b = append(b, `,"offset":`...)
	b = strconv.AppendUint(b, r.Position.Offset, 10)
	b = append(b, `,"position":"`...)
	b = r.Position.Append(b)
	b = append(b, `","time":`...)
	b = strconv.AppendInt(b, r.Position.Time/int64(time.Millisecond), 10)
	b = append(b, `,"duplicate":`...)
	b = strconv.AppendBool(b, r.Duplicate)
	return append(b, '}')
}

// appendString appends s as a JSON string; plain ASCII without allocation. It leaves <, >
// and & as they are: answers are JSON, and say that they are nothing else.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			var quoted bytes.Buffer
			enc := json.NewEncoder(&quoted)
			enc.SetEscapeHTML(false)
			_ = enc.Encode(s) // never fails for a string
			return append(b, bytes.TrimSuffix(quoted.Bytes(), []byte("\n"))...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
