package protocol

// DecodeEvent reads one event, under the rules of DecodeCommand but that an
// event needs no ID and that an unknown event is not an error: it gives an Event
// without any, which a client ignores. Errors are *DecodeError.
func (JSON) DecodeEvent(frame []byte) (Event, error) {
	body, err := frameObject(frame)
	if err != nil {
		return Event{}, err
	}
	d := eventDecoder{}
	if err := members(body, d.member); err != nil {
		return Event{}, err
	}
	return d.out, nil
}

type eventDecoder struct {
	out   Event
	found string
}

func (d *eventDecoder) member(name []byte, v value) *DecodeError {
	if string(name) == "id" {
		return v.unsigned("id", &d.out.ID)
	}
	set := d.reply(name)
	if set == nil {
		set = d.push(name)
	}
	if set == nil || v.null() {
		return nil
	}
	if d.found != "" {
		return twoEvents(d.found, string(name))
	}
	d.found = string(name)
	if v[0] != '{' {
		return refuse(d.found, "must be an object, not %s", v.kind())
	}
	return members(v, set())
}

func twoEvents(a, b string) *DecodeError {
	return refuse("frame", "has two events, %s and %s", a, b)
}

func (d *eventDecoder) reply(name []byte) func() fieldSetter {
	e := &d.out
	switch string(name) {
	case "connected":
		return func() fieldSetter { e.Connected = new(ConnectedEvent); return e.Connected.set }
	case "subscribed":
		return func() fieldSetter { e.Subscribed = new(SubscribedEvent); return e.Subscribed.set }
	case "unsubscribed":
		return func() fieldSetter { e.Unsubscribed = new(UnsubscribedEvent); return e.Unsubscribed.set }
	case "published":
		return func() fieldSetter { e.Published = new(PublishedEvent); return e.Published.set }
	case "history":
		return func() fieldSetter { e.History = new(HistoryEvent); return e.History.set }
	case "acked":
		return func() fieldSetter { e.Acked = new(AckedEvent); return e.Acked.set }
	case "presence":
		return func() fieldSetter { e.Presence = new(PresenceEvent); return e.Presence.set }
	case "error":
		return func() fieldSetter { e.Error = new(ErrorEvent); return e.Error.set }
	case "pong":
		return func() fieldSetter { e.Pong = new(Pong); return noFields }
	}
	return nil
}

func (d *eventDecoder) push(name []byte) func() fieldSetter {
	e := &d.out
	switch string(name) {
	case "message":
		return func() fieldSetter { e.Message = new(MessageEvent); return e.Message.set }
	case "caught_up":
		return func() fieldSetter { e.CaughtUp = new(CaughtUpEvent); return e.CaughtUp.set }
	case "gap":
		return func() fieldSetter { e.Gap = new(GapEvent); return e.Gap.set }
	case "position":
		return func() fieldSetter { e.Position = new(PositionEvent); return e.Position.set }
	case "deleted":
		return func() fieldSetter { e.Deleted = new(DeletedEvent); return e.Deleted.set }
	case "disconnect":
		return func() fieldSetter { e.Disconnect = new(DisconnectEvent); return e.Disconnect.set }
	case "ping":
		return func() fieldSetter { e.Ping = new(Ping); return noFields }
	case "expiring":
		return func() fieldSetter { e.Expiring = new(ExpiringEvent); return e.Expiring.set }
	}
	return nil
}

func (e *ConnectedEvent) set(name []byte, v value) *DecodeError {
	switch string(name) {
	case "client":
		return v.text("client", &e.Client)
	case "node":
		return v.text("node", &e.Node)
	case "ping_interval":
		return v.count("ping_interval", &e.PingInterval)
	case "max_frame":
		return v.count("max_frame", &e.MaxFrame)
	case "session":
		return v.text("session", &e.Session)
	case "resumed":
		return v.boolean("resumed", &e.Resumed)
	case "expires_in_ms":
		return v.integer("expires_in_ms", &e.ExpiresInMS)
	}
	return nil
}

func (e *ExpiringEvent) set(name []byte, v value) *DecodeError {
	if string(name) == "in_ms" {
		return v.integer("in_ms", &e.InMS)
	}
	return nil
}

func (e *SubscribedEvent) set(name []byte, v value) *DecodeError {
	switch string(name) {
	case "channel":
		return v.text("channel", &e.Channel)
	case "position":
		return v.text("position", &e.Position)
	case "positions":
		return v.texts("positions", &e.Positions)
	case "recovered":
		return v.boolean("recovered", &e.Recovered)
	case "reason":
		return v.text("reason", &e.Reason)
	case "durable":
		return v.boolean("durable", &e.Durable)
	case "resumed":
		return v.boolean("resumed", &e.Resumed)
	case "group":
		return v.text("group", &e.Group)
	case "ack_wait_ms":
		return v.integer("ack_wait_ms", &e.AckWaitMS)
	}
	return nil
}

func (e *UnsubscribedEvent) set(name []byte, v value) *DecodeError {
	switch string(name) {
	case "channel":
		return v.text("channel", &e.Channel)
	case "code":
		return v.code("code", &e.Code)
	case "reason":
		return v.text("reason", &e.Reason)
	}
	return nil
}

func (e *PublishedEvent) set(name []byte, v value) *DecodeError {
	switch string(name) {
	case "channel":
		return v.text("channel", &e.Channel)
	case "offset":
		return v.unsigned("offset", &e.Offset)
	case "position":
		return v.text("position", &e.Position)
	case "time":
		return v.integer("time", &e.Time)
	case "duplicate":
		return v.boolean("duplicate", &e.Duplicate)
	case "schedule":
		return v.text("schedule", &e.Schedule)
	case "deliver_at":
		return v.integer("deliver_at", &e.DeliverAt)
	}
	return nil
}

func (e *AckedEvent) set(name []byte, v value) *DecodeError {
	switch string(name) {
	case "channel":
		return v.text("channel", &e.Channel)
	case "offset":
		return v.unsigned("offset", &e.Offset)
	case "position":
		return v.text("position", &e.Position)
	case "token":
		return v.text("token", &e.Token)
	}
	return nil
}

func (e *MessageEvent) set(name []byte, v value) *DecodeError {
	switch string(name) {
	case "channel":
		return v.text("channel", &e.Channel)
	case "offset":
		return v.unsigned("offset", &e.Offset)
	case "position":
		return v.text("position", &e.Position)
	case "time":
		return v.integer("time", &e.Time)
	case "id":
		return v.text("id", &e.ID)
	case "user":
		return v.text("user", &e.User)
	case "client":
		return v.text("client", &e.Client)
	case "headers":
		return v.textMap("headers", &e.Headers)
	case "data":
		return v.raw(&e.Data)
	case "data_base64":
		return v.textPointer("data_base64", &e.DataBase64)
	}
	return e.setOption(name, v)
}

// setOption sets what few messages have.
func (e *MessageEvent) setOption(name []byte, v value) *DecodeError {
	switch string(name) {
	case "conflation_key":
		return v.text("conflation_key", &e.ConflationKey)
	case "updates":
		return v.unsigned("updates", &e.Updates)
	case "group":
		return v.text("group", &e.Group)
	case "attempt":
		return v.count("attempt", &e.Attempt)
	case "ack_token":
		return v.text("ack_token", &e.AckToken)
	}
	return nil
}

func (e *HistoryEvent) set(name []byte, v value) *DecodeError {
	switch string(name) {
	case "channel":
		return v.text("channel", &e.Channel)
	case "messages":
		return e.setMessages(v)
	case "position":
		return v.text("position", &e.Position)
	case "more":
		return v.boolean("more", &e.More)
	case "recovered":
		return v.boolean("recovered", &e.Recovered)
	case "reason":
		return v.text("reason", &e.Reason)
	}
	return nil
}

func (e *HistoryEvent) setMessages(v value) *DecodeError {
	if v.null() {
		return nil
	}
	e.Messages = nil
	return v.objects("messages", "messages", func(item value) *DecodeError {
		var m MessageEvent
		if err := members(item, m.set); err != nil {
			return err
		}
		return e.add(m)
	})
}

// add bounds what a frame of many small messages makes of itself in memory.
func (e *HistoryEvent) add(m MessageEvent) *DecodeError {
	if len(e.Messages) == MaxHistory {
		return refuse("messages", "has more than %d messages", MaxHistory)
	}
	e.Messages = append(e.Messages, m)
	return nil
}

func (e *CaughtUpEvent) set(name []byte, v value) *DecodeError {
	switch string(name) {
	case "channel":
		return v.text("channel", &e.Channel)
	case "position":
		return v.text("position", &e.Position)
	case "positions":
		return v.texts("positions", &e.Positions)
	}
	return nil
}

func (e *GapEvent) set(name []byte, v value) *DecodeError {
	switch string(name) {
	case "channel":
		return v.text("channel", &e.Channel)
	case "position":
		return v.text("position", &e.Position)
	case "reason":
		return v.text("reason", &e.Reason)
	}
	return nil
}

func (e *PositionEvent) set(name []byte, v value) *DecodeError {
	switch string(name) {
	case "channel":
		return v.text("channel", &e.Channel)
	case "position":
		return v.text("position", &e.Position)
	}
	return nil
}

func (e *DeletedEvent) set(name []byte, v value) *DecodeError {
	switch string(name) {
	case "channel":
		return v.text("channel", &e.Channel)
	case "offset":
		return v.unsigned("offset", &e.Offset)
	case "position":
		return v.text("position", &e.Position)
	}
	return nil
}

func (e *ErrorEvent) set(name []byte, v value) *DecodeError {
	switch string(name) {
	case "code":
		return v.code("code", &e.Code)
	case "message":
		return v.text("message", &e.Message)
	case "field":
		return v.text("field", &e.Field)
	case "temporary":
		return v.boolean("temporary", &e.Temporary)
	case "retry_after_ms":
		return v.integer("retry_after_ms", &e.RetryAfterMS)
	}
	return nil
}

func (e *DisconnectEvent) set(name []byte, v value) *DecodeError {
	switch string(name) {
	case "code":
		return v.code("code", &e.Code)
	case "reason":
		return v.text("reason", &e.Reason)
	case "reconnect":
		return v.boolean("reconnect", &e.Reconnect)
	case "retry_after_ms":
		return v.integer("retry_after_ms", &e.RetryAfterMS)
	}
	return nil
}
