package filter

import (
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"cel.dev/cel-go/cel"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// Bounds of expressions.
const (
	// Most is how many different expressions a node has at a time, about 20 KiB each.
	Most = 4096
	// MostCost is what one evaluation may cost at most, in the units of CEL: about one
	// for a look-up or a comparison, one for each ten bytes of text that are read. The
	// dearest that is allowed, regular expressions on long headers, take 0.2 ms.
	MostCost = 500
	// mostDepth bounds the nesting of an expression.
	mostDepth = 32
)

// Set is the compiled expressions of a node. Its methods may be called concurrently.
type Set struct {
	// Static after NewSet.
	env *cel.Env

	mu     sync.Mutex // guards the following
	byText map[string]*fanout.Filter
	made   uint64
}

// NewSet returns an empty set.
func NewSet() (*Set, error) {
	env, err := cel.NewEnv(
		cel.Variable("headers", cel.MapType(cel.StringType, cel.StringType)),
		cel.Variable("user", cel.StringType),
		cel.Variable("client", cel.StringType),
		cel.ParserRecursionLimit(mostDepth),
		cel.ParserExpressionSizeLimit(protocol.MaxFilterBytes),
	)
	if err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	return &Set{env: env, byText: make(map[string]*fanout.Filter)}, nil
}

// Compile returns the filter of an expression, with one user more, who is to Release
// it. Errors are *fanout.InputError with field "filter", or ErrTooManyFilters.
func (s *Set) Compile(expression string) (*fanout.Filter, error) {
	if n := len(expression); n == 0 || n > protocol.MaxFilterBytes {
		return nil, badInput("has %d bytes, must have 1 to %d", n, protocol.MaxFilterBytes)
	}
	if !utf8.ValidString(expression) {
		return nil, badInput("is not valid UTF-8")
	}
	if f, err := s.find(expression); f != nil || err != nil {
		return f, err
	}
	passes, err := s.compile(expression) // without the lock: it takes a while
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.byText[expression]; f != nil { // another was as quick
		f.Acquire()
		return f, nil
	}
	if !s.roomLocked() {
		return nil, fanout.ErrTooManyFilters
	}
	s.made++
	f := fanout.NewFilter(s.made, passes)
	f.Acquire()
	s.byText[expression] = f
	return f, nil
}

// find returns the filter if it is there, and an error if it could not be put there.
func (s *Set) find(expression string) (*fanout.Filter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.byText[expression]
	switch {
	case f != nil:
		f.Acquire()
	case !s.roomLocked():
		return nil, fanout.ErrTooManyFilters
	}
	return f, nil
}

// roomLocked makes room by forgetting what nobody uses any more: until it is needed,
// the room keeps expressions for those who come back.
func (s *Set) roomLocked() bool {
	if len(s.byText) < Most {
		return true
	}
	for text, f := range s.byText {
		if f.Users() == 0 {
			delete(s.byText, text)
		}
	}
	return len(s.byText) < Most
}

// Len is how many expressions there are.
func (s *Set) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byText)
}

func (s *Set) compile(expression string) (func(*fanout.Message) bool, error) {
	ast, issues := s.env.Compile(expression)
	if err := problem(expression, issues); err != nil {
		return nil, err
	}
	if !ast.OutputType().IsExactType(cel.BoolType) {
		return nil, badInput("is of type %s, must be true or false, as in: headers.kind == 'alert'", ast.OutputType())
	}
	cost, err := s.env.EstimateCost(ast, sizes{})
	if err != nil {
		return nil, badInput("cannot be judged: %v", err)
	}
	if cost.Max > MostCost {
		return nil, badInput("is too costly: one message could take %d units, at most %d are allowed; leave out loops over headers, or long texts to match", cost.Max, MostCost)
	}
	program, err := s.env.Program(ast, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, badInput("cannot be compiled: %v", err)
	}
	return func(m *fanout.Message) bool {
		out, _, err := program.Eval((*variables)(m))
		return err == nil && out.Value() == true
	}, nil
}

// problem says where an expression is wrong.
func problem(expression string, issues *cel.Issues) error {
	if issues == nil || issues.Err() == nil {
		return nil
	}
	list := issues.Errors()
	if len(list) == 0 {
		return badInput("cannot be read: %v", issues.Err())
	}
	first := list[0]
	where := fmt.Sprintf("at character %d", first.Location.Column()+1)
	if first.Location.Line() > 1 {
		where = fmt.Sprintf("in line %d, %s", first.Location.Line(), where)
	}
	if first.Location.Line() < 1 { // of the expression as a whole
		where = "in all"
	}
	return badInput("%s of %s: %s%s", where, quote(expression), first.Message, hint(first.Message))
}

// hint says what is meant to be where a common slip is reported.
func hint(problem string) string {
	switch {
	case strings.Contains(problem, "token recognition error at: '=") || strings.Contains(problem, "token recognition error at: '&") ||
		strings.Contains(problem, "token recognition error at: '|"):
		return "; write == for equal, && for and, || for or"
	case strings.Contains(problem, "undeclared reference"):
		return "; there are headers, user and client, and the standard functions of CEL; texts are in quotes"
	}
	return ""
}

// quote bounds what an error repeats of its input.
func quote(s string) string { return fmt.Sprintf("%.64q", s) }

func badInput(format string, args ...any) error {
	return &fanout.InputError{Field: "filter", Problem: fmt.Sprintf(format, args...)}
}
