package test_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestAttackTiming: how long a comparison takes tells nothing of a secret, by construction: a
// measurement would tell of the machine. Whoever looks for an API key looks at all hashes, and
// signatures are compared by what takes the same time whatever is equal.
func TestAttackTiming(t *testing.T) {
	t.Parallel()
	files := token.NewFileSet()
	authenticate := method(t, files, "../auth/keys.go", "Keys", "Authenticate")
	loops, compared := 0, false
	ast.Inspect(authenticate, func(n ast.Node) bool {
		loop, ok := n.(*ast.RangeStmt)
		if !ok {
			return true
		}
		loops++
		ast.Inspect(loop.Body, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BranchStmt, *ast.ReturnStmt, *ast.IfStmt, *ast.SwitchStmt:
				t.Errorf("%s: leaves hashes out", files.Position(n.Pos()))
			case *ast.CallExpr:
				compared = compared || called(n) == "subtle.ConstantTimeCompare"
			}
			return true
		})
		return false
	})
	if loops != 1 || !compared {
		t.Errorf("Keys.Authenticate has %d loops, and compares in constant time: %v", loops, compared)
	}
	macs := 0
	for _, root := range []string{"../auth", "../broker/webhook", "../cmd"} {
		for _, path := range sources(t, root) {
			file, err := parser.ParseFile(files, path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			macs += checkComparisons(t, files, file)
		}
	}
	if macs == 0 {
		t.Error("no signature is compared anywhere: the test looks in the wrong places")
	}
}

// checkComparisons counts the functions that verify a MAC; none may compare in another way
// than by hmac.Equal or subtle.
func checkComparisons(t *testing.T, files *token.FileSet, file *ast.File) (macs int) {
	t.Helper()
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Body == nil {
			continue
		}
		var calls []string
		ast.Inspect(f.Body, func(n ast.Node) bool {
			if c, ok := n.(*ast.CallExpr); ok {
				calls = append(calls, called(c))
			}
			return true
		})
		constant := slices.Contains(calls, "hmac.Equal") || slices.Contains(calls, "subtle.ConstantTimeCompare")
		if constant {
			macs++
		}
		verifies := strings.HasPrefix(strings.ToLower(f.Name.Name), "verify") || constant
		if variable := slices.ContainsFunc(calls, func(c string) bool { return c == "bytes.Equal" || c == "bytes.Compare" || c == "reflect.DeepEqual" }); verifies && variable {
			t.Errorf("%s: %s compares by what takes longer the more is equal", files.Position(f.Pos()), f.Name.Name)
		}
	}
	return macs
}

func method(t *testing.T, files *token.FileSet, path, receiver, name string) *ast.FuncDecl {
	t.Helper()
	file, err := parser.ParseFile(files, path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Recv == nil || f.Name.Name != name {
			continue
		}
		if star, ok := f.Recv.List[0].Type.(*ast.StarExpr); ok {
			if id, ok := star.X.(*ast.Ident); ok && id.Name == receiver {
				return f
			}
		}
	}
	t.Fatalf("%s has no method %s of %s", path, name, receiver)
	return nil
}

// called is the name of a function of a package, "" for others.
func called(c *ast.CallExpr) string {
	if s, ok := c.Fun.(*ast.SelectorExpr); ok {
		if p, ok := s.X.(*ast.Ident); ok {
			return p.Name + "." + s.Sel.Name
		}
	}
	return ""
}

// sources are the Go files under root that are no tests.
func sources(t *testing.T, root string) []string {
	t.Helper()
	return goFiles(t, root, func(name string) bool { return !strings.HasSuffix(name, "_test.go") })
}

// testFiles are those of all rooms.
func testFiles(t *testing.T) []string {
	t.Helper()
	return goFiles(t, "..", func(name string) bool { return strings.HasSuffix(name, "_test.go") })
}

func goFiles(t *testing.T, root string, wanted func(name string) bool) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".go") && wanted(path) {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}
