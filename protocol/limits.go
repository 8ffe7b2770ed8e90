package protocol

import (
	"strconv"
	"strings"
)

// WebSocket subprotocols. A client that asks for none gets SubprotocolJSON.
const (
	SubprotocolJSON     = "rivulet.v1.json"
	SubprotocolProtobuf = "rivulet.v1.protobuf"
)

// Bounds of the wire. A node may be configured tighter, where it says so.
const (
	// MaxDepth bounds the nesting of data: a scalar has depth 0, [] has depth 1.
	MaxDepth = 64
	// maxFrameDepth leaves room for what data is wrapped in: {"history":{"messages":[{"data":…}]}}.
	maxFrameDepth = MaxDepth + 4
	// MaxID is the largest command id, the largest integer that JavaScript holds exactly.
	MaxID = 1<<53 - 1
	// DefaultMaxFrame is the size limit, in bytes, of a command frame where the node
	// states no other in ConnectedEvent.MaxFrame.
	DefaultMaxFrame = 64 << 10

	MaxPositionBytes   = 32   // of one position
	MaxPositions       = 256  // of one subscribe
	MaxLast            = 1000 // SubscribeCommand.Last
	MaxHistory         = 1000 // HistoryCommand.Limit
	DefaultHistory     = 100  // HistoryCommand.Limit where it is 0
	MaxHeaders         = 32   // of one message
	MaxHeaderName      = 64   // bytes
	MaxHeaderValue     = 1024 // bytes
	MaxIdempotencyKey  = 128  // bytes, printable ASCII
	MaxClientNameBytes = 64   // ConnectCommand.Name, Version
	MaxSessionName     = 64   // bytes, of a durable session's or a group's name
	MaxInFlight        = 1000 // SubscribeCommand.MaxInFlight
	DefaultInFlight    = 16   // SubscribeCommand.MaxInFlight where it is 0
	MaxFilterBytes     = 1024 // SubscribeCommand.Filter
	MaxRate            = 1000 // SubscribeCommand.MaxRate
	MaxConflationKey   = 128  // bytes, printable ASCII
	MaxReasonBytes     = 256  // NakCommand.Reason
	MaxTokenBytes      = 128  // of a group message's AckToken
	MaxMembers         = 1000 // PresenceCommand.Limit, and of each list of a PresenceEvent
	DefaultMembers     = 100  // PresenceCommand.Limit where it is 0
)

// streamKeyBytes of a position name the stream; the rest of the part before the
// first "-" is the epoch.
const streamKeyBytes = 5

// StreamKey returns what names the stream in a position, whatever the epoch: its
// first five characters. It is the key under which a client of a pattern keeps
// the latest position of each stream (clause P-5.3). It is "" if position is not one.
func StreamKey(position string) string {
	if strings.IndexByte(position, '-') < streamKeyBytes {
		return ""
	}
	return position[:streamKeyBytes]
}

// PositionOffset returns the offset in a position, for clients whose subscriptions
// overlap (clause P-5.7). ok is false if position is not one.
func PositionOffset(position string) (offset uint64, ok bool) {
	_, rest, _ := strings.Cut(position, "-")
	digits, _, ok := strings.Cut(rest, "-")
	offset, err := strconv.ParseUint(digits, 36, 64)
	if !ok || err != nil || offset > MaxID {
		return 0, false
	}
	return offset, true
}
