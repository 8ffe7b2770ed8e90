package filter

import (
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

// EstimateCallCost implements cost.Estimator: functions cost what they usually do.
func (sizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}
