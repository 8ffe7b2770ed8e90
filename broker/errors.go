package broker

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/rivulet-rt/rivulet/fanout"
)

// What opening can answer, wrapped with what was attempted.
var (
	// ErrDataDirInUse: another process holds the data directory.
	ErrDataDirInUse = errors.New("broker: data directory in use")
	// ErrNotReady: publishes would not be accepted now.
	ErrNotReady = errors.New("broker: not ready")
)

// Error codes of JetStream that this package tells apart.
const (
	codeAccountResources  = 10002
	codeClusterNotAvail   = 10008
	codeNotLeader         = 10009
	codeInsufficient      = 10023
	codeMemoryExceeded    = 10028
	codeNoAccount         = 10035
	codeNoMessage         = 10037
	codeStorageExceeded   = 10047
	codeMessageTooLarge   = 10054
	codeStreamNotFound    = 10059
	codeStreamNotMatch    = 10060
	codeSequenceNotMatch  = 10063
	codeNotForAccount     = 10039
	codeWrongLast         = 10071
	codeWrongLastID       = 10070
	codeNotEnabled        = 10076
	codeStoreFailed       = 10077
	codeHeaderTooLarge    = 10097
	codeStreamOffline     = 10118
	codeDuplicateInFlight = 10158
	codeWrongLastBusy     = 10164
	codeTooManyRequests   = 10167
	codeBatchDuplicate    = 10201
	codeOfflineReason     = 10194
)

// apiError is an error as JetStream answers it.
type apiError struct {
	Code        int    `json:"code"` // like an HTTP status
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string {
	return fmt.Sprintf("jetstream: %s (%d)", e.Description, e.ErrCode)
}

// refusal turns JetStream's answer to a publish into one of fanout's errors.
// Only a refusal that is made before the store is touched says that nothing was
// stored; a sequence mismatch or a failing store is found by one replica while
// others may have stored the message, so they leave the outcome open, like every
// unknown code that speaks of a failure of the server.
func refusal(e *apiError) (certain bool, err error) {
	switch e.ErrCode {
	case codeInsufficient, codeStorageExceeded, codeAccountResources, codeMemoryExceeded:
		return true, fmt.Errorf("%w: %w", fanout.ErrDiskFull, e)
	case codeTooManyRequests:
		return true, fmt.Errorf("%w: %w", fanout.ErrTooBusy, e)
	case codeMessageTooLarge, codeHeaderTooLarge:
		return true, fmt.Errorf("%w: %w", fanout.ErrTooLarge, e)
	case codeSequenceNotMatch, codeStoreFailed:
		return false, e
	case codeClusterNotAvail, codeNotLeader, codeNoAccount, codeStreamNotFound, codeStreamNotMatch,
		codeNotEnabled, codeNotForAccount, codeStreamOffline, codeOfflineReason:
		return true, fmt.Errorf("%w: %w", fanout.ErrUnavailable, e)
	}
	if e.Code >= 400 && e.Code < 500 {
		return true, fmt.Errorf("%w: %w", fanout.ErrUnavailable, e)
	}
	return false, e
}

// unsent reports whether the NATS client refused to take the message at all.
// Any other error may come from a write that was partly made.
func unsent(err error) bool {
	for _, refused := range []error{
		nats.ErrReconnectBufExceeded, nats.ErrConnectionClosed, nats.ErrConnectionDraining,
		nats.ErrBadSubject, nats.ErrHeadersNotSupported, nats.ErrInvalidConnection, nats.ErrConnectionReconnecting,
	} {
		if errors.Is(err, refused) {
			return true
		}
	}
	return false
}

// unavailable wraps what went wrong with reading or writing the log.
func unavailable(doing string, err error) error {
	if errors.Is(err, fanout.ErrUnavailable) || errors.Is(err, fanout.ErrUnknownNamespace) || errors.Is(err, fanout.ErrClosed) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return fmt.Errorf("%s: %w: %w", doing, fanout.ErrUnavailable, err)
}
