package protocol

import "fmt"

// DecodeError says why a frame or a publisher's data was refused. Field names
// the field at fault, "frame" if it is the frame as a whole; Problem says what
// is wrong and what would be right. Its text is safe to show to the sender.
type DecodeError struct {
	Field   string
	Problem string
}

func (e *DecodeError) Error() string { return "protocol: " + e.Field + ": " + e.Problem }

func refuse(field, format string, args ...any) *DecodeError {
	return &DecodeError{Field: field, Problem: fmt.Sprintf(format, args...)}
}
