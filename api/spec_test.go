package api_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
)

func TestSpecificationIsValid(t *testing.T) {
	if err := specification(t).Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestRoutesAreExactlyTheSpecifications(t *testing.T) {
	h := newHarness(t)
	var served, specified []string
	routes, _ := h.handler.(chi.Routes)
	err := chi.Walk(routes, func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		served = append(served, method+" "+route)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range h.doc.Paths.Map() {
		for method := range item.Operations() {
			specified = append(specified, method+" "+path)
		}
	}
	slices.Sort(served)
	slices.Sort(specified)
	if len(served) < 10 || !slices.Equal(served, specified) {
		t.Errorf("served:\n  %s\nspecified:\n  %s", strings.Join(served, "\n  "), strings.Join(specified, "\n  "))
	}
}

func TestServesItsSpecification(t *testing.T) {
	h := newHarness(t)
	res := h.do(t, "GET", "/openapi.yaml", "")
	if res.status != 200 || !strings.HasPrefix(string(res.body), "openapi: 3.1.0\n") {
		t.Errorf("status %d, body %.40q", res.status, res.body)
	}
}

// TestSpecificationExamples sends every example of the specification as it stands.
func TestSpecificationExamples(t *testing.T) {
	h := newHarness(t)
	sent := 0
	for path, item := range h.doc.Paths.Map() {
		for method, op := range item.Operations() {
			if op.RequestBody == nil {
				continue
			}
			for name, example := range op.RequestBody.Value.Content["application/json"].Examples {
				body := mustJSON(t, example.Value.Value)
				res := h.do(t, method, strings.ReplaceAll(path, "{channel}", "chat:lobby"), body)
				if res.status != http.StatusCreated {
					t.Errorf("%s %s, example %q: %d %s", method, path, name, res.status, res.body)
				}
				sent++
			}
		}
	}
	if sent < 3 {
		t.Errorf("only %d examples", sent)
	}
}
