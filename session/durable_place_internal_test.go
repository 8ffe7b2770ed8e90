package session

import (
	"testing"

	"github.com/rivulet-rt/rivulet/fanout"
)

func mustPosition(t *testing.T, s string) fanout.Position {
	t.Helper()
	p, err := fanout.ParsePosition(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A place moves to a fresher one if everything before was acknowledged, which nobody can
// say of a place that is lost.
func TestFresherPlace(t *testing.T) {
	c, err := fanout.ParseChannel("t:a")
	if err != nil {
		t.Fatal(err)
	}
	first, second, third := mustPosition(t, "abcdefgh-1-1"), mustPosition(t, "abcdefgh-2-2"), mustPosition(t, "abcdefgh-3-3")
	for name, tc := range map[string]struct{ at, prior, want fanout.Position }{
		"all acknowledged": {second, second, third},
		"further":          {second, first, third},
		"behind":           {first, second, first},
		"lost":             {fanout.Position{}, second, fanout.Position{}},
		"lost, no prior":   {fanout.Position{}, fanout.Position{}, fanout.Position{}},
		"no prior":         {first, fanout.Position{}, first},
	} {
		d := &durable{all: &durables{}, places: []durablePlace{{SessionChannel: fanout.SessionChannel{Channel: c, Position: tc.at}}}}
		d.fresher(fanout.Notice{Kind: fanout.NoticePosition, Channel: c, Positions: []fanout.Position{third}, Prior: tc.prior})
		if k, _ := d.place(c); k.Position != tc.want {
			t.Errorf("%s: at %v, want %v", name, k.Position, tc.want)
		}
	}
}
