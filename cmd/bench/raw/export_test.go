//go:build linux

package raw

// The decoders, for fuzzing.
var (
	ParseFrame   = parseFrame
	ParseMessage = parseMessage
	ParseAnswer  = parseAnswer
	AppendMasked = appendMasked
	Position     = position
)

// FirstN is added to every number on the wire.
const FirstN = firstN
