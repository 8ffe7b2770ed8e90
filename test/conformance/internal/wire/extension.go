package wire

import (
	"slices"
	"strconv"
	"strings"
)

// The parameters of permessage-deflate.
const (
	ServerNoContext  = "server_no_context_takeover"
	ClientNoContext  = "client_no_context_takeover"
	ServerWindowBits = "server_max_window_bits"
	ClientWindowBits = "client_max_window_bits"
)

// parameters of one extension by name; a parameter without a value has "".
type parameters map[string]string

// parse reads the extensions of a header. A parameter that is there twice is noted
// under a name that none has.
func parse(header string) (names []string, lists []parameters) {
	for ext := range strings.SplitSeq(header, ",") {
		name, rest, _ := strings.Cut(strings.TrimSpace(ext), ";")
		params := parameters{}
		for p := range strings.SplitSeq(rest, ";") {
			key, value, _ := strings.Cut(strings.TrimSpace(p), "=")
			if _, twice := params[key]; twice {
				key = "twice " + key
			}
			if key != "" {
				params[key] = strings.Trim(value, `"`)
			}
		}
		names, lists = append(names, strings.TrimSpace(name)), append(lists, params)
	}
	return names, lists
}

// CheckAnswer reports an answer that no part of the offer allows (RFC 7692
// section 7.1). A server must forgo context takeover both ways, for that is what
// the product promises, and this client keeps no context.
func CheckAnswer(offer, answer string) error {
	if answer == "" {
		return nil
	}
	names, lists := parse(answer)
	if len(names) != 1 || names[0] != "permessage-deflate" {
		return violation("extensions %q", answer)
	}
	a := lists[0]
	for _, need := range []string{ServerNoContext, ClientNoContext} {
		if v, there := a[need]; !there || v != "" {
			return violation("extensions %q lack %s", answer, need)
		}
	}
	offered, offers := parse(offer)
	for i, o := range offers {
		if offered[i] == "permessage-deflate" && o.allow(a) {
			return nil
		}
	}
	return violation("extensions %q were answered to the offer %q", answer, offer)
}

// allow reports whether an offer may be answered in this way.
func (o parameters) allow(answer parameters) bool {
	if !o.sound() {
		return false
	}
	for key, value := range answer {
		switch key {
		case ServerNoContext, ClientNoContext:
		case ClientWindowBits:
			if _, offered := o[key]; !offered || !validBits(value) {
				return false
			}
		case ServerWindowBits:
			if !validBits(value) {
				return false
			}
		default:
			return false
		}
	}
	// A limit of the server's window must be acknowledged with one that is not larger.
	asked, limited := o[ServerWindowBits]
	return !limited || bits(answer[ServerWindowBits]) != 0 && bits(answer[ServerWindowBits]) <= bits(asked)
}

// sound reports whether an offer is one that a server may accept at all.
func (o parameters) sound() bool {
	for key, value := range o {
		known := slices.Contains([]string{ServerNoContext, ClientNoContext}, key) && value == "" ||
			key == ServerWindowBits && validBits(value) ||
			key == ClientWindowBits && (value == "" || validBits(value))
		if !known {
			return false
		}
	}
	return true
}

func bits(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

func validBits(s string) bool {
	n := bits(s)
	return n >= 8 && n <= 15 && s == strconv.Itoa(n)
}
