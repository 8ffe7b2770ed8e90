package protocol

import "encoding/json"

// Command is one message from a client: exactly one of the pointers is set.
// Every command but Pong carries an ID above zero, which its reply repeats.
type Command struct {
	ID          uint64              `json:"id,omitempty"`
	Connect     *ConnectCommand     `json:"connect,omitempty"`
	Subscribe   *SubscribeCommand   `json:"subscribe,omitempty"`
	Unsubscribe *UnsubscribeCommand `json:"unsubscribe,omitempty"`
	Publish     *PublishCommand     `json:"publish,omitempty"`
	Ack         *AckCommand         `json:"ack,omitempty"`
	History     *HistoryCommand     `json:"history,omitempty"`
	Presence    *PresenceCommand    `json:"presence,omitempty"`
	Refresh     *RefreshCommand     `json:"refresh,omitempty"`
	Pong        *Pong               `json:"pong,omitempty"`
	Ping        *Ping               `json:"ping,omitempty"`
	Nak         *NakCommand         `json:"nak,omitempty"`
	InProgress  *InProgressCommand  `json:"in_progress,omitempty"`
}

// ConnectCommand opens the session. It may be omitted where the handshake
// carried the token or the node runs open.
type ConnectCommand struct {
	Token string `json:"token,omitempty"`
	// Name and Version of the client software, for logs and metrics; at most 64 bytes each.
	Name    string `json:"name,omitempty"`
	Version string `json:"version,omitempty"`
	// Session names the durable session that this connection continues, one of the
	// user's own: 1 to MaxSessionName bytes of A-Z, a-z, 0-9, '.', '_' and '-'.
	Session string `json:"session,omitempty"`
}

// SubscribeCommand starts a subscription to a channel or a pattern. At most one
// of Position/Positions, Last and Since says where it starts; with none of them
// it is live from now.
type SubscribeCommand struct {
	Channel string `json:"channel"`
	// Position resumes a channel: everything after it, then live.
	Position string `json:"position,omitempty"`
	// Positions resume a pattern: the latest position of each stream.
	Positions []string `json:"positions,omitempty"`
	// Last starts with the newest N messages, 1 to 1,000.
	Last int `json:"last,omitempty"`
	// Since starts with the first message stored at or after this Unix time in milliseconds.
	Since int64 `json:"since,omitempty"`
	// Durable has the node keep the position: delivery resumes at the first message
	// that was not acknowledged. The connection must have a Session. A start, if given,
	// is where a subscription that is new to the session begins.
	Durable bool `json:"durable,omitempty"`
	// Group makes the connection a member of a durable group: each message of the
	// channel goes to one of its members, which acknowledges it by its token.
	Group string `json:"group,omitempty"`
	// MaxInFlight bounds the messages of a group that this member has not acknowledged,
	// 1 to 1,000; 0 is 16.
	MaxInFlight int `json:"max_in_flight,omitempty"`
	// Filter is an expression over a message's headers; what it does not match is left out.
	Filter string `json:"filter,omitempty"`
	// Conflate leaves out what a newer message outdates: ConflateKey or ConflateLast.
	Conflate string `json:"conflate,omitempty"`
	// MaxRate is the most messages a second that a conflated subscription is sent, 1 to
	// 1,000; 0 sends as the client takes them.
	MaxRate int `json:"max_rate,omitempty"`
	// Presence asks for presence events of the channel.
	Presence bool `json:"presence,omitempty"`
	// Token is a subscription token, which allows this subscription where the
	// connection's own token does not; the subscription ends with it.
	Token string `json:"token,omitempty"`
}

// Values of SubscribeCommand.Conflate.
const (
	ConflateKey  = "key"  // only the newest message of each conflation key
	ConflateLast = "last" // only the newest message of the channel
)

// UnsubscribeCommand ends a subscription.
type UnsubscribeCommand struct {
	Channel string `json:"channel"`
}

// PublishCommand stores one message. Exactly one of Data, DataBase64 and Bytes is
// set; a decoder leaves it to its caller to refuse two, or none.
type PublishCommand struct {
	Channel string          `json:"channel"`
	Data    json.RawMessage `json:"data,omitempty"`
	// DataBase64 is bytes as JSON has them, not checked by the decoder of JSON, which
	// alone sets it.
	DataBase64 *string `json:"data_base64,omitempty"`
	// Bytes is bytes as they are, where no bytes at all is not nil; set by the decoder
	// of Protobuf, written by both codecs. DataBase64 outweighs it.
	Bytes          []byte            `json:"-"`
	IdempotencyKey string            `json:"idempotency_key,omitempty"`
	Headers        map[string]string `json:"headers,omitempty"`
	// TTL is after how many seconds the message is gone; 0 is the namespace's own age.
	TTL int64 `json:"ttl,omitempty"`
	// DeliverAt (Unix milliseconds) or Delay (milliseconds) schedules the message: it is
	// stored in its channel then. At most one is set.
	DeliverAt int64 `json:"deliver_at,omitempty"`
	Delay     int64 `json:"delay,omitempty"`
	// ExpectedOffset publishes only if the channel's last message has this offset; 0 is
	// an empty channel.
	ExpectedOffset *uint64 `json:"expected_offset,omitempty"`
	// Exclude is the ID of the connection that shall not get the message.
	Exclude string `json:"exclude,omitempty"`
	// ConflationKey is what a newer message of the same key outdates.
	ConflationKey string `json:"conflation_key,omitempty"`
	// Updates is the offset of the message of which this is a new version.
	Updates uint64 `json:"updates,omitempty"`
}

// AckCommand acknowledges: cumulatively, up to an offset or a position, the messages
// of a durable subscription, or, by its token, one message of a group.
type AckCommand struct {
	Channel  string `json:"channel"`
	Offset   uint64 `json:"offset,omitempty"`
	Position string `json:"position,omitempty"`
	Token    string `json:"token,omitempty"`
}

// NakCommand gives a message of a group back: another member gets it, not before
// Delay milliseconds have passed.
type NakCommand struct {
	Channel string `json:"channel"`
	Token   string `json:"token"`
	Delay   int64  `json:"delay,omitempty"`
	// Reason is told where the message becomes a dead letter; at most 256 bytes.
	Reason string `json:"reason,omitempty"`
}

// InProgressCommand says that a message of a group is still being worked on: the
// time to acknowledge it begins anew.
type InProgressCommand struct {
	Channel string `json:"channel"`
	Token   string `json:"token"`
}

// HistoryCommand reads stored messages without subscribing.
type HistoryCommand struct {
	Channel string `json:"channel"`
	After   string `json:"after,omitempty"`
	Before  string `json:"before,omitempty"`
	Since   int64  `json:"since,omitempty"`
	// Limit is 1 to 1,000; 0 means 100.
	Limit int `json:"limit,omitempty"`
	// Order is "asc" (default) or "desc".
	Order string `json:"order,omitempty"`
	// Fold is FoldLatest for one entry, the newest version, of each message, or empty.
	Fold string `json:"fold,omitempty"`
}

// FoldLatest is the value of HistoryCommand.Fold.
const FoldLatest = "latest"

// PresenceCommand asks who is subscribed to a channel.
type PresenceCommand struct {
	Channel string `json:"channel"`
	// Limit of the members of a page, 1 to 1,000; 0 is 100.
	Limit int `json:"limit,omitempty"`
	// After is PresenceEvent.Next of the page before.
	After string `json:"after,omitempty"`
	// Counts asks for the numbers only.
	Counts bool `json:"counts,omitempty"`
}

// RefreshCommand replaces the token of the session.
type RefreshCommand struct {
	Token string `json:"token"`
}

// Ping is a heartbeat for clients that cannot see WebSocket pings. Either side may send it.
type Ping struct{}

// Pong answers a Ping.
type Pong struct{}

// Event is one message to a client: exactly one of the pointers is set. A reply
// repeats the ID of its command; a push has none.
type Event struct {
	ID           uint64             `json:"id,omitempty"`
	Connected    *ConnectedEvent    `json:"connected,omitempty"`
	Subscribed   *SubscribedEvent   `json:"subscribed,omitempty"`
	Unsubscribed *UnsubscribedEvent `json:"unsubscribed,omitempty"`
	Published    *PublishedEvent    `json:"published,omitempty"`
	History      *HistoryEvent      `json:"history,omitempty"`
	Message      *MessageEvent      `json:"message,omitempty"`
	CaughtUp     *CaughtUpEvent     `json:"caught_up,omitempty"`
	Gap          *GapEvent          `json:"gap,omitempty"`
	Position     *PositionEvent     `json:"position,omitempty"`
	Deleted      *DeletedEvent      `json:"deleted,omitempty"`
	Error        *ErrorEvent        `json:"error,omitempty"`
	Disconnect   *DisconnectEvent   `json:"disconnect,omitempty"`
	Ping         *Ping              `json:"ping,omitempty"`
	Pong         *Pong              `json:"pong,omitempty"`
	Acked        *AckedEvent        `json:"acked,omitempty"`
	Presence     *PresenceEvent     `json:"presence,omitempty"`
	Expiring     *ExpiringEvent     `json:"expiring,omitempty"`
}

// ConnectedEvent answers ConnectCommand; it is pushed, without ID, where no connect was needed.
type ConnectedEvent struct {
	Client string `json:"client"`
	Node   string `json:"node"`
	// PingInterval is the time in seconds between the node's heartbeats.
	PingInterval int `json:"ping_interval"`
	// MaxFrame is the size limit of a command frame in bytes; 0 is DefaultMaxFrame.
	MaxFrame int `json:"max_frame,omitempty"`
	// Session is the durable session's name; Resumed says that the node knew it, and so
	// that its subscriptions go on where they were.
	Session string `json:"session,omitempty"`
	Resumed bool   `json:"resumed,omitempty"`
	// ExpiresInMS is after how many milliseconds the token ends, and with it the
	// connection; 0 is never.
	ExpiresInMS int64 `json:"expires_in_ms,omitempty"`
}

// ExpiringEvent asks for a refresh: the token ends after so many milliseconds.
type ExpiringEvent struct {
	InMS int64 `json:"in_ms"`
}

// SubscribedEvent answers SubscribeCommand. Position is where delivery starts;
// a pattern has Positions, one per stream, instead. Recovered is false when
// messages after the asked position may be missing.
type SubscribedEvent struct {
	Channel   string   `json:"channel"`
	Position  string   `json:"position,omitempty"`
	Positions []string `json:"positions,omitempty"`
	Recovered bool     `json:"recovered"`
	// Reason says why Recovered is false: retention, purged, log_changed or reset.
	Reason string `json:"reason,omitempty"`
	// Durable repeats the command's; Resumed says that the session had a position in
	// the channel, where delivery goes on.
	Durable bool   `json:"durable,omitempty"`
	Resumed bool   `json:"resumed,omitempty"`
	Group   string `json:"group,omitempty"`
	// AckWaitMS is how many milliseconds a member of the group has for a message.
	AckWaitMS int64 `json:"ack_wait_ms,omitempty"`
}

// UnsubscribedEvent answers UnsubscribeCommand; pushed without ID when the node
// ends a subscription, then with a Code and Reason.
type UnsubscribedEvent struct {
	Channel string `json:"channel"`
	Code    Code   `json:"code,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

// PublishedEvent answers PublishCommand: the message is stored.
type PublishedEvent struct {
	Channel  string `json:"channel"`
	Offset   uint64 `json:"offset"`
	Position string `json:"position"`
	// Time is the store time, Unix milliseconds.
	Time      int64 `json:"time"`
	Duplicate bool  `json:"duplicate"`
	// Schedule is the ID of a scheduled message, which is stored, but not yet in its
	// channel: Offset and Time are then 0 and Position is empty. DeliverAt is when it
	// will be, Unix milliseconds.
	Schedule  string `json:"schedule,omitempty"`
	DeliverAt int64  `json:"deliver_at,omitempty"`
}

// AckedEvent answers AckCommand, NakCommand and InProgressCommand. Offset and
// Position are those up to which a durable subscription is acknowledged now.
type AckedEvent struct {
	Channel  string `json:"channel"`
	Offset   uint64 `json:"offset,omitempty"`
	Position string `json:"position,omitempty"`
	Token    string `json:"token,omitempty"`
}

// Member is one connection that is subscribed to a channel.
type Member struct {
	Client string `json:"client"`
	User   string `json:"user,omitempty"`
	// Info is what the token's claim "info" says of the user, any JSON value.
	Info json.RawMessage `json:"info,omitempty"`
	// Since is when it joined, Unix milliseconds.
	Since int64 `json:"since,omitempty"`
}

// PresenceEvent answers PresenceCommand, with Members; and, without ID, tells those
// who asked for it of changes: Joined and Left, or all Members, which replace those
// known, or only the counts where a channel has many members.
type PresenceEvent struct {
	Channel string   `json:"channel"`
	Members []Member `json:"members,omitempty"`
	Joined  []Member `json:"joined,omitempty"`
	Left    []Member `json:"left,omitempty"`
	// Clients and Users are how many connections, and of how many users, there are.
	Clients int `json:"clients"`
	Users   int `json:"users"`
	// Next is the After of the next page, empty on the last.
	Next string `json:"next,omitempty"`
	// Partial says that not every node has answered: there may be more members.
	Partial bool `json:"partial,omitempty"`
}

// MessageEvent is one message of a channel. Exactly one of Data, DataBase64 and
// Bytes is set, as in PublishCommand.
type MessageEvent struct {
	Channel  string `json:"channel"`
	Offset   uint64 `json:"offset"`
	Position string `json:"position"`
	// Time is the store time, Unix milliseconds.
	Time       int64             `json:"time"`
	ID         string            `json:"id,omitempty"`
	User       string            `json:"user,omitempty"`
	Client     string            `json:"client,omitempty"`
	Headers    map[string]string `json:"headers,omitempty"`
	Data       json.RawMessage   `json:"data,omitempty"`
	DataBase64 *string           `json:"data_base64,omitempty"`
	Bytes      []byte            `json:"-"`
	// ConflationKey and Updates are the publisher's.
	ConflationKey string `json:"conflation_key,omitempty"`
	Updates       uint64 `json:"updates,omitempty"`
	// Group, Attempt (from 1) and AckToken are those of a group's message.
	Group    string `json:"group,omitempty"`
	Attempt  int    `json:"attempt,omitempty"`
	AckToken string `json:"ack_token,omitempty"`
}

// HistoryEvent answers HistoryCommand. Position is where the next page begins:
// give it as After (asc) or Before (desc).
type HistoryEvent struct {
	Channel   string         `json:"channel"`
	Messages  []MessageEvent `json:"messages"`
	Position  string         `json:"position"`
	More      bool           `json:"more"`
	Recovered bool           `json:"recovered"`
	// Reason says why Recovered is false: retention, purged or log_changed.
	Reason string `json:"reason,omitempty"`
}

// CaughtUpEvent says that replay has reached live.
type CaughtUpEvent struct {
	Channel   string   `json:"channel"`
	Position  string   `json:"position,omitempty"`
	Positions []string `json:"positions,omitempty"`
}

// Gap reasons.
const (
	ReasonRetention  = "retention"   // aged out, or over a limit of the channel or the namespace
	ReasonPurged     = "purged"      // the channel was emptied on request
	ReasonLogChanged = "log_changed" // the log was recreated, restored or rolled back
	ReasonReset      = "reset"       // a durable session was put to another place
)

// GapEvent says that messages before Position are gone; delivery goes on from there.
type GapEvent struct {
	Channel  string `json:"channel"`
	Position string `json:"position"`
	Reason   string `json:"reason"`
}

// PositionEvent carries nothing new but a fresher place to resume from.
type PositionEvent struct {
	Channel  string `json:"channel"`
	Position string `json:"position"`
}

// DeletedEvent says that the message at Offset was deleted.
type DeletedEvent struct {
	Channel  string `json:"channel"`
	Offset   uint64 `json:"offset"`
	Position string `json:"position"`
}

// ErrorEvent answers a command that was refused.
type ErrorEvent struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	// Field names the command's field at fault, where one is.
	Field string `json:"field,omitempty"`
	// Temporary says that the same command may succeed later, not before RetryAfterMS,
	// which is written also where it is 0.
	Temporary    bool  `json:"temporary"`
	RetryAfterMS int64 `json:"retry_after_ms"`
}

// DisconnectEvent precedes a close frame with the same code.
type DisconnectEvent struct {
	Code      Code   `json:"code"`
	Reason    string `json:"reason"`
	Reconnect bool   `json:"reconnect"`
	// RetryAfterMS is the least wait before a return; written also where it is 0.
	RetryAfterMS int64 `json:"retry_after_ms"`
}
