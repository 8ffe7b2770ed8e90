package broker_test

import (
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/broker"
)

func TestExt4Orderly(t *testing.T) {
	for name, c := range map[string]struct {
		options   string
		why, weak bool
	}{
		"defaults":         {"rw barrier auto_da_alloc data=ordered", false, false},
		"no journal":       {"rw barrier auto_da_alloc", false, true},
		"writeback":        {"rw barrier auto_da_alloc data=writeback", true, false},
		"no flush":         {"rw barrier noauto_da_alloc data=ordered", true, false},
		"nothing is known": {"", true, false},
	} {
		why, weak := broker.Ext4Orderly(strings.ReplaceAll(c.options, " ", "\n") + "\n")
		if (why != "") != c.why || (weak != "") != c.weak {
			t.Errorf("%s: %q, %q", name, why, weak)
		}
	}
}
