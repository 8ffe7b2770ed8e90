package broker_test

import (
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/broker"
)

func TestExt4Orderly(t *testing.T) {
	for name, c := range map[string]struct {
		options string
		why     bool
	}{
		"defaults":         {"rw barrier auto_da_alloc data=ordered", false},
		"no journal":       {"rw barrier auto_da_alloc", true},
		"writeback":        {"rw barrier auto_da_alloc data=writeback", true},
		"no flush":         {"rw barrier noauto_da_alloc data=ordered", true},
		"nothing is known": {"", true},
	} {
		why := broker.Ext4Orderly(strings.ReplaceAll(c.options, " ", "\n") + "\n")
		if (why != "") != c.why {
			t.Errorf("%s: %q", name, why)
		}
	}
}
