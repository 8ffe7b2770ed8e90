package fanout

// Sink is where a client's subscriptions deliver: the outbound buffer of one
// connection. The hub calls it from one goroutine at a time, in the order in
// which the client must see things. Calls must not block and must not call back
// into the hub.
type Sink interface {
	// Deliver takes one message of kind KindData, or takes nothing and returns false
	// because there is no room. After a false the sink calls Client.Drained once when
	// there is room again; until then the hub may still offer notices.
	Deliver(m *Message) bool
	// Notify takes what is not a message. It returns false only when the connection's
	// hard limit is reached or it is closed; the same duty to call Drained follows.
	Notify(n Notice) bool
}

// Corker is a Sink that can gather. Between Cork and Uncork it may hold back what
// it takes, so that it leaves in one write. The hub calls both, if there are, around
// all that one turn of a shard has for the sink; Uncork always follows, and before
// Close returns.
type Corker interface {
	Cork()
	Uncork()
}

// NoticeKind tells what a Notice says.
type NoticeKind uint8

// The notices.
const (
	NoticeSubscribed   NoticeKind = iota // the subscription begins; Positions, Recovered, Reason
	NoticeFailed                         // the subscription did not begin, or ended; Err
	NoticeUnsubscribed                   // it ended as asked
	NoticeCaughtUp                       // replay has reached live; Positions
	NoticeGap                            // messages before Positions[0] are gone; Reason
	NoticePosition                       // a fresher place to resume from; Positions[0]
	NoticeDeleted                        // the message at Target was deleted; Positions[0]
	NoticeChecked                        // Client.Check's answer: Positions are what was asked and where the cursor stands; or Err
	NoticePresence                       // who is subscribed has changed; Presence
)

// Notice is news about one subscription.
type Notice struct {
	Kind NoticeKind
	// Token is the SubscribeRequest's, or Unsubscribe's, for the replies
	// NoticeSubscribed, NoticeFailed, NoticeUnsubscribed and NoticeChecked; 0 for what
	// comes unasked.
	Token uint64
	// Channel is the channel or pattern subscribed to.
	Channel Channel
	// Positions has one entry per source: one for a channel, one per stream of its
	// namespace for a pattern. Shared; not to be changed.
	Positions []Position
	// Prior is the place before a NoticePosition that the client knows: nothing lies
	// between that it is to get.
	Prior     Position
	Recovered bool
	Reason    string // a protocol.Reason…
	Target    uint64
	Err       error
	Presence  *PresenceNews // shared; not to be changed
}

// SubscribeRequest asks for a subscription.
type SubscribeRequest struct {
	// Token is given back in the reply.
	Token   uint64
	Channel Channel // or pattern
	Start   Start
	// Presence asks for NoticePresence, of a channel whose namespace has presence.
	Presence bool
	// Filter, unless nil, leaves out the messages that do not pass. The subscription
	// counts among its users while it lives.
	Filter *Filter
	// Conflate leaves out what is outdated. Without a Start, the subscription then begins
	// with the newest message of each key, followed by NoticeCaughtUp.
	Conflate Conflation
}

// Start says where a subscription begins. At most one field is set; with none it
// is live from now.
type Start struct {
	// Positions to resume from, at most one per stream. A stream of the subscription
	// that none of them names counts as gone (recovered: false).
	Positions []Position
	// Last messages, 1 to MaxLast.
	Last int
	// Since, Unix nanoseconds.
	Since int64
}

// MaxLast bounds Start.Last and a page of history.
const MaxLast = 1000

// HistoryQuery asks for one page of a channel's stored messages.
type HistoryQuery struct {
	Channel Channel
	// After (exclusive) and Before (exclusive) bound the page; zero is none.
	After  Position
	Before Position
	// Since, Unix nanoseconds; 0 is none; not together with After.
	Since int64
	Limit int // 1 to MaxLast
	Desc  bool
	// Fold has one entry for each message: its newest version, in the place of the
	// original. A version whose original is no longer stored has none.
	Fold bool
}

// HistoryPage is one page, in the order asked for. Markers are not in it. It may have
// fewer messages than asked for, even none, and yet More.
type HistoryPage struct {
	Messages []*Message
	// Position is where the next page begins: After for ascending, Before for
	// descending order.
	Position Position
	More     bool
	// Recovered is false when messages after HistoryQuery.After may be missing.
	Recovered bool
	Reason    string
	// Places are those of the messages of a folded page: of each the position of its
	// original, where a page that ends with it is followed by the next.
	Places []Position
}

// PlaceOf is where the next page begins that follows on the i-th message.
func (p *HistoryPage) PlaceOf(i int) Position {
	if p.Places != nil {
		return p.Places[i]
	}
	return p.Messages[i].Position
}

// Outcome is a Receipt or why there is none.
type Outcome struct {
	Receipt Receipt
	Err     error
}
