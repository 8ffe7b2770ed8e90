package protocol

import "strconv"

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
	CloseSuperseded   Code = 4205 // a newer connection continues the durable session
	CloseRevoked      Code = 4206 // the token was revoked
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
	ErrorTokenExpired    Code = 4601 // the subscription's token expired; subscribe again with a fresh one
	ErrorRevoked         Code = 4700 // the subscription is no longer allowed
)

// Standard WebSocket close codes (RFC 6455 section 7.4.1) with a meaning here.
const (
	CloseNormal          Code = 1000
	CloseGoingAway       Code = 1001
	CloseProtocolError   Code = 1002
	CloseUnsupportedData Code = 1003
	CloseNoStatus        Code = 1005 // never sent: the peer gave no code
	CloseAbnormal        Code = 1006 // never sent: the connection broke off
	CloseInvalidText     Code = 1007
	ClosePolicy          Code = 1008
	CloseMessageTooBig   Code = 1009
	CloseExtension       Code = 1010
	CloseServerError     Code = 1011
	CloseServiceRestart  Code = 1012
	CloseTryAgainLater   Code = 1013
)

// Reconnect reports whether a client whose connection ended with c comes back,
// with backoff. It is decided by range, so it holds for codes of later versions
// too. A code that no node sends (a proxy's, say) does not keep a client away;
// an error code that ends a connection does, unless it is temporary.
func (c Code) Reconnect() bool {
	switch {
	case c >= 4000 && c <= 4199:
		return true
	case c >= 4200 && c <= 4399:
		return false
	case c >= 4400 && c <= 4999:
		return c.Temporary() || c.Resubscribe()
	}
	switch c {
	case CloseProtocolError, CloseUnsupportedData, CloseInvalidText, ClosePolicy, CloseMessageTooBig, CloseExtension:
		return false
	}
	return true
}

// Temporary reports whether the same command may be sent again later: 4408,
// 4429 and 45xx. After 4408 and 4504 a publish must be repeated with the same
// idempotency key.
func (c Code) Temporary() bool {
	return c == ErrorTimeout || c == ErrorTooManyRequests || c >= 4500 && c <= 4599
}

// Resubscribe reports whether a subscription that the node ended with c may be
// asked for again, from the last position: 46xx.
func (c Code) Resubscribe() bool { return c >= 4600 && c <= 4699 }

// Reason is a short English text for c, fit for a close frame (at most 60
// bytes); for an unknown code, one that names its range.
func (c Code) Reason() string {
	if text, ok := c.own(); ok {
		return text
	}
	if text, ok := c.standard(); ok {
		return text
	}
	switch {
	case c >= 4000 && c <= 4199:
		return "closed, reconnect"
	case c >= 4200 && c <= 4399:
		return "closed, do not reconnect"
	case c >= 4400 && c <= 4499:
		return "command refused"
	case c >= 4500 && c <= 4599:
		return "command failed, try again"
	case c >= 4600 && c <= 4699:
		return "subscription ended, subscribe again"
	case c >= 4700 && c <= 4799:
		return "subscription ended"
	}
	return "unknown code"
}

// String is the number and the reason, "4503 log unavailable, nothing was stored".
func (c Code) String() string { return strconv.Itoa(int(c)) + " " + c.Reason() }

func (c Code) own() (string, bool) {
	switch c {
	case CloseDraining:
		return "node is shutting down", true
	case CloseHeartbeat:
		return "no sign of life from the client", true
	case CloseNotReading:
		return "client does not read", true
	case CloseOverloaded:
		return "node is overloaded", true
	case CloseInternal:
		return "internal error", true
	case CloseConnectTimeout:
		return "no connect command in time", true
	case CloseTokenExpired:
		return "token expired, come back with a fresh one", true
	case CloseBadFrame:
		return "frame is not a command of this protocol", true
	case CloseUnauthorized:
		return "token is not valid", true
	case CloseForbidden:
		return "token may not connect", true
	case CloseTooLarge:
		return "frame is over the size limit", true
	case CloseTooMany:
		return "too many commands or bytes", true
	case CloseSuperseded:
		return "superseded by a newer connection of the session", true
	case CloseRevoked:
		return "token revoked", true
	}
	return c.ownError()
}

func (c Code) ownError() (string, bool) {
	switch c {
	case ErrorBadRequest:
		return "bad request", true
	case ErrorUnauthorized:
		return "token missing or not valid", true
	case ErrorForbidden:
		return "not allowed by the token", true
	case ErrorNotFound:
		return "not found", true
	case ErrorTimeout:
		return "timed out, outcome unknown", true
	case ErrorConflict:
		return "conflict", true
	case ErrorTooLarge:
		return "too large", true
	case ErrorNotSupported:
		return "not supported", true
	case ErrorTooManyRequests:
		return "too many requests", true
	case ErrorInternal:
		return "internal error", true
	case ErrorUnavailable:
		return "log unavailable, nothing was stored", true
	case ErrorOutcomeUnknown:
		return "outcome unknown, retry with the same idempotency key", true
	case ErrorResubscribe:
		return "subscription ended, subscribe again", true
	case ErrorTokenExpired:
		return "subscription token expired, come back with a fresh one", true
	case ErrorRevoked:
		return "subscription no longer allowed", true
	}
	return "", false
}

func (c Code) standard() (string, bool) {
	switch c {
	case CloseNormal:
		return "normal closure", true
	case CloseGoingAway:
		return "going away", true
	case CloseProtocolError:
		return "WebSocket protocol error", true
	case CloseUnsupportedData:
		return "unsupported kind of frame", true
	case CloseNoStatus:
		return "closed without a code", true
	case CloseAbnormal:
		return "connection broke off", true
	case CloseInvalidText:
		return "text is not valid UTF-8", true
	case ClosePolicy:
		return "policy violation", true
	case CloseMessageTooBig:
		return "message too big", true
	case CloseExtension:
		return "extension missing", true
	case CloseServerError:
		return "server error", true
	case CloseServiceRestart:
		return "service restart", true
	case CloseTryAgainLater:
		return "try again later", true
	}
	return "", false
}
