package fanout

import "strings"

// patternSet finds the patterns that match a channel without trying each: a tree
// over segments. Guarded by its owner's lock.
type patternSet struct {
	root patternNode
	size int
}

type patternNode struct {
	next map[string]*patternNode // "*" is the wildcard's own child
	here Channel                 // the pattern that ends in this node
	rest Channel                 // the pattern that ends here in ">"
}

func (n *patternNode) empty() bool {
	return len(n.next) == 0 && n.here.IsZero() && n.rest.IsZero()
}

func (s *patternSet) add(p Channel) {
	n, rest := s.walk(p)
	if rest {
		n.rest = p
	} else {
		n.here = p
	}
	s.size++
}

func (s *patternSet) walk(p Channel) (n *patternNode, rest bool) {
	n = s.root.child(p.Namespace())
	for seg := range strings.SplitSeq(p.Name(), ".") {
		if seg == ">" {
			return n, true
		}
		n = n.child(seg)
	}
	return n, false
}

func (n *patternNode) child(seg string) *patternNode {
	c := n.next[seg]
	if c == nil {
		if n.next == nil {
			n.next = make(map[string]*patternNode)
		}
		c = &patternNode{}
		n.next[seg] = c
	}
	return c
}

// remove takes p out and prunes the nodes that it alone kept.
func (s *patternSet) remove(p Channel) {
	path := append([]string{p.Namespace()}, p.Segments()...)
	s.root.remove(path)
	s.size--
}

func (n *patternNode) remove(path []string) {
	switch {
	case len(path) == 0:
		n.here = Channel{}
		return
	case path[0] == ">":
		n.rest = Channel{}
		return
	}
	c := n.next[path[0]]
	if c == nil {
		return
	}
	c.remove(path[1:])
	if c.empty() {
		delete(n.next, path[0])
	}
}

// each calls f with every pattern that matches the channel c.
func (s *patternSet) each(c Channel, f func(pattern Channel)) {
	if s.size == 0 {
		return
	}
	if n := s.root.next[c.Namespace()]; n != nil {
		n.each(c.Name(), f)
	}
}

func (n *patternNode) each(name string, f func(Channel)) {
	if !n.rest.IsZero() {
		f(n.rest)
	}
	seg, rest, more := strings.Cut(name, ".")
	for _, c := range [2]*patternNode{n.next[seg], n.next["*"]} {
		switch {
		case c == nil:
		case more:
			c.each(rest, f)
		case !c.here.IsZero():
			f(c.here)
		}
	}
}
