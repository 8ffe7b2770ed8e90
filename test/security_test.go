package test_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestSecurityPageNamesTests: each defence of docs/security.md has the test that it names, and
// each attack of this suite is on the page.
func TestSecurityPageNamesTests(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(string(page), -1)
	var there []string
	for _, path := range testFiles(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9]+)\(`).FindAllStringSubmatch(string(text), -1) {
			there = append(there, f[1])
			if strings.HasPrefix(f[1], "TestAttack") && !strings.Contains(string(page), "`"+f[1]+"`") {
				t.Errorf("docs/security.md does not name %s", f[1])
			}
		}
	}
	if len(named) == 0 {
		t.Error("docs/security.md names no test")
	}
	for _, n := range named {
		if !slices.Contains(there, n[1]) {
			t.Errorf("docs/security.md names %s, which does not exist", n[1])
		}
	}
}

// TestTheTestCommandLooksForInsecureCode: gosec is part of what ./test.sh does by itself, and
// leaves out no more than docs/security.md says; so are the licenses and the attacks, as tests.
func TestTheTestCommandLooksForInsecureCode(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../.golangci.yml")
	if err != nil {
		t.Fatal(err)
	}
	var lint struct {
		Linters struct {
			Enable   []string
			Settings struct {
				Gosec struct{ Includes, Excludes []string }
			}
			Exclusions struct {
				Rules []struct {
					Path    string
					Linters []string
				}
			}
		}
	}
	if err := yaml.Unmarshal(text, &lint); err != nil {
		t.Fatal(err)
	}
	gosec := lint.Linters.Settings.Gosec
	if !slices.Contains(lint.Linters.Enable, "gosec") || len(gosec.Includes) > 0 || !slices.Equal(gosec.Excludes, []string{"G104", "G115", "G404"}) {
		t.Errorf("gosec is to run with all rules but G104, G115 and G404, see docs/security.md: %v, %+v", lint.Linters.Enable, gosec)
	}
	for _, r := range lint.Linters.Exclusions.Rules {
		if slices.Contains(r.Linters, "gosec") && r.Path != `_test\.go$` {
			t.Errorf("gosec does not look at %s", r.Path)
		}
	}
	script, err := os.ReadFile("../test.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"|| steps=(fmt build vet lint js test)\n",                      // what it does by itself
		`run_lint() { "$(linter)" run --allow-serial-runners ./...; }`, // with the configuration above
		"\t\t-race -shuffle=on ${TESTFLAGS:-} ./...\n",                 // all tests, these among them
		"set -euo pipefail\n",                                          // and it fails with any of them
	} {
		if !strings.Contains(string(script), line) {
			t.Errorf("test.sh lacks %q", line)
		}
	}
}
