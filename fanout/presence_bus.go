package fanout

import "context"

// Bus is how nodes talk to each other. What is announced may be lost, repeated or
// late; what one node announces of a channel comes in order. Methods may be called
// concurrently.
type Bus interface {
	// Ask puts a question on a topic to all other nodes that are alive, and hands over
	// the pieces of their answers, one after the other, of each node in order. It returns
	// those nodes that have not answered to the end when ctx ended.
	Ask(ctx context.Context, topic string, question []byte, take func(node string, piece []byte)) (missing []string, err error)
	// Announce tells the nodes that follow the channel. It does not wait.
	Announce(c Channel, news []byte) error
	// Follow has what other nodes announce of the channel handed to
	// Presence.Announced, until Unfollow.
	Follow(c Channel) error
	Unfollow(c Channel)
}

// Topics of questions between nodes.
const (
	TopicPresence = "presence"
	TopicChannels = "channels"
	// TopicConnections is answered by package session.
	TopicConnections = "connections"
)

// PieceBytes is about how large a piece of an answer may be.
const PieceBytes = 256 << 10

// Reply sends one piece of an answer.
type Reply func(piece []byte, last bool) error
