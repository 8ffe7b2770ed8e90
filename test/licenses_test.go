package test_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/licensecheck"
)

// allowedLicenses may be in the binary: all let it be passed on under the license of
// Rivulet, with their notices.
var allowedLicenses = []string{"Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MPL-2.0"}

// mostlyLicense is how much of a license file, in percent, must be words of a license that is
// known. The rest is names and years.
const mostlyLicense = 75

// TestLicensesOfDependencies: every module whose packages are compiled into the node or its
// tests, on any system that it runs on, has licenses of the list alone.
func TestLicensesOfDependencies(t *testing.T) {
	t.Parallel()
	modules := map[string]string{}
	for _, system := range []string{"linux", "darwin", "windows"} {
		cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-test", "-f", "{{with .Module}}{{.Path}} {{.Dir}}{{end}}", module+"/...")
		cmd.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list for %s: %v", system, err)
		}
		for line := range strings.Lines(string(out)) {
			if name, dir, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
				modules[name] = dir
			}
		}
	}
	if len(modules) < 10 {
		t.Fatalf("go list found %d modules", len(modules))
	}
	for name, dir := range modules {
		for _, problem := range licenseProblems(t, dir) {
			t.Errorf("%s: %s; leave the module out, or have the list of licenses extended by who answers for that", name, problem)
		}
	}
}

var licenseFile = regexp.MustCompile(`(?i)^(un)?(licen[sc]e|copying)([-._].*)?$`)

// licenseProblems is what speaks against the license files in dir.
func licenseProblems(t *testing.T, dir string) (problems []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, e := range entries {
		if e.IsDir() || !licenseFile.MatchString(e.Name()) || filepath.Ext(e.Name()) == ".go" {
			continue
		}
		found = true
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		problems = append(problems, judgeLicense(e.Name(), text)...)
	}
	if !found {
		problems = append(problems, "has no license file")
	}
	return problems
}

func judgeLicense(name string, text []byte) (problems []string) {
	c := licensecheck.Scan(text)
	if c.Percent < mostlyLicense {
		problems = append(problems, name+" is not the text of a known license")
	}
	for _, m := range c.Match {
		if !m.IsURL && !slices.Contains(allowedLicenses, m.ID) {
			problems = append(problems, name+" is "+m.ID)
		}
	}
	return problems
}

// TestLicensesAreTold: what is judged is what the text says.
func TestLicensesAreTold(t *testing.T) {
	t.Parallel()
	ours, err := os.ReadFile("../LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	const gpl = "This program is free software: you can redistribute it and/or modify it under the terms of the GNU Affero General " +
		"Public License as published by the Free Software Foundation, either version 3 of the License, or (at your option) any later version."
	for want, text := range map[string]string{
		"":                      string(ours),
		"is AGPL":               gpl,
		"not the text":          "All rights reserved.",
		"not the text, nothing": "",
	} {
		got := strings.Join(judgeLicense("LICENSE", []byte(text)), ", ")
		if want, _, _ := strings.Cut(want, ","); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%.40q: %q, want %q", text, got, want)
		}
	}
}
