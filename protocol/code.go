package protocol

// Code is an error or close code. Its range tells a client that does not know
// the code what to do, so that old clients act rightly on new codes:
//
//	4000-4199  close codes: reconnect (with backoff) and resume
//	4200-4399  close codes: do not reconnect
//	4400-4999  error codes of a command or subscription; 44xx, 45xx follow HTTP.
//	           45xx and 4429, 4408 are temporary: the same command may be sent again.
//	           4600-4699: the subscription ended; resubscribe.
//	           4700-4799: the subscription ended; do not resubscribe.
//
// As standard WebSocket codes 1001, 1006, 1011, 1012 and 1013 also mean
// reconnect; 1002, 1003, 1007 and 1009 mean that the client broke the protocol
// and must not come back with the same bytes.
type Code uint16

// Close codes with which the client reconnects.
const (
	CloseDraining       Code = 4000 // the node is shutting down; another will serve
	CloseHeartbeat      Code = 4001 // no sign of life from the client
	CloseNotReading     Code = 4002 // the client read nothing at all for the stated time
	CloseOverloaded     Code = 4003 // the node sheds connections
	CloseInternal       Code = 4004 // a fault of the node
	CloseConnectTimeout Code = 4005 // no connect command arrived in time
	CloseTokenExpired   Code = 4006 // come back with a fresh token
)

// Close codes with which the client stays away.
const (
	CloseBadFrame     Code = 4200 // a frame that is not a command of this protocol
	CloseUnauthorized Code = 4201 // the token is not valid
	CloseForbidden    Code = 4202 // the token may not connect
	CloseTooLarge     Code = 4203 // a frame over the size limit
	CloseTooMany      Code = 4204 // too many commands or bytes
)

// Error codes of commands.
const (
	ErrorBadRequest      Code = 4400 // a field is missing, malformed or out of bounds
	ErrorUnauthorized    Code = 4401
	ErrorForbidden       Code = 4403 // the claims do not allow it
	ErrorNotFound        Code = 4404 // e.g. unknown namespace
	ErrorTimeout         Code = 4408 // the outcome is unknown
	ErrorConflict        Code = 4409 // e.g. already subscribed, key reused with other data
	ErrorTooLarge        Code = 4413
	ErrorNotSupported    Code = 4422 // the command exists but not here
	ErrorTooManyRequests Code = 4429
	ErrorInternal        Code = 4500
	ErrorUnavailable     Code = 4503 // the log cannot be reached; nothing was stored
	ErrorOutcomeUnknown  Code = 4504 // retry with the same idempotency key
	ErrorResubscribe     Code = 4600 // the subscription ended; subscribe again
	ErrorRevoked         Code = 4700 // the subscription is no longer allowed
)
