package limit

import "time"

// Reason is which limit was reached; a closed set, for metrics.
type Reason string

// The reasons.
const (
	ReasonHandshakesIP       Reason = "handshakes_ip"
	ReasonQueueFull          Reason = "handshake_queue_full"
	ReasonQueueWait          Reason = "handshake_queue_wait"
	ReasonConnectionsIP      Reason = "connections_ip"
	ReasonConnectionsUser    Reason = "connections_user"
	ReasonBarred             Reason = "barred"
	ReasonFailures           Reason = "failures_ip"
	ReasonCommands           Reason = "commands"
	ReasonSubscriptions      Reason = "subscriptions"
	ReasonPublishesKey       Reason = "publishes_key"
	ReasonPublishesUser      Reason = "publishes_user"
	ReasonPublishesChannel   Reason = "publishes_channel"
	ReasonPublishesNamespace Reason = "publishes_namespace"
	ReasonReads              Reason = "reads"
	ReasonMemoryHandshake    Reason = "memory_handshake"
	ReasonMemoryHistory      Reason = "memory_history"
	ReasonMemoryBatch        Reason = "memory_batch"
)

func reasons() []Reason {
	return []Reason{
		ReasonHandshakesIP, ReasonQueueFull, ReasonQueueWait, ReasonConnectionsIP, ReasonConnectionsUser, ReasonBarred, ReasonFailures,
		ReasonCommands, ReasonSubscriptions, ReasonPublishesKey, ReasonPublishesUser, ReasonPublishesChannel,
		ReasonPublishesNamespace, ReasonReads, ReasonMemoryHandshake, ReasonMemoryHistory, ReasonMemoryBatch,
	}
}

// Error says that a limit was reached, and nothing was done. Its text is safe to show to
// the caller.
type Error struct {
	Reason  Reason
	Field   string // of the command or request that the limit is about; may be ""
	Problem string // what the limit is, and what to do
	// RetryAfter is when to try again, at the earliest.
	RetryAfter time.Duration
	// Node says that it is not the caller who does too much but the node that can do no
	// more: 503 rather than 429.
	Node bool
}

func (e *Error) Error() string { return "limit: " + e.Problem }
