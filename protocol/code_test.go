package protocol_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/protocol"
)

// codeConstants reads every constant of type Code from the source, so that a new
// one cannot be forgotten here.
func codeConstants(t *testing.T) map[string]protocol.Code {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "code.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	codes := map[string]protocol.Code{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); ok && id.Name == "Code" {
			n, err := strconv.Atoi(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			codes[spec.Names[0].Name] = protocol.Code(n)
		}
		return true
	})
	return codes
}

// A constant's name and number must say the same about what a client does.
func TestCodesAreInTheirRange(t *testing.T) {
	codes := codeConstants(t)
	if len(codes) < 40 {
		t.Fatalf("found only %d codes in code.go", len(codes))
	}
	seen := map[protocol.Code]string{}
	for name, c := range codes {
		if other, twice := seen[c]; twice {
			t.Errorf("%s and %s are both %d", name, other, c)
		}
		seen[c] = name
		isClose := c >= 1000 && c < 1100 || c >= 4000 && c <= 4399
		isError := c >= 4400 && c <= 4799
		if isClose != strings.HasPrefix(name, "Close") || isError != strings.HasPrefix(name, "Error") {
			t.Errorf("%s is %d, outside its range", name, c)
		}
		if reason := c.Reason(); reason == "unknown code" || len(reason) > 60 {
			t.Errorf("%s has the reason %q", name, reason)
		}
	}
}

func TestCodeConstantsActAsNamed(t *testing.T) {
	away := []protocol.Code{
		protocol.CloseBadFrame, protocol.CloseUnauthorized, protocol.CloseForbidden,
		protocol.CloseTooLarge, protocol.CloseTooMany, protocol.CloseSuperseded, protocol.CloseRevoked,
	}
	for _, c := range away {
		if c.Reconnect() {
			t.Errorf("%v reconnects", c)
		}
	}
	back := []protocol.Code{
		protocol.CloseDraining, protocol.CloseHeartbeat, protocol.CloseNotReading, protocol.CloseOverloaded,
		protocol.CloseInternal, protocol.CloseConnectTimeout, protocol.CloseTokenExpired,
	}
	for _, c := range back {
		if !c.Reconnect() {
			t.Errorf("%v does not reconnect", c)
		}
	}
	for _, c := range []protocol.Code{protocol.ErrorUnavailable, protocol.ErrorOutcomeUnknown, protocol.ErrorTimeout, protocol.ErrorTooManyRequests} {
		if !c.Temporary() {
			t.Errorf("%v is not temporary", c)
		}
	}
	if got := protocol.ErrorUnavailable.String(); got != "4503 log unavailable, nothing was stored" {
		t.Errorf("String() = %q", got)
	}
	if got := protocol.Code(4042).Reason(); got != "closed, reconnect" {
		t.Errorf("Reason of a later code = %q", got)
	}
}
