package migrations

import "strings"

// The subjects on which nodes talk to each other. Nothing of it is stored.
const (
	// ControlNodes is where nodes say that they are alive.
	ControlNodes = "ctl.node"
	// ControlAsk is followed by the topic of a question.
	ControlAsk = "ctl.ask."
	newsPrefix = "ctl.news."
)

// NewsSubject is where nodes announce what changed in a channel.
func NewsSubject(namespace string, segments []string) string {
	b := append(append(make([]byte, 0, 96), newsPrefix...), namespace...)
	for _, seg := range segments {
		b = AppendToken(append(b, '.'), seg)
	}
	return string(b)
}

// ParseNews is the inverse of NewsSubject: ok is false for another subject. The name
// need not be a valid channel's.
func ParseNews(subject string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(subject, newsPrefix)
	if !ok {
		return "", "", false
	}
	namespace, encoded, ok := strings.Cut(rest, ".")
	if !ok {
		return "", "", false
	}
	name, err := DecodeName(encoded)
	return namespace, name, err == nil
}
