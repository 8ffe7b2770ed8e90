package protocol

// AppendCommand appends the frame of c. Data must be JSON.
func (JSON) AppendCommand(dst []byte, c *Command) []byte {
	o := beginObject(dst)
	o.optUnsigned("id", c.ID)
	switch {
	case c.Connect != nil:
		o.name("connect")
		o.dst = c.Connect.append(o.dst)
	case c.Subscribe != nil:
		o.name("subscribe")
		o.dst = c.Subscribe.append(o.dst)
	case c.Unsubscribe != nil:
		o.name("unsubscribe")
		o.dst = c.Unsubscribe.append(o.dst)
	case c.Publish != nil:
		o.name("publish")
		o.dst = c.Publish.append(o.dst)
	case c.Ack != nil:
		o.name("ack")
		o.dst = c.Ack.append(o.dst)
	case c.Nak != nil:
		o.name("nak")
		o.dst = c.Nak.append(o.dst)
	case c.InProgress != nil:
		o.name("in_progress")
		o.dst = c.InProgress.append(o.dst)
	case c.History != nil:
		o.name("history")
		o.dst = c.History.append(o.dst)
	case c.Presence != nil:
		o.name("presence")
		o.dst = c.Presence.append(o.dst)
	case c.Refresh != nil:
		o.name("refresh")
		o.dst = c.Refresh.append(o.dst)
	case c.Ping != nil:
		o.optRaw("ping", []byte("{}"))
	case c.Pong != nil:
		o.optRaw("pong", []byte("{}"))
	}
	return o.end()
}

func (c *UnsubscribeCommand) append(dst []byte) []byte {
	o := beginObject(dst)
	o.text("channel", c.Channel)
	return o.end()
}

func (c *ConnectCommand) append(dst []byte) []byte {
	o := beginObject(dst)
	o.optText("token", c.Token)
	o.optText("name", c.Name)
	o.optText("version", c.Version)
	o.optText("session", c.Session)
	return o.end()
}

func (c *SubscribeCommand) append(dst []byte) []byte {
	o := beginObject(dst)
	o.text("channel", c.Channel)
	o.optText("position", c.Position)
	o.optTexts("positions", c.Positions)
	o.optInteger("last", int64(c.Last))
	o.optInteger("since", c.Since)
	o.optTrue("durable", c.Durable)
	o.optText("group", c.Group)
	o.optInteger("max_in_flight", int64(c.MaxInFlight))
	o.optText("filter", c.Filter)
	o.optText("conflate", c.Conflate)
	o.optInteger("max_rate", int64(c.MaxRate))
	o.optTrue("presence", c.Presence)
	o.optText("token", c.Token)
	return o.end()
}

func (c *PublishCommand) append(dst []byte) []byte {
	o := beginObject(dst)
	o.text("channel", c.Channel)
	o.optRaw("data", c.Data)
	o.optBytes("data_base64", c.DataBase64, c.Bytes)
	o.optText("idempotency_key", c.IdempotencyKey)
	o.optMap("headers", c.Headers)
	o.optInteger("ttl", c.TTL)
	o.optInteger("deliver_at", c.DeliverAt)
	o.optInteger("delay", c.Delay)
	if c.ExpectedOffset != nil {
		o.unsigned("expected_offset", *c.ExpectedOffset)
	}
	o.optText("exclude", c.Exclude)
	o.optText("conflation_key", c.ConflationKey)
	o.optUnsigned("updates", c.Updates)
	return o.end()
}

func (c *AckCommand) append(dst []byte) []byte {
	o := beginObject(dst)
	o.text("channel", c.Channel)
	o.optUnsigned("offset", c.Offset)
	o.optText("position", c.Position)
	o.optText("token", c.Token)
	return o.end()
}

func (c *NakCommand) append(dst []byte) []byte {
	o := beginObject(dst)
	o.text("channel", c.Channel)
	o.text("token", c.Token)
	o.optInteger("delay", c.Delay)
	o.optText("reason", c.Reason)
	return o.end()
}

func (c *InProgressCommand) append(dst []byte) []byte {
	o := beginObject(dst)
	o.text("channel", c.Channel)
	o.text("token", c.Token)
	return o.end()
}

func (c *HistoryCommand) append(dst []byte) []byte {
	o := beginObject(dst)
	o.text("channel", c.Channel)
	o.optText("after", c.After)
	o.optText("before", c.Before)
	o.optInteger("since", c.Since)
	o.optInteger("limit", int64(c.Limit))
	o.optText("order", c.Order)
	o.optText("fold", c.Fold)
	return o.end()
}

func (c *PresenceCommand) append(dst []byte) []byte {
	o := beginObject(dst)
	o.text("channel", c.Channel)
	o.optInteger("limit", int64(c.Limit))
	o.optText("after", c.After)
	o.optTrue("counts", c.Counts)
	return o.end()
}

func (c *RefreshCommand) append(dst []byte) []byte {
	o := beginObject(dst)
	o.text("token", c.Token)
	return o.end()
}
