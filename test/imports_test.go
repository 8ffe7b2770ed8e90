package test_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/rivulet-rt/rivulet"

// mayImport lists, for each room, the rooms that it may import. A room that is
// not listed may import all.
var mayImport = map[string][]string{
	"protocol":   {},
	"auth":       {},
	"migrations": {},
	"fanout":     {"protocol"},
	"session":    {"fanout", "protocol", "auth"},
	"broker":     {"fanout", "migrations"},
	"api":        {"session", "fanout", "protocol", "auth"},
	"clients/go": {"protocol"},
}

// mayAlso lists single packages, of rooms that are closed otherwise, that a package may import.
var mayAlso = map[string]string{
	module + "/broker/webhook": module + "/auth/signature",
}

// neverTogether holds in tests too: what crosses it is a sentinel of fanout.
var neverTogether = map[string]string{"api": "broker", "broker": "api"}

// livesIn says which rooms may import a library, tests aside.
var livesIn = map[string][]string{
	"github.com/gorilla/": {"session", "clients/go"},
	"github.com/nats-io/": {"broker", "migrations"},
	"github.com/go-chi/":  {"api"},
}

type listedPackage struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func TestRoomsImportOnlyWhatTheyMay(t *testing.T) {
	packages := listPackages(t)
	seen := map[string]bool{}
	for _, p := range packages {
		room := roomOf(p.ImportPath)
		seen[room] = true
		for _, path := range p.Imports {
			checkRoom(t, p.ImportPath, room, path)
			checkLibrary(t, p.ImportPath, room, path)
		}
		for _, path := range slices.Concat(p.TestImports, p.XTestImports) {
			if other := neverTogether[room]; other != "" && roomOf(path) == other {
				t.Errorf("a test of %s imports %s; %s and %s never see each other", p.ImportPath, path, room, other)
			}
		}
	}
	for room := range mayImport {
		if !seen[room] {
			t.Errorf("there is no room %q: the rule speaks of nothing", room)
		}
	}
}

func checkRoom(t *testing.T, importer, room, path string) {
	t.Helper()
	allowed, ruled := mayImport[room]
	imported := roomOf(path)
	if mayAlso[importer] == path {
		return
	}
	if ruled && imported != "" && imported != room && !slices.Contains(allowed, imported) {
		t.Errorf("%s imports %s; of the rooms, %s may import only %q", importer, path, room, allowed)
	}
}

func checkLibrary(t *testing.T, importer, room, path string) {
	t.Helper()
	for prefix, rooms := range livesIn {
		if strings.HasPrefix(path, prefix) && !slices.Contains(rooms, room) {
			t.Errorf("%s imports %s, which lives only in %q", importer, path, rooms)
		}
	}
}

// roomOf returns the room of a package of ours, "" for anything else.
func roomOf(path string) string {
	rest, ours := strings.CutPrefix(path, module+"/")
	if !ours {
		return ""
	}
	if strings.HasPrefix(rest+"/", "clients/go/") {
		return "clients/go"
	}
	room, _, _ := strings.Cut(rest, "/")
	return room
}

func listPackages(t *testing.T) []listedPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", module+"/...")
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var list []listedPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listedPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("read go list: %v", err)
		}
		list = append(list, p)
	}
	if len(list) == 0 {
		t.Fatal("go list found no packages")
	}
	return list
}
