package protocol

import "google.golang.org/protobuf/encoding/protowire"

// member is that of Command, of the event that is field num of Event.
func (e *Event) member(num protowire.Number) (string, func(*wire)) {
	switch num {
	case 2:
		e.Connected = new(ConnectedEvent)
		return "connected", e.Connected.wire
	case 3:
		e.Subscribed = new(SubscribedEvent)
		return "subscribed", e.Subscribed.wire
	case 4:
		e.Unsubscribed = new(UnsubscribedEvent)
		return "unsubscribed", e.Unsubscribed.wire
	case 5:
		e.Published = new(PublishedEvent)
		return "published", e.Published.wire
	case 6:
		e.History = new(HistoryEvent)
		return "history", e.History.wire
	case numMessage:
		e.Message = new(MessageEvent)
		return "message", e.Message.wire
	default:
		return e.news(num)
	}
}

func (e *Event) news(num protowire.Number) (string, func(*wire)) {
	switch num {
	case 8:
		e.CaughtUp = new(CaughtUpEvent)
		return "caught_up", e.CaughtUp.wire
	case 9:
		e.Gap = new(GapEvent)
		return "gap", e.Gap.wire
	case 10:
		e.Position = new(PositionEvent)
		return "position", e.Position.wire
	case 11:
		e.Deleted = new(DeletedEvent)
		return "deleted", e.Deleted.wire
	case 12:
		e.Error = new(ErrorEvent)
		return "error", e.Error.wire
	case 13:
		e.Disconnect = new(DisconnectEvent)
		return "disconnect", e.Disconnect.wire
	case 14:
		e.Ping = new(Ping)
		return "ping", noWire
	case 15:
		e.Pong = new(Pong)
		return "pong", noWire
	case 16:
		e.Acked = new(AckedEvent)
		return "acked", e.Acked.wire
	case 17:
		e.Presence = new(PresenceEvent)
		return "presence", e.Presence.wire
	case 18:
		e.Expiring = new(ExpiringEvent)
		return "expiring", e.Expiring.wire
	default:
		return "", nil
	}
}

// appendReply writes the event that is set, if it is one of these.
func (e *Event) appendReply(w *wire) bool {
	var at opened
	switch {
	case e.Message != nil:
		e.Message.append(w, numMessage)
		return true
	case e.Published != nil:
		at = w.open(5, 0)
		e.Published.wire(w)
	case e.Connected != nil:
		at = w.open(2, 0)
		e.Connected.wire(w)
	case e.Subscribed != nil:
		at = w.open(3, 0)
		e.Subscribed.wire(w)
	case e.Unsubscribed != nil:
		at = w.open(4, 0)
		e.Unsubscribed.wire(w)
	case e.History != nil:
		at = w.open(6, 0)
		e.History.wire(w)
	default:
		return false
	}
	w.close(at)
	return true
}

func (e *Event) appendPush(w *wire) {
	var at opened
	switch {
	case e.CaughtUp != nil:
		at = w.open(8, 0)
		e.CaughtUp.wire(w)
	case e.Gap != nil:
		at = w.open(9, 0)
		e.Gap.wire(w)
	case e.Position != nil:
		at = w.open(10, 0)
		e.Position.wire(w)
	case e.Deleted != nil:
		at = w.open(11, 0)
		e.Deleted.wire(w)
	case e.Error != nil:
		at = w.open(12, 0)
		e.Error.wire(w)
	case e.Disconnect != nil:
		at = w.open(13, 0)
		e.Disconnect.wire(w)
	case e.Ping != nil:
		at = w.open(14, 0)
	case e.Pong != nil:
		at = w.open(15, 0)
	case e.Acked != nil:
		at = w.open(16, 0)
		e.Acked.wire(w)
	case e.Presence != nil:
		at = w.open(17, 0)
		e.Presence.wire(w)
	case e.Expiring != nil:
		at = w.open(18, 0)
		e.Expiring.wire(w)
	default:
		return
	}
	w.close(at)
}

func (e *ConnectedEvent) wire(w *wire) {
	w.text(1, "client", &e.Client)
	w.text(2, "node", &e.Node)
	w.count(3, "ping_interval", &e.PingInterval)
	w.count(4, "max_frame", &e.MaxFrame)
	w.text(5, "session", &e.Session)
	w.boolean(6, "resumed", &e.Resumed)
	w.integer(7, "expires_in_ms", &e.ExpiresInMS)
}

func (e *ExpiringEvent) wire(w *wire) { w.integer(1, "in_ms", &e.InMS) }

func (e *SubscribedEvent) wire(w *wire) {
	w.text(1, "channel", &e.Channel)
	w.text(2, "position", &e.Position)
	w.texts(3, "positions", &e.Positions)
	w.boolean(4, "recovered", &e.Recovered)
	w.text(5, "reason", &e.Reason)
	w.boolean(6, "durable", &e.Durable)
	w.boolean(7, "resumed", &e.Resumed)
	w.text(8, "group", &e.Group)
	w.integer(9, "ack_wait_ms", &e.AckWaitMS)
}

func (e *UnsubscribedEvent) wire(w *wire) {
	w.text(1, "channel", &e.Channel)
	w.code(2, "code", &e.Code)
	w.text(3, "reason", &e.Reason)
}

func (e *PublishedEvent) wire(w *wire) {
	w.text(1, "channel", &e.Channel)
	w.unsigned(2, "offset", &e.Offset)
	w.text(3, "position", &e.Position)
	w.integer(4, "time", &e.Time)
	w.boolean(5, "duplicate", &e.Duplicate)
	w.text(6, "schedule", &e.Schedule)
	w.integer(7, "deliver_at", &e.DeliverAt)
}

func (e *AckedEvent) wire(w *wire) {
	w.text(1, "channel", &e.Channel)
	w.unsigned(2, "offset", &e.Offset)
	w.text(3, "position", &e.Position)
	w.text(4, "token", &e.Token)
}

func (m *MessageEvent) wire(w *wire) {
	w.text(1, "channel", &m.Channel)
	w.unsigned(2, "offset", &m.Offset)
	w.text(3, "position", &m.Position)
	w.integer(4, "time", &m.Time)
	w.text(5, "id", &m.ID)
	w.text(6, "user", &m.User)
	w.text(7, "client", &m.Client)
	w.headers(8, "headers", &m.Headers)
	w.json(9, "data", &m.Data)
	w.binary(10, "data_binary", &m.Bytes, m.DataBase64)
	if w.reading || !m.plain() {
		m.wireOptions(w)
	}
}

func (m *MessageEvent) wireOptions(w *wire) {
	w.text(11, "conflation_key", &m.ConflationKey)
	w.unsigned(12, "updates", &m.Updates)
	w.text(13, "group", &m.Group)
	w.count(14, "attempt", &m.Attempt)
	w.text(15, "ack_token", &m.AckToken)
}

func (e *HistoryEvent) wire(w *wire) {
	w.text(1, "channel", &e.Channel)
	w.messages(2, "messages", e)
	w.text(3, "position", &e.Position)
	w.boolean(4, "more", &e.More)
	w.boolean(5, "recovered", &e.Recovered)
	w.text(6, "reason", &e.Reason)
}

func (e *CaughtUpEvent) wire(w *wire) {
	w.text(1, "channel", &e.Channel)
	w.text(2, "position", &e.Position)
	w.texts(3, "positions", &e.Positions)
}

func (e *GapEvent) wire(w *wire) {
	w.text(1, "channel", &e.Channel)
	w.text(2, "position", &e.Position)
	w.text(3, "reason", &e.Reason)
}

func (e *PositionEvent) wire(w *wire) {
	w.text(1, "channel", &e.Channel)
	w.text(2, "position", &e.Position)
}

func (e *DeletedEvent) wire(w *wire) {
	w.text(1, "channel", &e.Channel)
	w.unsigned(2, "offset", &e.Offset)
	w.text(3, "position", &e.Position)
}

func (e *ErrorEvent) wire(w *wire) {
	w.code(1, "code", &e.Code)
	w.text(2, "message", &e.Message)
	w.text(3, "field", &e.Field)
	w.boolean(4, "temporary", &e.Temporary)
	w.integer(5, "retry_after_ms", &e.RetryAfterMS)
}

func (e *DisconnectEvent) wire(w *wire) {
	w.code(1, "code", &e.Code)
	w.text(2, "reason", &e.Reason)
	w.boolean(3, "reconnect", &e.Reconnect)
	w.integer(4, "retry_after_ms", &e.RetryAfterMS)
}
