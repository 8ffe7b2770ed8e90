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
		o.dst = appendChannel(o.dst, c.Unsubscribe.Channel)
	case c.Publish != nil:
		o.name("publish")
		o.dst = c.Publish.append(o.dst)
	case c.Ack != nil:
		o.name("ack")
		o.dst = c.Ack.append(o.dst)
	case c.History != nil:
		o.name("history")
		o.dst = c.History.append(o.dst)
	case c.Presence != nil:
		o.name("presence")
		o.dst = appendChannel(o.dst, c.Presence.Channel)
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

func appendChannel(dst []byte, channel string) []byte {
	o := beginObject(dst)
	o.text("channel", channel)
	return o.end()
}

func (c *ConnectCommand) append(dst []byte) []byte {
	o := beginObject(dst)
	o.optText("token", c.Token)
	o.optText("name", c.Name)
	o.optText("version", c.Version)
	return o.end()
}

func (c *SubscribeCommand) append(dst []byte) []byte {
	o := beginObject(dst)
	o.text("channel", c.Channel)
	o.optText("position", c.Position)
	o.optTexts("positions", c.Positions)
	o.optInteger("last", int64(c.Last))
	o.optInteger("since", c.Since)
	return o.end()
}

func (c *PublishCommand) append(dst []byte) []byte {
	o := beginObject(dst)
	o.text("channel", c.Channel)
	o.optRaw("data", c.Data)
	o.optBytes("data_base64", c.DataBase64, c.Bytes)
	o.optText("idempotency_key", c.IdempotencyKey)
	o.optMap("headers", c.Headers)
	return o.end()
}

func (c *AckCommand) append(dst []byte) []byte {
	o := beginObject(dst)
	o.text("channel", c.Channel)
	o.optUnsigned("offset", c.Offset)
	o.optText("position", c.Position)
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
	return o.end()
}

func (c *RefreshCommand) append(dst []byte) []byte {
	o := beginObject(dst)
	o.text("token", c.Token)
	return o.end()
}
