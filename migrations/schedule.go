package migrations

import "strings"

const (
	schedulePrefix     = "schedule."
	scheduleLivePrefix = "rivulet.schedule."
)

// ScheduleSubject is where a message of a channel waits. The id is one token.
func ScheduleSubject(id, namespace string, segments []string) string {
	b := append(make([]byte, 0, 128), schedulePrefix...)
	b = append(append(append(b, id...), '.'), namespace...)
	for _, seg := range segments {
		b = AppendToken(append(b, '.'), seg)
	}
	return string(b)
}

// ScheduleFilter matches what is scheduled: under an id, or else in a channel, or else
// in a namespace; with nothing given everything.
func ScheduleFilter(id, namespace string, segments []string) string {
	switch {
	case id != "":
		return schedulePrefix + id + ".>"
	case len(segments) > 0:
		return ScheduleSubject("*", namespace, segments)
	case namespace != "":
		return schedulePrefix + "*." + namespace + ".>"
	}
	return schedulePrefix + ">"
}

// ParseSchedule is the inverse of ScheduleSubject; channel is "namespace:name".
func ParseSchedule(subject string) (id, channel string, ok bool) {
	rest, ok := strings.CutPrefix(subject, schedulePrefix)
	if !ok {
		return "", "", false
	}
	id, rest, _ = strings.Cut(rest, ".")
	namespace, encoded, ok := strings.Cut(rest, ".")
	if !ok || id == "" {
		return "", "", false
	}
	name, err := DecodeName(encoded)
	return id, namespace + ":" + name, err == nil
}
