package fanout

import (
	"errors"
	"fmt"
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
)

// What working in a group can answer, beside the errors of errors.go.
var (
	// ErrToken: no message of the member waits under this token. It was settled, or not
	// in time and is another member's now.
	ErrToken = errors.New("fanout: no message waits under this token")
	// ErrTooMany: a limit on how many of something there may be is reached.
	ErrTooMany = errors.New("fanout: too many")
	// ErrNoGroup: the channel has no such group.
	ErrNoGroup = errors.New("fanout: no such group")
)

// GroupRequest asks to become a member of a durable group: the members share the
// messages of one channel, each message going to one of them.
type GroupRequest struct {
	Channel Channel
	// Group is its name, checked by CheckGroup.
	Group string
	// Start is where a group that does not exist yet begins; zero is now.
	Start Start
	// MaxInFlight bounds the messages that the member has and has not settled, from 1.
	MaxInFlight int
	Member      GroupMember
}

// GroupMember takes a group's messages for one connection. Its methods are called by
// one goroutine at a time, must not block and must not call the Membership.
type GroupMember interface {
	// Offer takes a message, or refuses it for want of room: the member is then not
	// offered any before Membership.Ready.
	Offer(m GroupMessage) bool
	// Lost says that messages before begin were gone from the log before any member
	// had them.
	Lost(begin Position, reason string)
	// Ended says that the membership is over because the group is: no call follows.
	Ended(err error)
}

// GroupMessage is a message of a group.
type GroupMessage struct {
	*Message
	Group   string
	Attempt int    // from 1
	Token   string // under which it is settled; unique among what the member has
}

// Joined says where a membership begins.
type Joined struct {
	// Known says that the group existed.
	Known bool
	// Recovered is false when messages after the asked position may be missing; Reason
	// says why.
	Recovered bool
	Reason    string
	// AckWait is how long a member may take over a message before another gets it.
	AckWait time.Duration
}

// Settler says what became of a group's messages. Its methods may be called
// concurrently and do not wait; done is called once, with nil when the log has taken
// note. Errors are ErrToken, or wrap ErrUnavailable.
type Settler interface {
	// Ack settles a message for good.
	Ack(token string, done func(error))
	// Nak gives a message back, for another attempt after delay or, where it is
	// negative, the namespace's own. reason is told of a dead letter.
	Nak(token string, delay time.Duration, reason string, done func(error))
	// InProgress begins the time for a message anew.
	InProgress(token string, done func(error))
}

// Membership is one connection's place in a group. Its methods may be called
// concurrently and do not wait.
type Membership interface {
	Settler
	// Ready says that the member has room again.
	Ready()
	// Leave ends the membership: what was not settled is given back at once. No method
	// of the member is called any more when it returns.
	Leave()
}

// GroupInfo is what the log knows of a group.
type GroupInfo struct {
	Group   string
	Created int64 // Unix nanoseconds
	// Pending messages were not handed out yet, InFlight are not settled, Redelivered
	// of these have had more than one attempt.
	Pending     uint64
	InFlight    int
	Redelivered int
	// Waiting is how many nodes ask for messages at this moment.
	Waiting int
}

// LostToRetention is GroupMember.Lost's reason where the log dropped messages for their
// age or a limit.
const LostToRetention = protocol.ReasonRetention

// MaxGroupName bounds the name of a group, in bytes.
const MaxGroupName = 64

// CheckGroup reports whether name is that of a group: 1 to MaxGroupName of A-Z, a-z,
// 0-9, "_" and "-". The error's field is "group".
func CheckGroup(name string) *InputError {
	for i := range len(name) {
		b := name[i]
		if (b < 'a' || b > 'z') && (b < 'A' || b > 'Z') && (b < '0' || b > '9') && b != '_' && b != '-' {
			return badInput("group", "%.80q must have only A-Z, a-z, 0-9, _ and -", name)
		}
	}
	if name == "" || len(name) > MaxGroupName {
		return badInput("group", "has %d bytes, must have 1 to %d", len(name), MaxGroupName)
	}
	return nil
}

// DeadLetters is the channel where a group's messages go that nobody could settle:
// "namespace:dead-letters.<group>". The group's name must be valid.
func DeadLetters(c Channel, group string) Channel {
	dead, err := ParseChannel(c.Namespace() + ":dead-letters." + group)
	if err != nil { // a valid name is one segment
		panic(fmt.Sprintf("fanout: group %q: %v", group, err))
	}
	return dead
}
