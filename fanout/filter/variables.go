package filter

import (
	"regexp/syntax"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/interpreter"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// variables are what an expression sees of a message.
type variables fanout.Message

var _ interpreter.Activation = (*variables)(nil)

// ResolveName returns the variable.
func (v *variables) ResolveName(name string) (any, bool) {
	switch name {
	case "headers":
		return v.Headers, true
	case "user":
		return v.User, true
	case "client":
		return v.Client, true
	}
	return nil, false
}

// Parent implements interpreter.Activation; there is none.
func (v *variables) Parent() interpreter.Activation { return nil }

// maxUserBytes bounds the names of users, which come from tokens.
const maxUserBytes = 255

// sizes tells how large the variables can be.
type sizes struct{}

var _ cost.Estimator = sizes{}

// EstimateSize implements cost.Estimator.
func (sizes) EstimateSize(node cost.AstNode) *cost.SizeEstimate {
	path := node.Path()
	switch {
	case len(path) == 1 && path[0] == "headers":
		return &cost.SizeEstimate{Max: protocol.MaxHeaders}
	case len(path) == 2 && path[0] == "headers" && path[1] == "@keys":
		return &cost.SizeEstimate{Max: protocol.MaxHeaderName}
	case len(path) >= 2 && path[0] == "headers":
		return &cost.SizeEstimate{Max: protocol.MaxHeaderValue}
	case len(path) == 1:
		return &cost.SizeEstimate{Max: maxUserBytes}
	}
	return nil
}

// EstimateCallCost implements cost.Estimator: functions cost what they usually do, but
// for those that match a pattern, whose size CEL takes no account of.
func (e sizes) EstimateCallCost(function, _ string, target *cost.AstNode, args []cost.AstNode) *cost.CallEstimate {
	if function != "matches" {
		return nil
	}
	if target != nil { // text.matches(pattern), else matches(text, pattern)
		args = append([]cost.AstNode{*target}, args...)
	}
	if len(args) != 2 {
		return nil
	}
	text := e.size(args[0])
	return &cost.CallEstimate{CostEstimate: cost.Estimate{Max: 1 + text*patternSize(args[1])/matchedPerUnit}}
}

// matchedPerUnit is how many steps of a pattern on bytes of a text are one unit of cost.
const matchedPerUnit = 100

// unbounded stands for what cannot be judged, and is more than any filter may cost.
const unbounded = 1 << 30

// size is how long a text can be.
func (e sizes) size(node cost.AstNode) uint64 {
	if s := node.ComputedSize(); s != nil {
		return min(s.Max, unbounded)
	}
	if s := e.EstimateSize(node); s != nil {
		return s.Max
	}
	return unbounded
}

// patternSize is how many steps the machine of a pattern has: Go's regular expressions
// visit each at most once for each byte of the text. A pattern that is not written in
// the expression, but in a message, could have any number.
func patternSize(node cost.AstNode) uint64 {
	if node.Expr().Kind() != ast.LiteralKind {
		return unbounded
	}
	text, ok := node.Expr().AsLiteral().Value().(string)
	if !ok {
		return unbounded
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return 1 // refused when it is compiled
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return unbounded
	}
	return uint64(len(program.Inst))
}
