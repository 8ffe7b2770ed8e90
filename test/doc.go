// Package test holds the black-box tests: they start nodes, in-process and as
// processes, and speak to them as users do, and they check what is true of the
// repository as a whole. It has no code of its own.
package test
