package sse

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
)

const (
	// retryHint is how long a browser waits before it comes back, in milliseconds.
	retryHint = 2000
	heartbeat = ":\n\n"
)

// messageFrame is a message's event, encoded once for all: its id is the message's
// own position, which is the whole token on a connection with one channel.
func messageFrame(m *fanout.Message) []byte { return m.Frame(session.SlotSSE, encodeMessage) }

func encodeMessage(m *fanout.Message) []byte {
	const around = 320
	ev := session.MessageEvent(m)
	b := append(make([]byte, 0, len(m.Data)+around), "data: "...)
	b = protocol.AppendMessage(b, &ev)
	b = append(b, "\nid: "...)
	b = append(b, ev.Position...)
	return append(b, '\n', '\n')
}

// withoutID is the part of a message's frame before its id, for connections whose
// token says more. Compact JSON has no line end, so the last one before the two at
// the end begins the id.
func withoutID(frame []byte) []byte {
	return frame[:bytes.LastIndexByte(frame[:len(frame)-2], '\n')+1]
}

// named makes an event with a name. body is an object that AppendEvent wrapped as
// {"name":{…}}; it is unwrapped.
func named(ev *protocol.Event, id []byte) []byte {
	wrapped := protocol.JSON{}.AppendEvent(nil, ev)
	name, object, _ := bytes.Cut(wrapped[2:len(wrapped)-1], []byte(`":`))
	b := make([]byte, 0, len(wrapped)+len(id)+32)
	b = append(append(b, "event: "...), name...)
	b = append(append(b, "\ndata: "...), object...)
	if len(id) > 0 {
		b = append(append(b, "\nid: "...), id...)
	}
	return append(b, '\n', '\n')
}

// disconnectFrame tells a client when to come back.
func disconnectFrame(ev protocol.DisconnectEvent) []byte {
	retry := max(ev.RetryAfterMS, retryHint)
	return append(strconv.AppendInt([]byte("retry: "), retry, 10), append([]byte{'\n'}, named(&protocol.Event{Disconnect: &ev}, nil)...)...)
}

// head is the answer's head for a connection that was taken over.
func head(origin string) []byte {
	cors := ""
	if origin != "" {
		cors = "Access-Control-Allow-Origin: " + origin + "\r\nVary: Origin\r\n"
	}
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"+
		"X-Content-Type-Options: nosniff\r\nX-Accel-Buffering: no\r\nConnection: close\r\n%s\r\n%s", cors, preamble())
}

// preamble opens the stream: it makes proxies and clients see a first byte.
func preamble() string { return "retry: " + strconv.Itoa(retryHint) + "\n\n" }
