package rivulet

import "strings"

// canonical is the full name of a channel or pattern: "x" is "default:x".
func canonical(channel string) string {
	if strings.Contains(channel, ":") {
		return channel
	}
	return "default:" + channel
}

// isPattern reports whether a segment of the name is a wildcard.
func isPattern(channel string) bool {
	_, name, _ := strings.Cut(channel, ":")
	for seg := range strings.SplitSeq(name, ".") {
		if seg == "*" || seg == ">" {
			return true
		}
	}
	return false
}

func namespace(channel string) string {
	ns, _, _ := strings.Cut(channel, ":")
	return ns
}

// matches reports whether the pattern covers the channel; both are canonical. "*"
// is one segment, ">" as the last is one or more.
func matches(pattern, channel string) bool {
	pns, pattern, _ := strings.Cut(pattern, ":")
	cns, name, _ := strings.Cut(channel, ":")
	if pns != cns {
		return false
	}
	for {
		p, prest, pmore := strings.Cut(pattern, ".")
		n, nrest, nmore := strings.Cut(name, ".")
		switch {
		case p == ">":
			return true
		case p != "*" && p != n:
			return false
		case !pmore || !nmore:
			return pmore == nmore
		}
		pattern, name = prest, nrest
	}
}
