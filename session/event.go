package session

import (
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// Codec turns events into frames, complete and ready for the wire. It has no
// state: one serves all connections.
type Codec interface {
	Event(ev *protocol.Event) []byte
	// Message is the frame of a message, encoded once for all subscribers.
	Message(m *fanout.Message) []byte
	// Ping is a heartbeat; for browsers one that a page's script can see.
	Ping(browser bool) []byte
	// Close is the frame that ends the connection; empty where the wire has none.
	Close(code protocol.Code, reason string) []byte
}

// The slots of fanout.Message.Frame.
const (
	SlotWebSocketJSON     = 0
	SlotSSE               = 1
	SlotWebSocketProtobuf = 2
	SlotDeflateJSON       = 3
	SlotDeflateProtobuf   = 4
)

// MessageEvent is a message as the wire has it.
func MessageEvent(m *fanout.Message) protocol.MessageEvent {
	ev := protocol.MessageEvent{
		Channel: m.Channel.String(), Offset: m.Offset(), Position: m.ResumeAt().String(), Time: m.UnixMilli(),
		ID: m.ID, User: m.User, Client: m.Client, Headers: m.Headers,
	}
	switch {
	case !m.Binary:
		ev.Data = m.Data
	case m.Data == nil:
		ev.Bytes = []byte{} // there are none, which is not the same as no bytes given
	default:
		ev.Bytes = m.Data
	}
	return ev
}

// NoticeEvent is a notice as the wire has it, without the ID that a reply repeats.
// A subscription that failed is an error event where it answers a command, and
// unsubscribed, to be subscribed again, where it comes unasked.
func NoticeEvent(n fanout.Notice) *protocol.Event {
	channel := n.Channel.String()
	one, list := positions(n)
	switch n.Kind {
	case fanout.NoticeSubscribed:
		return &protocol.Event{Subscribed: &protocol.SubscribedEvent{
			Channel: channel, Position: one, Positions: list, Recovered: n.Recovered, Reason: n.Reason,
		}}
	case fanout.NoticeFailed:
		ev := ReadErrorEvent(n.Err)
		if n.Token != 0 {
			return &protocol.Event{Error: ev}
		}
		return &protocol.Event{Unsubscribed: &protocol.UnsubscribedEvent{
			Channel: channel, Code: protocol.ErrorResubscribe, Reason: ev.Message,
		}}
	case fanout.NoticeUnsubscribed:
		return &protocol.Event{Unsubscribed: &protocol.UnsubscribedEvent{Channel: channel}}
	case fanout.NoticeCaughtUp:
		return &protocol.Event{CaughtUp: &protocol.CaughtUpEvent{Channel: channel, Position: one, Positions: list}}
	case fanout.NoticeGap:
		return &protocol.Event{Gap: &protocol.GapEvent{Channel: channel, Position: first(n), Reason: n.Reason}}
	case fanout.NoticePosition:
		return &protocol.Event{Position: &protocol.PositionEvent{Channel: channel, Position: first(n)}}
	case fanout.NoticeChecked: // is no event by itself
	case fanout.NoticeDeleted:
		return &protocol.Event{Deleted: &protocol.DeletedEvent{Channel: channel, Offset: n.Target, Position: first(n)}}
	case fanout.NoticePresence:
		return &protocol.Event{Presence: NewsEvent(n.Presence)}
	}
	return nil
}

// positions are those of a notice: one for a channel, a list for a pattern.
func positions(n fanout.Notice) (one string, list []string) {
	if !n.Channel.IsPattern() {
		return first(n), nil
	}
	for _, p := range n.Positions {
		list = append(list, p.String())
	}
	return "", list
}

func first(n fanout.Notice) string {
	if len(n.Positions) == 0 {
		return ""
	}
	return n.Positions[0].String()
}
