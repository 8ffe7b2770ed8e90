package cmd

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/session/limit"
)

// TestHandshakesByProcessors: unless it is said, a node lets in as many as its processors
// suggest; 0 is no limit, and --print tells the number.
func TestHandshakesByProcessors(t *testing.T) {
	most := limit.HandshakesPerProcessor * runtime.GOMAXPROCS(0)
	for given, want := range map[int]int{DefaultConfig().Limits.Handshakes: most, -1: most, 0: 0, 70: 70} {
		cfg := DefaultConfig()
		cfg.Limits.Handshakes = given
		l, errs := cfg.limitConfig()
		if got := l.Handshakes; got.PerSecond != int64(want) || got.Burst != int64(want) || len(errs) > 0 {
			t.Errorf("%d: %+v, want %d; %v", given, got, want, errs)
		}
		var b bytes.Buffer
		if err := printConfig(&b, cfg); err != nil || !strings.Contains(b.String(), fmt.Sprintf("  handshakes: %d\n", want)) {
			t.Errorf("%d: %v, printed %s", given, err, b.String())
		}
	}
	cfg := DefaultConfig()
	cfg.Limits.Handshakes = -2
	if errs := cfg.limitProblems(); len(errs) != 1 || !strings.Contains(errs[0].Error(), "limits.handshakes: -2 must be") {
		t.Errorf("%v", errs)
	}
}
