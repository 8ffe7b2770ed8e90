package conformance_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// connects is how many connections TestNothingLeaks opens and leaves; the default
// keeps a run short, 100000 is what is promised.
var connects = flag.Int("connects", 20_000, "connections that are opened and left in all manners")

func TestMain(m *testing.M) {
	flag.Parse()
	goleak.VerifyTestMain(m)
}
