// Command mutate asks whether the tests would notice: it breaks one thing at a time in the files it is given (a comparison, a condition, a
// number, a statement, an error that is returned), runs the tests, and tells which defects none of them fails for. A seed names the
// sample. Nothing is written to the tree: the compiler gets the broken file by an overlay.
//
//	go run ./internal/mutate -n 50 -seed 7 auth.go password.go | tee before.txt
//	go run ./internal/mutate -again before.txt auth.go password.go # only what survived
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// mutant is one defect: the bytes from..to of the file become with.
type mutant struct {
	file     string
	line     int
	from, to int
	was      string
	with     string
}

// String is the line that names it, also for -again.
func (m mutant) String() string {
	was := strings.Join(strings.Fields(m.was), " ")
	if len(was) > 100 {
		was = was[:100] + "…"
	}
	return fmt.Sprintf("%s:%d %s → %s", m.file, m.line, was, m.with)
}

func main() {
	log.SetFlags(0)
	n := flag.Int("n", 50, "how many to try; 0 = all")
	seed := flag.Uint64("seed", 1, "which ones")
	from := flag.Int("from", 0, "leave out the first ones of the sample, to go on where a run ended")
	again := flag.String("again", "", "try what survived in this earlier output, and nothing else")
	tests := flag.String("tests", ".,./store/memory,./httpadapter", "packages whose tests are run, besides that of the file")
	skip := flag.String("skip", "", "tests that are left out, as go test takes it")
	timeout := flag.Duration("timeout", 2*time.Minute, "of each package's tests; a mutant that hangs is noticed")
	flag.Parse()
	var all []mutant
	for _, name := range flag.Args() {
		src, err := os.ReadFile(name)
		if err != nil {
			log.Fatal(err)
		}
		found, err := mutants(name, src)
		if err != nil {
			log.Fatal(err)
		}
		all = append(all, found...)
	}
	rand.New(rand.NewPCG(*seed, 0)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	fmt.Printf("%d mutants\n", len(all))
	if *again != "" {
		old, err := os.ReadFile(*again)
		if err != nil {
			log.Fatal(err)
		}
		lines := strings.Split(string(old), "\n")
		all, *n = slices.DeleteFunc(all, func(m mutant) bool { return !slices.Contains(lines, "survived "+m.String()) }), 0
	}
	count := map[string]int{}
	for _, m := range all[min(*from, len(all)):] {
		if *n > 0 && count["killed"]+count["survived"] == *n {
			break
		}
		verdict, err := try(m, strings.Split(*tests, ","), *skip, *timeout)
		if err != nil {
			log.Fatal(err)
		}
		count[verdict]++
		fmt.Println(verdict, m)
	}
	tried := count["killed"] + count["survived"]
	fmt.Printf("%d of %d killed (%d %%); %d more do not compile\n", count["killed"], tried, 100*count["killed"]/max(tried, 1), count["invalid"])
}

// try says whether the tests notice m: killed, survived, or invalid when it does not compile. Those of the file's own package come first.
func try(m mutant, packages []string, skip string, timeout time.Duration) (string, error) {
	src, err := os.ReadFile(m.file)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	broken, overlay := filepath.Join(dir, "broken.go"), filepath.Join(dir, "overlay.json")
	original, err := filepath.Abs(m.file)
	if err != nil {
		return "", err
	}
	list, err := json.Marshal(map[string]any{"Replace": map[string]string{original: broken}})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(broken, slices.Concat(src[:m.from], []byte(m.with), src[m.to:]), 0o600); err != nil {
		return "", err
	}
	if err := os.WriteFile(overlay, list, 0o600); err != nil {
		return "", err
	}
	own := filepath.Dir(m.file)
	others := slices.DeleteFunc(slices.Clone(packages), func(p string) bool { return filepath.Clean(p) == own })
	for _, pkg := range append([]string{"./" + filepath.ToSlash(own)}, others...) {
		if out, err := exec.Command("go", "build", "-overlay", overlay, pkg).CombinedOutput(); err != nil { // #nosec G204 -- the developer's own words
			if len(out) == 0 {
				return "", err
			}
			return "invalid", nil
		}
		args := []string{"test", "-overlay", overlay, "-vet=off", "-failfast", "-count=1", "-timeout", timeout.String()}
		if skip != "" {
			args = append(args, "-skip", skip)
		}
		if exec.Command("go", append(args, pkg)...).Run() != nil { // #nosec G204 -- the developer's own words
			return "killed", nil
		}
	}
	return "survived", nil
}

// swaps are the operators that are put in the place of others.
var swaps = map[token.Token]token.Token{
	token.LSS: token.LEQ, token.LEQ: token.LSS, token.GTR: token.GEQ, token.GEQ: token.GTR, token.EQL: token.NEQ, token.NEQ: token.EQL,
	token.LAND: token.LOR, token.LOR: token.LAND, token.ADD: token.SUB, token.SUB: token.ADD, token.MUL: token.QUO, token.QUO: token.MUL,
}

// mutants finds what can be broken in the functions and tables of a file.
func mutants(name string, src []byte) (all []mutant, err error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	add := func(from, to token.Pos, with string) {
		a, b := set.Position(from), set.Position(to)
		all = append(all, mutant{name, a.Line, a.Offset, b.Offset, string(src[a.Offset:b.Offset]), with})
	}
	text := func(n ast.Node) string { return string(src[set.Position(n.Pos()).Offset:set.Position(n.End()).Offset]) }
	ast.Inspect(file, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.GenDecl:
			return n.Tok == token.VAR || n.Tok == token.CONST
		case *ast.BinaryExpr:
			if text(n) == "err != nil" { // turned about, anything would notice
				return false
			}
			if other, ok := swaps[n.Op]; ok {
				add(n.Pos(), n.End(), text(n.X)+" "+other.String()+" "+text(n.Y))
			}
		case *ast.UnaryExpr:
			if n.Op == token.NOT {
				add(n.Pos(), n.End(), text(n.X))
			}
		case *ast.IfStmt:
			add(n.Cond.Pos(), n.Cond.End(), "false && ("+text(n.Cond)+")")
			if text(n.Cond) != "err != nil" {
				add(n.Cond.Pos(), n.Cond.End(), "true || ("+text(n.Cond)+")")
			}
		case *ast.BasicLit:
			if v, err := strconv.ParseInt(n.Value, 0, 64); err == nil && n.Kind == token.INT {
				add(n.Pos(), n.End(), strconv.FormatInt(v+1, 10))
			}
		case *ast.Ident:
			if n.Name == "true" || n.Name == "false" {
				add(n.Pos(), n.End(), strconv.FormatBool(n.Name == "false"))
			}
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				add(n.Pos(), n.End(), "")
			}
		case *ast.ExprStmt, *ast.DeferStmt, *ast.IncDecStmt, *ast.BranchStmt:
			add(n.Pos(), n.End(), "")
		case *ast.ReturnStmt:
			if len(n.Results) > 0 {
				if last := text(n.Results[len(n.Results)-1]); last == "err" || strings.HasPrefix(last, "Err") || strings.HasPrefix(last, "userapi.Err") {
					add(n.Results[len(n.Results)-1].Pos(), n.End(), "nil")
				}
			}
		}
		return true
	})
	return all, nil
}
