package conformance_test

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/test/conformance/internal/wire"
)

// validText and invalidText are in hex; code points that are not characters are
// valid all the same.
var validText = []string{
	"", "48656c6c6f2dc2b540c39fc3b6c3a4c3bcc3a0c3a12d5554462d382121", "cebae1bdb9cf83cebcceb5",
	"00", "c280", "e0a080", "f0908080", "7f", "dfbf", "efbfbf", "f48fbfbf", "ed9fbf", "ee8080", "efbfbd",
	"efbfbe", "f09fbfbe", "f48fbfbe", "efb790",
}

var invalidText = []string{
	// code points above 10FFFF, and bytes that never occur
	"f4908080", "f7bfbfbf", "f8888080" + "80", "fbbfbfbfbf", "fc8480808080", "fdbfbfbfbfbf", "fe", "ff", "fefeffff", "cebae1bdb9cf83cebcceb5f4908080656469746564",
	// continuation bytes alone, and starts alone
	"80", "bf", "80bf", "80bf80bf", "c020c120c220", "e020e120ef20", "f020f120f420", "f8", "fc",
	// sequences that end too early
	"c0", "e080", "f08080", "df", "efbf", "f7bfbf", "c0e080f08080", "c3", "e282", "f09f98", "cebae1",
	// longer than need be
	"c0af", "e080af", "f08080af", "f8808080af", "fc80808080af", "c1bf", "e09fbf", "f08fbfbf", "c080", "e08080", "f0808080",
	// surrogates, alone and in pairs
	"eda080", "edadbf", "edae80", "edafbf", "edb080", "edbe80", "edbfbf", "eda080edb080", "edadbfedbfbf", "cebae1bdb9cf83cebcceb5eda080656469746564",
}

func fromHex(text string) []byte {
	b, err := hex.DecodeString(text)
	if err != nil {
		panic(err) // a typing error in the lists above
	}
	return b
}

// textCases sends a text whole, with a fragment for every octet and in octets; write
// adds what is wanted.
func textCases(list []string, want func(s *script, payload []byte)) []testCase {
	var cases []testCase
	for i, text := range list {
		payload := fromHex(text)
		for _, way := range []string{"whole", "fragments", "octets", "behind 5000 bytes"} {
			cases = append(cases, testCase{fmt.Sprintf("6 %d %s %s", i, text, way), func(s *script) {
				payload, n := payload, 1<<20
				switch way {
				case "octets":
					s.chop = 1
				case "fragments":
					n = 1
				case "behind 5000 bytes": // whoever checks as it comes must keep its state
					payload, n = slices.Concat([]byte(strings.Repeat("é", 2500)), payload), 4999
				}
				s.send(wire.Cut(wire.Text, payload, n, 0)...)
				want(s, payload)
			}})
		}
	}
	return cases
}

// TestText: a text is UTF-8, and what is not ends the connection (Autobahn 6).
func TestText(t *testing.T) {
	invalid := textCases(invalidText, func(s *script, _ []byte) { s.refused(1007) })
	valid := textCases(validText, func(s *script, payload []byte) { s.expect(wire.Text, payload) })
	binary := []testCase{{"binary is not text", func(s *script) {
		for _, text := range invalidText {
			s.echo(wire.Binary, fromHex(text))
		}
	}}, {"6.1 empty fragments", func(s *script) {
		s.send(wire.Frame{Opcode: wire.Text, More: true}, wire.Frame{More: true}, wire.Frame{})
		s.expect(wire.Text, nil)
	}}}
	for _, e := range endpoints() {
		t.Run(e.name, func(t *testing.T) {
			tg := e.start(t)
			runTable(t, tg, invalid)
			if !tg.product {
				runTable(t, tg, valid)
				runTable(t, tg, binary)
			}
		})
	}
}
