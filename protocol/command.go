package protocol

// JSON is the codec of SubprotocolJSON. Every frame is one object, in a text
// message, with exactly one command or event.
type JSON struct{}

// Subprotocol is SubprotocolJSON.
func (JSON) Subprotocol() string { return SubprotocolJSON }

// DecodeCommand reads one command. It checks the form: one JSON object (see
// CompactData for what is refused as JSON, here nested at most MaxDepth+4 deep),
// exactly one command, types, and an ID from 1 to MaxID on all but ping and
// pong. Unknown fields are ignored; null is an absent field; of a repeated field
// the last counts. What the values mean is for the session to check. The result
// shares no memory with frame.
//
// Errors are *DecodeError. The returned command then has its ID if that much
// could be read, so that the error can be answered to it; with ID 0, the frame
// is none of this protocol (CloseBadFrame).
func (JSON) DecodeCommand(frame []byte) (Command, error) {
	var c Command
	body, err := frameObject(frame)
	if err != nil {
		return c, err
	}
	d := commandDecoder{out: &c}
	if err := members(body, d.member); err != nil {
		d.readID(body)
		return c, err
	}
	if err := c.complete(d.found); err != nil {
		return Command{ID: c.ID}, err
	}
	return c, nil
}

// complete checks what a whole command must have; found names it, "" if there is none.
func (c *Command) complete(found string) *DecodeError {
	switch {
	case found == "":
		return refuse("frame", "has no command; it needs exactly one of connect, subscribe, unsubscribe, publish, ack, nak, in_progress, history, presence, refresh, ping, pong")
	case c.ID == 0 && c.Ping == nil && c.Pong == nil:
		return refuse("id", "must be a whole number from 1 to 2^53-1; the reply to %s repeats it", found)
	}
	return nil
}

// frameObject checks frame and returns its one object without space around it.
func frameObject(frame []byte) (value, error) {
	if err := scan(frame, "frame", maxFrameDepth); err != nil {
		return nil, err
	}
	body := value(frame[nextToken(frame, 0):])
	if body[0] != '{' {
		return nil, refuse("frame", "must be one JSON object, not %s", body.kind())
	}
	return body, nil
}

type commandDecoder struct {
	out   *Command
	found string // the command seen so far
}

// readID finds the ID where decoding stopped before it.
func (d *commandDecoder) readID(body value) {
	*d.out = Command{}
	_ = members(body, func(name []byte, v value) *DecodeError {
		if string(name) == "id" {
			return v.unsigned("id", &d.out.ID)
		}
		return nil
	})
}

func (d *commandDecoder) member(name []byte, v value) *DecodeError {
	if string(name) == "id" {
		return v.unsigned("id", &d.out.ID)
	}
	set := d.fields(name)
	if set == nil || v.null() {
		return nil
	}
	if d.found != "" {
		return twoCommands(d.found, string(name))
	}
	d.found = string(name)
	if v[0] != '{' {
		return refuse(d.found, "must be an object, not %s", v.kind())
	}
	return members(v, set())
}

func twoCommands(a, b string) *DecodeError {
	return refuse("frame", "has two commands, %s and %s; send each in a frame of its own", a, b)
}

type fieldSetter = func(name []byte, v value) *DecodeError

// fields returns what makes the command and gives a setter of its fields; nil for an unknown name.
func (d *commandDecoder) fields(name []byte) func() fieldSetter {
	c := d.out
	switch string(name) {
	case "connect":
		return func() fieldSetter { c.Connect = new(ConnectCommand); return c.Connect.set }
	case "subscribe":
		return func() fieldSetter { c.Subscribe = new(SubscribeCommand); return c.Subscribe.set }
	case "unsubscribe":
		return func() fieldSetter { c.Unsubscribe = new(UnsubscribeCommand); return c.Unsubscribe.set }
	case "publish":
		return func() fieldSetter { c.Publish = new(PublishCommand); return c.Publish.set }
	case "ack":
		return func() fieldSetter { c.Ack = new(AckCommand); return c.Ack.set }
	case "nak":
		return func() fieldSetter { c.Nak = new(NakCommand); return c.Nak.set }
	case "in_progress":
		return func() fieldSetter { c.InProgress = new(InProgressCommand); return c.InProgress.set }
	case "history":
		return func() fieldSetter { c.History = new(HistoryCommand); return c.History.set }
	case "presence":
		return func() fieldSetter { c.Presence = new(PresenceCommand); return c.Presence.set }
	case "refresh":
		return func() fieldSetter { c.Refresh = new(RefreshCommand); return c.Refresh.set }
	case "ping":
		return func() fieldSetter { c.Ping = new(Ping); return noFields }
	case "pong":
		return func() fieldSetter { c.Pong = new(Pong); return noFields }
	}
	return nil
}

func noFields([]byte, value) *DecodeError { return nil }

func (c *ConnectCommand) set(name []byte, v value) *DecodeError {
	switch string(name) {
	case "token":
		return v.text("token", &c.Token)
	case "name":
		return v.text("name", &c.Name)
	case "version":
		return v.text("version", &c.Version)
	case "session":
		return v.text("session", &c.Session)
	}
	return nil
}

func (c *SubscribeCommand) set(name []byte, v value) *DecodeError {
	switch string(name) {
	case "channel":
		return v.text("channel", &c.Channel)
	case "position":
		return v.text("position", &c.Position)
	case "positions":
		return v.texts("positions", &c.Positions)
	case "last":
		return v.count("last", &c.Last)
	case "since":
		return v.integer("since", &c.Since)
	}
	return c.setKind(name, v)
}

// setKind sets what says how messages are delivered, wherever they begin.
func (c *SubscribeCommand) setKind(name []byte, v value) *DecodeError {
	switch string(name) {
	case "durable":
		return v.boolean("durable", &c.Durable)
	case "group":
		return v.text("group", &c.Group)
	case "max_in_flight":
		return v.count("max_in_flight", &c.MaxInFlight)
	case "filter":
		return v.text("filter", &c.Filter)
	case "conflate":
		return v.text("conflate", &c.Conflate)
	case "max_rate":
		return v.count("max_rate", &c.MaxRate)
	case "presence":
		return v.boolean("presence", &c.Presence)
	case "token":
		return v.text("token", &c.Token)
	}
	return nil
}

func (c *UnsubscribeCommand) set(name []byte, v value) *DecodeError {
	if string(name) == "channel" {
		return v.text("channel", &c.Channel)
	}
	return nil
}

func (c *PublishCommand) set(name []byte, v value) *DecodeError {
	switch string(name) {
	case "channel":
		return v.text("channel", &c.Channel)
	case "data":
		return v.raw(&c.Data)
	case "data_base64":
		return v.textPointer("data_base64", &c.DataBase64)
	case "idempotency_key":
		if err := v.text("idempotency_key", &c.IdempotencyKey); err != nil || v.null() || c.IdempotencyKey != "" {
			return err
		}
		return emptyKey()
	case "headers":
		return v.textMap("headers", &c.Headers)
	}
	return c.setOption(name, v)
}

func (c *PublishCommand) setOption(name []byte, v value) *DecodeError {
	switch string(name) {
	case "ttl":
		return v.integer("ttl", &c.TTL)
	case "deliver_at":
		return v.integer("deliver_at", &c.DeliverAt)
	case "delay":
		return v.integer("delay", &c.Delay)
	case "expected_offset":
		return v.unsignedPointer("expected_offset", &c.ExpectedOffset)
	case "exclude":
		return v.text("exclude", &c.Exclude)
	case "conflation_key":
		return v.text("conflation_key", &c.ConflationKey)
	case "updates":
		return v.unsigned("updates", &c.Updates)
	}
	return nil
}

// emptyKey refuses a key that is given, and empty: nobody means that.
func emptyKey() *DecodeError {
	return refuse("idempotency_key", "is empty, must have 1 to %d characters; leave it out for none", MaxIdempotencyKey)
}

func (c *AckCommand) set(name []byte, v value) *DecodeError {
	switch string(name) {
	case "channel":
		return v.text("channel", &c.Channel)
	case "offset":
		return v.unsigned("offset", &c.Offset)
	case "position":
		return v.text("position", &c.Position)
	case "token":
		return v.text("token", &c.Token)
	}
	return nil
}

func (c *NakCommand) set(name []byte, v value) *DecodeError {
	switch string(name) {
	case "channel":
		return v.text("channel", &c.Channel)
	case "token":
		return v.text("token", &c.Token)
	case "delay":
		return v.integer("delay", &c.Delay)
	case "reason":
		return v.text("reason", &c.Reason)
	}
	return nil
}

func (c *InProgressCommand) set(name []byte, v value) *DecodeError {
	switch string(name) {
	case "channel":
		return v.text("channel", &c.Channel)
	case "token":
		return v.text("token", &c.Token)
	}
	return nil
}

func (c *HistoryCommand) set(name []byte, v value) *DecodeError {
	switch string(name) {
	case "channel":
		return v.text("channel", &c.Channel)
	case "after":
		return v.text("after", &c.After)
	case "before":
		return v.text("before", &c.Before)
	case "since":
		return v.integer("since", &c.Since)
	case "limit":
		return v.count("limit", &c.Limit)
	case "order":
		return v.text("order", &c.Order)
	case "fold":
		return v.text("fold", &c.Fold)
	}
	return nil
}

func (c *PresenceCommand) set(name []byte, v value) *DecodeError {
	switch string(name) {
	case "channel":
		return v.text("channel", &c.Channel)
	case "limit":
		return v.count("limit", &c.Limit)
	case "after":
		return v.text("after", &c.After)
	case "counts":
		return v.boolean("counts", &c.Counts)
	}
	return nil
}

func (c *RefreshCommand) set(name []byte, v value) *DecodeError {
	if string(name) == "token" {
		return v.text("token", &c.Token)
	}
	return nil
}
