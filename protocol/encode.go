package protocol

// AppendMessage appends the message object {"channel":…}, without the event
// around it: the form that history pages, HTTP answers and SSE use. m.Data must
// be compact JSON (see CompactData); it is copied as it is. The hot path: no
// allocation but dst's growth, up to MaxHeaders headers.
func AppendMessage(dst []byte, m *MessageEvent) []byte {
	o := beginObject(dst)
	o.text("channel", m.Channel)
	o.unsigned("offset", m.Offset)
	o.text("position", m.Position)
	o.integer("time", m.Time)
	o.optText("id", m.ID)
	o.optText("user", m.User)
	o.optText("client", m.Client)
	o.optMap("headers", m.Headers)
	o.optRaw("data", m.Data)
	o.optBytes("data_base64", m.DataBase64, m.Bytes)
	if !m.plain() {
		m.appendOptions(&o)
	}
	return o.end()
}

// plain reports whether m has none of what few messages have, so that the many need
// not ask for each.
func (m *MessageEvent) plain() bool {
	return m.ConflationKey == "" && m.Updates == 0 && m.Group == "" && m.Attempt == 0 && m.AckToken == ""
}

func (m *MessageEvent) appendOptions(o *object) {
	o.optText("conflation_key", m.ConflationKey)
	o.optUnsigned("updates", m.Updates)
	o.optText("group", m.Group)
	o.optInteger("attempt", int64(m.Attempt))
	o.optText("ack_token", m.AckToken)
}

// AppendMessageEvent appends the whole frame {"message":{…}}, as AppendEvent does.
func (JSON) AppendMessageEvent(dst []byte, m *MessageEvent) []byte {
	return append(AppendMessage(append(dst, `{"message":`...), m), '}')
}

// AppendEvent appends the frame of e. Data must be compact JSON.
func (j JSON) AppendEvent(dst []byte, e *Event) []byte {
	o := beginObject(dst)
	o.optUnsigned("id", e.ID)
	switch {
	case e.Message != nil:
		o.name("message")
		o.dst = AppendMessage(o.dst, e.Message)
	case e.Published != nil:
		o.name("published")
		o.dst = e.Published.append(o.dst)
	case e.Connected != nil:
		o.name("connected")
		o.dst = e.Connected.append(o.dst)
	case e.Subscribed != nil:
		o.name("subscribed")
		o.dst = e.Subscribed.append(o.dst)
	case e.Unsubscribed != nil:
		o.name("unsubscribed")
		o.dst = e.Unsubscribed.append(o.dst)
	case e.History != nil:
		o.name("history")
		o.dst = e.History.append(o.dst)
	default:
		e.appendNews(&o)
	}
	return o.end()
}

func (e *Event) appendNews(o *object) {
	switch {
	case e.CaughtUp != nil:
		o.name("caught_up")
		o.dst = e.CaughtUp.append(o.dst)
	case e.Gap != nil:
		o.name("gap")
		o.dst = e.Gap.append(o.dst)
	case e.Position != nil:
		o.name("position")
		o.dst = e.Position.append(o.dst)
	case e.Deleted != nil:
		o.name("deleted")
		o.dst = e.Deleted.append(o.dst)
	case e.Error != nil:
		o.name("error")
		o.dst = e.Error.append(o.dst)
	case e.Disconnect != nil:
		o.name("disconnect")
		o.dst = e.Disconnect.append(o.dst)
	case e.Ping != nil:
		o.optRaw("ping", []byte("{}"))
	case e.Pong != nil:
		o.optRaw("pong", []byte("{}"))
	case e.Acked != nil:
		o.name("acked")
		o.dst = e.Acked.append(o.dst)
	case e.Presence != nil:
		o.name("presence")
		o.dst = e.Presence.append(o.dst)
	case e.Expiring != nil:
		o.name("expiring")
		o.dst = e.Expiring.append(o.dst)
	}
}

func (e *ExpiringEvent) append(dst []byte) []byte {
	o := beginObject(dst)
	o.integer("in_ms", e.InMS)
	return o.end()
}

func (e *ConnectedEvent) append(dst []byte) []byte {
	o := beginObject(dst)
	o.text("client", e.Client)
	o.text("node", e.Node)
	o.integer("ping_interval", int64(e.PingInterval))
	o.optInteger("max_frame", int64(e.MaxFrame))
	o.optText("session", e.Session)
	o.optTrue("resumed", e.Resumed)
	o.optInteger("expires_in_ms", e.ExpiresInMS)
	return o.end()
}

func (e *SubscribedEvent) append(dst []byte) []byte {
	o := beginObject(dst)
	o.text("channel", e.Channel)
	o.optText("position", e.Position)
	o.optTexts("positions", e.Positions)
	o.boolean("recovered", e.Recovered)
	o.optText("reason", e.Reason)
	o.optTrue("durable", e.Durable)
	o.optTrue("resumed", e.Resumed)
	o.optText("group", e.Group)
	o.optInteger("ack_wait_ms", e.AckWaitMS)
	return o.end()
}

func (e *UnsubscribedEvent) append(dst []byte) []byte {
	o := beginObject(dst)
	o.text("channel", e.Channel)
	o.optUnsigned("code", uint64(e.Code))
	o.optText("reason", e.Reason)
	return o.end()
}

func (e *PublishedEvent) append(dst []byte) []byte {
	o := beginObject(dst)
	o.text("channel", e.Channel)
	if e.Schedule == "" {
		o.unsigned("offset", e.Offset)
		o.text("position", e.Position)
		o.integer("time", e.Time)
	} else { // it has no place in its channel yet
		o.optUnsigned("offset", e.Offset)
		o.optText("position", e.Position)
		o.optInteger("time", e.Time)
	}
	o.boolean("duplicate", e.Duplicate)
	o.optText("schedule", e.Schedule)
	o.optInteger("deliver_at", e.DeliverAt)
	return o.end()
}

func (e *AckedEvent) append(dst []byte) []byte {
	o := beginObject(dst)
	o.text("channel", e.Channel)
	o.optUnsigned("offset", e.Offset)
	o.optText("position", e.Position)
	o.optText("token", e.Token)
	return o.end()
}

func (e *HistoryEvent) append(dst []byte) []byte {
	o := beginObject(dst)
	o.text("channel", e.Channel)
	o.name("messages")
	o.dst = append(o.dst, '[')
	for i := range e.Messages {
		if i > 0 {
			o.dst = append(o.dst, ',')
		}
		o.dst = AppendMessage(o.dst, &e.Messages[i])
	}
	o.dst = append(o.dst, ']')
	o.text("position", e.Position)
	o.boolean("more", e.More)
	o.boolean("recovered", e.Recovered)
	o.optText("reason", e.Reason)
	return o.end()
}

func (e *CaughtUpEvent) append(dst []byte) []byte {
	o := beginObject(dst)
	o.text("channel", e.Channel)
	o.optText("position", e.Position)
	o.optTexts("positions", e.Positions)
	return o.end()
}

func (e *GapEvent) append(dst []byte) []byte {
	o := beginObject(dst)
	o.text("channel", e.Channel)
	o.text("position", e.Position)
	o.text("reason", e.Reason)
	return o.end()
}

func (e *PositionEvent) append(dst []byte) []byte {
	o := beginObject(dst)
	o.text("channel", e.Channel)
	o.text("position", e.Position)
	return o.end()
}

func (e *DeletedEvent) append(dst []byte) []byte {
	o := beginObject(dst)
	o.text("channel", e.Channel)
	o.unsigned("offset", e.Offset)
	o.text("position", e.Position)
	return o.end()
}

func (e *ErrorEvent) append(dst []byte) []byte {
	o := beginObject(dst)
	o.unsigned("code", uint64(e.Code))
	o.text("message", e.Message)
	o.optText("field", e.Field)
	o.boolean("temporary", e.Temporary)
	o.integer("retry_after_ms", e.RetryAfterMS)
	return o.end()
}

func (e *DisconnectEvent) append(dst []byte) []byte {
	o := beginObject(dst)
	o.unsigned("code", uint64(e.Code))
	o.text("reason", e.Reason)
	o.boolean("reconnect", e.Reconnect)
	o.integer("retry_after_ms", e.RetryAfterMS)
	return o.end()
}
