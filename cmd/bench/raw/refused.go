//go:build linux

package raw

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/rivulet-rt/rivulet/protocol"
)

// RefusedError is a node's answer that says no, or its word that it ends the connection.
type RefusedError struct {
	Status  int           // of an HTTP answer; 0 of what came over a WebSocket
	Code    protocol.Code // of that: an error, a disconnect or a close frame
	Message string
	Field   string // at fault, "" if none is
}

// Error is what and why, on one line.
func (r *RefusedError) Error() string {
	text := r.Code.String()
	if r.Status != 0 {
		text = strings.TrimSpace("status " + strconv.Itoa(r.Status) + " " + http.StatusText(r.Status))
	}
	if r.Message != "" && r.Message != r.Code.Reason() {
		text += ": " + r.Message
	}
	if r.Field != "" && !strings.HasPrefix(r.Message, r.Field+":") {
		text += " (" + r.Field + ")"
	}
	return text
}

// mostMessage bounds what is kept of a message, in bytes.
const mostMessage = 300

func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > mostMessage {
		s = strings.ToValidUTF8(s[:mostMessage], "") + "..."
	}
	return s
}

// refusedAnswer reads an HTTP answer. What is no node, a proxy say, sends another body.
func refusedAnswer(status int, body []byte) *RefusedError {
	r := &RefusedError{Status: status}
	var answer struct {
		Message string `json:"message"`
		Data    struct {
			Field string `json:"field"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		r.Message = oneLine(string(body))
		return r
	}
	r.Message, r.Field = oneLine(answer.Message), answer.Data.Field
	return r
}

// refusedEvent is the error of an event that is neither a message nor about one.
func refusedEvent(payload []byte) error {
	var ev struct {
		Error      *protocol.ErrorEvent      `json:"error"`
		Disconnect *protocol.DisconnectEvent `json:"disconnect"`
	}
	err := json.Unmarshal(payload, &ev)
	switch {
	case err == nil && ev.Error != nil:
		return fmt.Errorf("raw: %w", &RefusedError{Code: ev.Error.Code, Message: oneLine(ev.Error.Message), Field: ev.Error.Field})
	case err == nil && ev.Disconnect != nil:
		return fmt.Errorf("raw: %w", &RefusedError{Code: ev.Disconnect.Code, Message: oneLine(ev.Disconnect.Reason)})
	}
	return fmt.Errorf("%w: %.300q", errFrame, payload)
}

// refusedClose reads a close frame.
func refusedClose(payload []byte) *RefusedError {
	if len(payload) < 2 {
		return &RefusedError{Code: protocol.CloseNoStatus}
	}
	return &RefusedError{Code: protocol.Code(binary.BigEndian.Uint16(payload)), Message: oneLine(string(payload[2:]))}
}
