package rivulet

import "time"

// State of a client's connection.
type State uint8

// The states. A client goes from StateInitialized to StateConnecting at Connect,
// then to and fro between StateConnected and StateRetrying; StateClosed is final.
const (
	StateInitialized State = iota
	StateConnecting        // the first attempt
	StateConnected         // the node has acknowledged the connect
	StateRetrying          // waiting to try again, or trying
	StateClosed            // by Close, or because the node refuses this client for good
)

func (s State) String() string {
	switch s {
	case StateInitialized:
		return "initialized"
	case StateConnecting:
		return "connecting"
	case StateConnected:
		return "connected"
	case StateRetrying:
		return "retrying"
	case StateClosed:
		return "closed"
	}
	return "unknown"
}

// StateChange is what Options.OnState gets.
type StateChange struct {
	State State
	// Reason why there is no connection: the last failure in StateRetrying, what
	// ended the client in StateClosed (ErrClosed after Close).
	Reason error
	// RetryIn is the wait before the next attempt, in StateRetrying.
	RetryIn time.Duration
	// Node and Client are what the node calls itself and this connection, in
	// StateConnected.
	Node   string
	Client string
	// Resumed says, in StateConnected with Options.Session, that the node knew the
	// session; false at the first connect, and after the session has expired.
	Resumed bool
}
