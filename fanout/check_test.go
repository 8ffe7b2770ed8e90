package fanout_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/fanout"
)

// TestCheck: what was delivered is told from what was not, behind all that was.
func TestCheck(t *testing.T) {
	t.Parallel()
	n := newNode(t, calm(0, 1), true, nil)
	n.publish(t, "t:a", 1, 3)
	r := n.subscribe(t, "t:a", fanout.Start{Last: 3})
	r.await("caught up t:a")
	third := n.position(t, "t:a", 3)
	beyond, elsewhere := third, third
	beyond.Offset++
	elsewhere.Stream[0] ^= 1
	check := func(channel string, at fanout.Position, want string) {
		t.Helper()
		r.told = nil
		r.client.Check(11, mustChannel(t, channel), at, "offset")
		r.await("checked " + channel)
		got := r.last.n
		in, bad := errors.AsType[*fanout.InputError](got.Err)
		switch {
		case got.Token != 11:
			t.Errorf("token %d", got.Token)
		case want == "" && (got.Err != nil || len(got.Positions) != 2 || got.Positions[0] != at || got.Positions[1] != third):
			t.Errorf("of %v: %+v", at, got)
		case want == "not subscribed" && !errors.Is(got.Err, fanout.ErrNotSubscribed):
			t.Errorf("of %s: %v", channel, got.Err)
		case want != "" && want != "not subscribed" && (!bad || in.Field != "offset" || !strings.Contains(in.Problem, want)):
			t.Errorf("of %v: %v", at, got.Err)
		}
	}
	check("t:a", n.position(t, "t:a", 1), "")
	check("t:a", third, "")
	check("t:a", beyond, "beyond")
	check("t:a", elsewhere, "another channel")
	check("t:b", third, "not subscribed")
	r.client.Close()
	r.client.Check(12, mustChannel(t, "t:a"), third, "offset") // nobody is there to be told
}
