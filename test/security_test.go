package test_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
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
