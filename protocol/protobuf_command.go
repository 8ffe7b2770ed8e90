package protocol

import "google.golang.org/protobuf/encoding/protowire"

// member makes the command that is field num of Command, and returns its name and
// what goes through its fields; "" if there is none.
func (c *Command) member(num protowire.Number) (string, func(*wire)) {
	switch num {
	case 2:
		c.Connect = new(ConnectCommand)
		return "connect", c.Connect.wire
	case 3:
		c.Subscribe = new(SubscribeCommand)
		return "subscribe", c.Subscribe.wire
	case 4:
		c.Unsubscribe = new(UnsubscribeCommand)
		return "unsubscribe", c.Unsubscribe.wire
	case 5:
		c.Publish = new(PublishCommand)
		return "publish", c.Publish.wire
	case 6:
		c.Ack = new(AckCommand)
		return "ack", c.Ack.wire
	case 7:
		c.History = new(HistoryCommand)
		return "history", c.History.wire
	case 8:
		c.Presence = new(PresenceCommand)
		return "presence", c.Presence.wire
	case 9:
		c.Refresh = new(RefreshCommand)
		return "refresh", c.Refresh.wire
	case 10:
		c.Ping = new(Ping)
		return "ping", noWire
	case 11:
		c.Pong = new(Pong)
		return "pong", noWire
	case 12:
		c.Nak = new(NakCommand)
		return "nak", c.Nak.wire
	case 13:
		c.InProgress = new(InProgressCommand)
		return "in_progress", c.InProgress.wire
	default:
		return "", nil
	}
}

// append writes the command that is set. The calls are direct, unlike member's, so
// that w does not escape.
func (c *Command) append(w *wire) {
	at, from := opened{}, len(w.dst)
	switch {
	case c.Connect != nil:
		at = w.open(2, 0)
		c.Connect.wire(w)
	case c.Subscribe != nil:
		at = w.open(3, 0)
		c.Subscribe.wire(w)
	case c.Unsubscribe != nil:
		at = w.open(4, 0)
		c.Unsubscribe.wire(w)
	case c.Publish != nil:
		at = w.open(5, len(c.Publish.Data)+len(c.Publish.Bytes))
		c.Publish.wire(w)
	case c.Ack != nil:
		at = w.open(6, 0)
		c.Ack.wire(w)
	case c.History != nil:
		at = w.open(7, 0)
		c.History.wire(w)
	case c.Presence != nil:
		at = w.open(8, 0)
		c.Presence.wire(w)
	case c.Refresh != nil:
		at = w.open(9, 0)
		c.Refresh.wire(w)
	case c.Ping != nil:
		at = w.open(10, 0)
	case c.Pong != nil:
		at = w.open(11, 0)
	case c.Nak != nil:
		at = w.open(12, 0)
		c.Nak.wire(w)
	case c.InProgress != nil:
		at = w.open(13, 0)
		c.InProgress.wire(w)
	}
	if len(w.dst) > from {
		w.close(at)
	}
}

func noWire(*wire) {}

func (c *ConnectCommand) wire(w *wire) {
	w.text(1, "token", &c.Token)
	w.text(2, "name", &c.Name)
	w.text(3, "version", &c.Version)
	w.text(4, "session", &c.Session)
}

func (c *SubscribeCommand) wire(w *wire) {
	w.text(1, "channel", &c.Channel)
	w.text(2, "position", &c.Position)
	w.texts(3, "positions", &c.Positions)
	w.count(4, "last", &c.Last)
	w.integer(5, "since", &c.Since)
	w.boolean(6, "durable", &c.Durable)
	w.text(7, "group", &c.Group)
	w.count(8, "max_in_flight", &c.MaxInFlight)
	w.text(9, "filter", &c.Filter)
	w.text(10, "conflate", &c.Conflate)
	w.count(11, "max_rate", &c.MaxRate)
	w.boolean(12, "presence", &c.Presence)
	w.text(13, "token", &c.Token)
}

func (c *UnsubscribeCommand) wire(w *wire) {
	w.text(1, "channel", &c.Channel)
}

func (c *PublishCommand) wire(w *wire) {
	w.text(1, "channel", &c.Channel)
	w.json(2, "data", &c.Data)
	w.binary(3, "data_binary", &c.Bytes, c.DataBase64)
	w.key(4, "idempotency_key", &c.IdempotencyKey)
	w.headers(5, "headers", &c.Headers)
	w.integer(6, "ttl", &c.TTL)
	w.integer(7, "deliver_at", &c.DeliverAt)
	w.integer(8, "delay", &c.Delay)
	w.unsignedPointer(9, "expected_offset", &c.ExpectedOffset)
	w.text(10, "exclude", &c.Exclude)
	w.text(11, "conflation_key", &c.ConflationKey)
	w.unsigned(12, "updates", &c.Updates)
}

func (c *AckCommand) wire(w *wire) {
	w.text(1, "channel", &c.Channel)
	w.unsigned(2, "offset", &c.Offset)
	w.text(3, "position", &c.Position)
	w.text(4, "token", &c.Token)
}

func (c *NakCommand) wire(w *wire) {
	w.text(1, "channel", &c.Channel)
	w.text(2, "token", &c.Token)
	w.integer(3, "delay", &c.Delay)
	w.text(4, "reason", &c.Reason)
}

func (c *InProgressCommand) wire(w *wire) {
	w.text(1, "channel", &c.Channel)
	w.text(2, "token", &c.Token)
}

func (c *HistoryCommand) wire(w *wire) {
	w.text(1, "channel", &c.Channel)
	w.text(2, "after", &c.After)
	w.text(3, "before", &c.Before)
	w.integer(4, "since", &c.Since)
	w.count(5, "limit", &c.Limit)
	w.text(6, "order", &c.Order)
	w.text(7, "fold", &c.Fold)
}

func (c *PresenceCommand) wire(w *wire) {
	w.text(1, "channel", &c.Channel)
	w.count(2, "limit", &c.Limit)
	w.text(3, "after", &c.After)
	w.boolean(4, "counts", &c.Counts)
}

func (c *RefreshCommand) wire(w *wire) {
	w.text(1, "token", &c.Token)
}
