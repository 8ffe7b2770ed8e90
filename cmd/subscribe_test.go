package cmd_test

import (
	"strings"
	"testing"
)

// What is printed to go on with goes on as it was: without its filter it would be another
// subscription.
func TestSubscribeGoesOnWithItsFilter(t *testing.T) {
	n := startNode(t, devConfig(t))
	run(t, "", at(n), "publish", "a.b", "1", "--header", "k=it's").check(t, 0)
	r := run(t, "", at(n), "subscribe", "a.b", "--last", "1", "--count", "1", "--filter", `headers.k == "it's"`, "--conflate", "key", "--max-rate", "5")
	r.check(t, 0, "go on with: rivulet subscribe 'default:a.b' --position ", ` --filter 'headers.k == "it'\''s"' --conflate key --max-rate 5`+"\n")
	r = run(t, "", at(n), "subscribe", "a.b", "--durable", "--session", "s", "--last", "1", "--count", "1", "--filter", "user == ''")
	r.check(t, 0, "go on with: rivulet subscribe 'default:a.b' --durable --session s --filter 'user == '\\'''\\'''\n")
}

func TestSubscribeTellsOfAReset(t *testing.T) {
	n := startNode(t, devConfig(t))
	run(t, "1\n2\n", at(n), "publish", "a.b").check(t, 0)
	args := []string{"subscribe", "a.b", "--durable", "--session", "s", "--last", "2", "--count", "2", "--data"}
	run(t, "", at(n), args...).check(t, 0)
	run(t, "", at(n), "sessions", "reset", "-", "s", "--channel", "a.b", "--to", "start").check(t, 0)
	r := run(t, "", at(n), args...).check(t, 0, "reset: the durable session was put to another place in default:a.b; delivery goes on there")
	if r.out != "1\n2\n" || strings.Contains(r.err, "gone") {
		t.Errorf("printed %q, and said\n%s", r.out, r.err)
	}
}
