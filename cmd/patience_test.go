package cmd_test

import (
	"strings"
	"testing"
	"time"
)

// A port where nobody listens from the start is no node that is away for a moment.
func TestPublishToNobody(t *testing.T) {
	t.Parallel()
	const nobody = "the node cannot be reached: dial tcp 127.0.0.1:1: "
	for _, more := range [][]string{{"1"}, {"1", "--ttl", "1m"}, nil} {
		t.Run(strings.Join(more, " "), func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			r := run(t, "1\n", nil, append([]string{"publish", "a", "--url", "http://127.0.0.1:1"}, more...)...).check(t, 1,
				nobody, "trying again for up to 5s\n", "is a node running there?", "give --timeout")
			if last := strings.ReplaceAll(r.err[strings.LastIndex(r.err, "rivulet: "):], "line 1: ", ""); !strings.HasPrefix(last, "rivulet: "+nobody) {
				t.Errorf("the end says: %s", last)
			}
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestPublishGivesUp(t *testing.T) {
	r := run(t, "", nil, "publish", "a", "1", "--url", "http://127.0.0.1:1", "--timeout", "300ms").check(t, 1)
	// The time may be over between two attempts or in the middle of one.
	if !strings.Contains(r.err, "4503") && !strings.Contains(r.err, "4504") {
		t.Errorf("the error has no code:\n%s", r.err)
	}
	if strings.Count(r.err, "the node cannot be reached: dial tcp 127.0.0.1:1: ") != 1 || !strings.Contains(r.err, "; trying again for up to 300ms\n") {
		t.Errorf("nothing, or too much, was said meanwhile:\n%s", r.err)
	}
	if !strings.Contains(r.err, "no answer within 300ms") || strings.Contains(r.err, "deadline") {
		t.Errorf("the error does not say how long it was tried:\n%s", r.err)
	}
}
