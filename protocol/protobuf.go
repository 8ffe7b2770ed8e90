package protocol

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Protobuf is the codec of SubprotocolProtobuf. Every frame is one Command or
// Event of rivulet.proto, in a binary message.
type Protobuf struct{}

// Subprotocol is SubprotocolProtobuf.
func (Protobuf) Subprotocol() string { return SubprotocolProtobuf }

// DecodeCommand reads one command. It checks the form: Protobuf without groups,
// exactly one command, wire types, strings of UTF-8, the ranges of JSON.DecodeCommand
// and an ID as there. Unknown fields are ignored; of a repeated field that is no list
// the last counts. Data is checked and compacted as CompactData does; bytes are in
// Bytes. What the values mean is for the session to check. The result shares no
// memory with frame.
//
// Errors are *DecodeError. The returned command then has its ID if the frame could
// be taken apart, so that the error can be answered to it; with ID 0, the frame is
// none of this protocol (CloseBadFrame).
func (Protobuf) DecodeCommand(frame []byte) (Command, error) {
	var c Command
	e := envelope{member: c.member, two: twoCommands}
	if err := e.read(frame); err != nil {
		return Command{}, err
	}
	if err := e.command(&c); err != nil {
		return Command{ID: e.id}, err
	}
	return c, nil
}

// command reads the command that c got from member.
func (e *envelope) command(c *Command) *DecodeError {
	if e.fault != nil {
		return e.fault
	}
	c.ID = e.id
	if err := c.complete(e.found); err != nil {
		if e.found == "" && e.other != 0 {
			err.Problem += fmt.Sprintf("; field %d is none of them", e.other)
		}
		return err
	}
	return readMessage(e.body, e.found, e.fields)
}

// DecodeEvent reads one event, under the rules of DecodeCommand but that an event
// needs no ID and that an unknown event is not an error: it gives an Event without
// any, which a client ignores. Errors are *DecodeError.
func (Protobuf) DecodeEvent(frame []byte) (Event, error) {
	var out Event
	e := envelope{member: out.member, two: twoEvents}
	if err := e.read(frame); err != nil {
		return Event{}, err
	}
	out.ID = e.id
	err := e.fault
	if err == nil && e.found != "" {
		err = readMessage(e.body, e.found, e.fields)
	}
	if err != nil {
		return Event{}, err
	}
	return out, nil
}

// AppendCommand appends the frame of c. Data must be JSON. DataBase64, where Bytes
// is nil, must be base64: what follows a fault in it is left out.
func (Protobuf) AppendCommand(dst []byte, c *Command) []byte {
	w := wire{dst: dst}
	w.unsigned(1, "id", &c.ID)
	c.append(&w)
	return w.dst
}

// AppendEvent appends the frame of e. Data must be compact JSON; DataBase64 as with
// AppendCommand.
func (Protobuf) AppendEvent(dst []byte, e *Event) []byte {
	w := wire{dst: dst}
	w.unsigned(1, "id", &e.ID)
	if !e.appendReply(&w) {
		e.appendPush(&w)
	}
	return w.dst
}

// AppendMessageEvent appends the whole frame of a message, as AppendEvent does. The
// hot path: no allocation but dst's growth, up to MaxHeaders headers.
func (Protobuf) AppendMessageEvent(dst []byte, m *MessageEvent) []byte {
	w := wire{dst: dst}
	m.append(&w, numMessage)
	return w.dst
}

// numMessage is the field of Event that is a message.
const numMessage = 7

// append writes one message as the field num.
func (m *MessageEvent) append(w *wire, num protowire.Number) {
	size := len(m.Data) + len(m.Bytes) + len(m.Channel) + len(m.Position) + 24
	at := w.open(num, size)
	m.wire(w)
	w.close(at)
}

// envelope is a frame taken apart: its id, and one command or event, not yet read.
type envelope struct {
	// member makes the command or event of a number; its name is "" if there is none.
	member func(num protowire.Number) (name string, fields func(*wire))
	two    func(a, b string) *DecodeError

	id     uint64
	found  string // the name of what the frame holds
	fields func(*wire)
	body   []byte
	other  protowire.Number // a field that this version does not know
	fault  *DecodeError     // the first that leaves the rest of the frame readable
}

// read takes all of frame apart, so that the id is found wherever it stands. An
// error says that frame is not Protobuf.
func (e *envelope) read(frame []byte) *DecodeError {
	for at := 0; at < len(frame); {
		f, end, err := nextField(frame, at, "frame")
		if err != nil {
			return err
		}
		switch {
		case f.num == 1:
			err = f.unsigned("id", &e.id)
		case e.fault == nil: // no more is made of a frame that is refused
			err = e.take(&f)
		}
		if e.fault == nil {
			e.fault = err
		}
		at = end
	}
	return nil
}

func (e *envelope) take(f *field) *DecodeError {
	name, fields := e.member(f.num)
	switch {
	case name == "":
		e.other = f.num
		return nil
	case e.found != "":
		return e.two(e.found, name)
	}
	e.found, e.fields, e.body = name, fields, f.bytes
	return f.check(name, protowire.BytesType)
}

// readMessage gives every field of body, a message of its own, to fields. name is
// the message's, for errors.
func readMessage(body []byte, name string, fields func(*wire)) *DecodeError {
	w := wire{reading: true}
	for at := 0; at < len(body) && w.err == nil; {
		var err *DecodeError
		if w.field, at, err = nextField(body, at, name); err != nil {
			return err
		}
		fields(&w)
	}
	return w.err
}
