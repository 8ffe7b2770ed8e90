package test_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestDependenciesAreExplained: docs/dependencies.md has exactly the modules that
// the code and its tests import.
func TestDependenciesAreExplained(t *testing.T) {
	text, err := os.ReadFile("../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "| `"); ok {
			name, _, _ := strings.Cut(rest, "`")
			documented = append(documented, name)
		}
	}
	imported := importedModules(t)
	for _, m := range imported {
		if !slices.Contains(documented, m) {
			t.Errorf("%s is imported and not in docs/dependencies.md", m)
		}
	}
	for _, m := range documented {
		if !slices.Contains(imported, m) {
			t.Errorf("%s is in docs/dependencies.md and nothing imports it", m)
		}
	}
}

// importedModules lists the modules of the packages that ours import directly.
func importedModules(t *testing.T) []string {
	t.Helper()
	var paths []string
	for _, p := range listPackages(t) {
		for _, path := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			first, _, _ := strings.Cut(path, "/")
			if strings.Contains(first, ".") && roomOf(path) == "" {
				paths = append(paths, path)
			}
		}
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-f", "{{.Module.Path}}"}, paths...)...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list of %d imported packages: %v", len(paths), err)
	}
	modules := strings.Fields(string(out))
	slices.Sort(modules)
	return slices.Compact(modules)
}
