// Package clew_test holds the law of the house: which room may import which.
package clew_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/clew-sec/clew"

// ranks orders the rooms of internal/ from leaf to root. A room may import only
// rooms of a lower rank, so imports point against the flow of data and two
// rooms of one rank never know each other. Packages inside a room may know the
// room and each other. ARCHITECTURE.md lists the rooms in this order.
var ranks = [][]string{
	{"event"},
	{"matrix", "source", "normalize", "inventory", "rule", "config", "sensor"},
	{"bus", "graph", "detect", "auditpolicy"},
	{"trace"},
	{"engine", "store"},
	{"report"},
	{"pipeline"},
	{"server"},
	{"daemon", "client", "agent"},
	{"cli"},
}

// pure are the rooms that must not touch the clock, the disk, the network or
// other goroutines: same events in, same traces out.
var pure = []string{"event", "inventory", "graph", "detect", "trace", "engine"}

// impure are packages that a pure room has no use for.
var impure = map[string]bool{"os": true, "net": true, "net/http": true, "sync/atomic": true, "math/rand": true, "math/rand/v2": true, "os/exec": true, "syscall": true}

func TestImportsPointUpstream(t *testing.T) {
	rank := map[string]int{}
	for i, rooms := range ranks {
		for _, r := range rooms {
			rank[r] = i
		}
	}
	for dir, p := range readPackages(t) {
		from, ok := room(module + "/" + dir)
		if !ok {
			continue
		}
		fromRank, known := rank[from]
		if !known {
			t.Errorf("internal/%s has no rank: add it to ranks and to ARCHITECTURE.md", from)
			continue
		}
		for imp := range p.imports {
			to, ok := room(imp)
			if ok && to != from && rank[to] >= fromRank {
				t.Errorf("%s (rank %d) imports internal/%s (rank %d): data flows the other way", dir, fromRank, to, rank[to])
			}
		}
	}
}

func TestEveryPackageIsDescribedOnce(t *testing.T) {
	for dir, p := range readPackages(t) {
		if p.docs != 1 {
			t.Errorf("%s has %d package comments, want 1", dir, p.docs)
		}
	}
}

func TestCoreIsPure(t *testing.T) {
	pkgs := readPackages(t)
	for _, r := range pure {
		p := pkgs["internal/"+r]
		if p == nil {
			t.Errorf("internal/%s is named pure, but there is no such room", r)
			continue
		}
		for imp := range p.imports {
			if impure[imp] {
				t.Errorf("internal/%s imports %s", r, imp)
			}
		}
		for _, use := range p.impurities {
			t.Errorf("internal/%s is not pure: %s", r, use)
		}
	}
}

func TestNoDrawers(t *testing.T) {
	for dir := range readPackages(t) {
		switch filepath.Base(dir) {
		case "util", "utils", "common", "helpers", "misc", "types", "models":
			t.Errorf("%s: a package is one noun you can explain in a sentence", dir)
		}
	}
}

func TestArchitectureListsTheRoomsInOrder(t *testing.T) {
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "\ninternal/\n")
	list, _, _ = strings.Cut(list, "```")
	want, got := slices.Concat(ranks...), []string(nil)
	for line := range strings.Lines(list) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), "/")
		got = append(got, name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("ARCHITECTURE.md lists internal/ as\n%v, ranks say\n%v", got, want)
	}
}

func TestEveryRankedRoomExists(t *testing.T) {
	here := map[string]bool{}
	for dir := range readPackages(t) {
		if r, ok := room(module + "/" + dir); ok {
			here[r] = true
		}
	}
	for _, r := range slices.Concat(ranks...) {
		if !here[r] {
			t.Errorf("internal/%s has a rank, but there is no such room", r)
		}
	}
}

// TestAgentLinksOnlyTheNodeLine follows the imports of clew-agent: it runs as
// root on every node, so what it links is what it needs there and no more.
func TestAgentLinksOnlyTheNodeLine(t *testing.T) {
	pkgs := readPackages(t)
	rooms := map[string]bool{"agent": true, "sensor": true}
	modules := []string{"github.com/cilium/ebpf", "github.com/spf13/cobra", "golang.org/x/sys"}
	seen, todo := map[string]bool{}, []string{"cmd/clew-agent"}
	for len(todo) > 0 {
		dir := todo[0]
		todo = todo[1:]
		if seen[dir] {
			continue
		}
		seen[dir] = true
		if pkgs[dir] == nil {
			t.Fatalf("there is no package in %s", dir)
		}
		for imp := range pkgs[dir].imports {
			r, ours := room(imp)
			switch {
			case ours && !rooms[r]:
				t.Errorf("%s imports internal/%s: clew-agent links the node line only", dir, r)
			case ours:
				todo = append(todo, strings.TrimPrefix(imp, module+"/"))
			case strings.Contains(imp, ".") && !slices.ContainsFunc(modules, func(m string) bool { return imp == m || strings.HasPrefix(imp, m+"/") }):
				t.Errorf("%s imports %s, which clew-agent has no use for", dir, imp)
			}
		}
	}
	if !seen["internal/sensor"] {
		t.Error("clew-agent does not link the sensor: this test looks at nothing")
	}
}

type pkg struct {
	docs       int // files carrying a package comment
	imports    map[string]bool
	impurities []string // uses of the clock, goroutines and locks, with their places
}

// readPackages parses every non-test file, keyed by directory. It reads the
// files itself rather than running go list: go test caches a passing result by
// the files a test opened, and does not see what a child process read.
func readPackages(t *testing.T) map[string]*pkg {
	t.Helper()
	pkgs := map[string]*pkg{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != "." && (name == "testdata" || strings.HasPrefix(name, ".")) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		return readFile(pkgs, path)
	})
	if err != nil {
		t.Fatal(err)
	}
	return pkgs
}

func readFile(pkgs map[string]*pkg, path string) error {
	src, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, path, src, parser.ParseComments)
	if err != nil {
		return err
	}
	dir := filepath.ToSlash(filepath.Dir(path))
	p := pkgs[dir]
	if p == nil {
		p = &pkg{imports: map[string]bool{}}
		pkgs[dir] = p
	}
	if f.Doc != nil {
		p.docs++
	}
	for _, s := range f.Imports {
		imp, err := strconv.Unquote(s.Path.Value)
		if err != nil {
			return err
		}
		p.imports[imp] = true
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if what := impurity(n); what != "" {
			p.impurities = append(p.impurities, fset.Position(n.Pos()).String()+": "+what)
		}
		return true
	})
	return nil
}

// clock are the functions of package time that look at it.
var clock = map[string]bool{"Now": true, "Since": true, "Until": true, "Sleep": true, "After": true, "AfterFunc": true, "Tick": true, "NewTimer": true, "NewTicker": true}

// impurity says what makes n impure, "" when nothing does. Of package sync only
// OnceValue and OnceValues pass: they give the same value whoever asks first.
func impurity(n ast.Node) string {
	switch n := n.(type) {
	case *ast.GoStmt:
		return "a goroutine"
	case *ast.SelectorExpr:
		x, ok := n.X.(*ast.Ident)
		switch {
		case !ok:
		case x.Name == "time" && clock[n.Sel.Name], x.Name == "sync" && !strings.HasPrefix(n.Sel.Name, "OnceValue"):
			return x.Name + "." + n.Sel.Name
		}
	}
	return ""
}

// room returns the first path element under internal/.
func room(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, module+"/internal/")
	if !ok {
		return "", false
	}
	r, _, _ := strings.Cut(rest, "/")
	return r, true
}
