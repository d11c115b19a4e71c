package securitycases

import (
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the documents instead of comparing them")

const root = "../.."

// place is where a case is answered: a test, or what tests of every store call.
type place struct{ file, name string }

// link leads there from docs/.
func (p place) link() string {
	return fmt.Sprintf("[%s](../%s)", strings.ReplaceAll(p.name, "_", `\_`), p.file)
}

var (
	namedFor = regexp.MustCompile(`^[A-L]\d\d$`)
	begins   = regexp.MustCompile(`^ ?([A-L]\d\d)([ :]|$)`)
)

// answered reads the tests of the whole module: which place answers which case, and where each test is.
func answered(t *testing.T) (byCase map[string][]place, tests map[string]place) {
	t.Helper()
	byCase, tests = map[string][]place{}, map[string]place{}
	add := func(id string, p place) {
		if !slices.Contains(byCase[id], p) {
			byCase[id] = append(byCase[id], p)
		}
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "securitycases"):
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil || !isTest(path, file) {
			return err
		}
		name, err := filepath.Rel(root, path)
		name = filepath.ToSlash(name)
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			p := place{file: name, name: name} // a suite is known by its file
			if ok && strings.HasSuffix(name, "_test.go") {
				p.name = f.Name.Name
			}
			if ok && f.Recv == nil && (strings.HasPrefix(p.name, "Test") || strings.HasPrefix(p.name, "Fuzz")) {
				tests[p.name] = p
				for _, part := range strings.Split(p.name[len("Test"):], "_") {
					if namedFor.MatchString(part) {
						add(part, p)
					}
				}
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					for _, id := range idsOf(lit.Value) {
						add(id, p)
					}
				}
				return true
			})
		}
		return err
	})
	require.NoError(t, err)
	for _, places := range byCase {
		slices.SortFunc(places, func(a, b place) int { return cmp.Or(strings.Compare(a.file, b.file), strings.Compare(a.name, b.name)) })
	}
	return byCase, tests
}

// isTest tells the files of tests, and of the suites that stores and gateways are tested by.
func isTest(path string, file *ast.File) bool {
	return strings.HasSuffix(path, "_test.go") || slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"testing"` })
}

// idsOf reads the ids that a text begins with: "G05 H04 refused".
func idsOf(literal string) (ids []string) {
	text, err := strconv.Unquote(literal)
	for m := begins.FindStringSubmatch(text); err == nil && m != nil; m = begins.FindStringSubmatch(text) {
		ids = append(ids, m[1])
		text = strings.TrimPrefix(text, m[0][:len(m[0])-len(m[2])])
	}
	return ids
}

func TestIDsAreReadWhereTheyAreMeant(t *testing.T) {
	for literal, want := range map[string][]string{
		`"A01 none is no algorithm"`: {"A01"}, `"H12"`: {"H12"}, `"G05 H04 C05 refused"`: {"G05", "H04", "C05"}, "`B07: nothing`": {"B07"},
		`"F01@X.Example"`: nil, `" F01@X.Example "`: nil, `"A014"`: nil, `"see A01"`: nil, `"Z01 x"`: nil, `""`: nil,
	} {
		assert.Equal(t, want, idsOf(literal), literal)
	}
}

func TestEveryCaseIsAnswered(t *testing.T) {
	byCase, _ := answered(t)
	listed, last := map[string]bool{}, ""
	for _, c := range Cases {
		assert.Regexp(t, namedFor, c.ID)
		assert.Less(t, last, c.ID, "ordered, and none twice")
		listed[c.ID], last = true, c.ID
		assert.True(t, slices.ContainsFunc(Groups, func(g Group) bool { return g.Letter == c.ID[:1] }), c.ID)
		assert.Contains(t, []string{"P0", "P1"}, c.Pri, c.ID)
		assert.True(t, strings.HasSuffix(c.Text, "."), "%s is no sentence", c.ID)
		assert.False(t, len(byCase[c.ID]) == 0 && c.Note == "", "%s has neither a test nor a reason", c.ID)
	}
	for id, places := range byCase {
		assert.True(t, listed[id], "%s is no case; it stands in %v", id, places)
	}
}

func TestSecurityPage(t *testing.T) {
	byCase, _ := answered(t)
	var b strings.Builder
	answers := 0
	for _, c := range Cases {
		if len(byCase[c.ID]) > 0 {
			answers++
		}
	}
	fmt.Fprintf(&b, `# Attacks, and the tests that answer them

%d cases of what a hostile or clumsy caller does, and what has to happen; %d of them have tests. P0 has to hold before a release, P1 soon after. Tests
carry the id of their case in their name, in that of a subtest or in the words of an assertion. Those in `+"`store/storetest` run on every store, and on yours"+`.

Made from `+"`internal/securitycases` and the tests by `go test ./internal/securitycases -update`"+`; a test holds them together, and fails for a case
without a test or a reason, and for an id that is no case. See also the [threat model](threat-model.md), the [map of OWASP ASVS 5.0](asvs.md)
and [what the time of an answer tells](timing.md).
`, len(Cases), answers)
	for _, g := range Groups {
		fmt.Fprintf(&b, "\n## %s. %s\n\n| | | case | tests |\n|---|---|---|---|\n", g.Letter, g.Title)
		for _, c := range Cases {
			if c.ID[:1] != g.Letter {
				continue
			}
			fmt.Fprintf(&b, "| <a id=\"%s\"></a>%s | %s | %s | %s |\n", strings.ToLower(c.ID), c.ID, c.Pri, strings.TrimSpace(c.Text+" "+c.Note), links(byCase[c.ID]))
		}
	}
	golden(t, "docs/security.md", b.String())
}

func links(places []place) string {
	all := make([]string, len(places))
	for i, p := range places {
		all[i] = p.link()
	}
	return strings.Join(all, ", ")
}

func TestASVSPage(t *testing.T) {
	byCase, tests := answered(t)
	chapters := []struct{ number, title string }{
		{"6", "Authentication"}, {"7", "Session management"}, {"8", "Authorization"}, {"9", "Self-contained tokens"},
	}
	rows, states, last := map[string][]string{}, map[State]int{}, ""
	for _, r := range Requirements {
		assert.Less(t, order(r.ID), order("9.2.5"), r.ID)
		assert.Less(t, order(last), order(r.ID), "ordered, and none twice")
		last = r.ID
		states[r.State]++
		assert.Contains(t, []State{Met, Partly, Host, NA, Unmet}, r.State, r.ID)
		assert.True(t, r.State == Met && len(r.By) > 0 || r.Note != "", "%s has neither tests nor a reason", r.ID)
		assert.False(t, r.State == NA && len(r.By) > 0, "%s does not apply, and is tested", r.ID)
		var by []string
		for _, name := range r.By {
			switch p, test := tests[name]; {
			case test:
				by = append(by, p.link())
			case len(byCase[name]) > 0:
				by = append(by, fmt.Sprintf("[%s](security.md#%s)", name, strings.ToLower(name)))
			default:
				assert.Fail(t, "no such test, and no case with a test", "%s: %s", r.ID, name)
			}
		}
		rows[r.ID[:1]] = append(rows[r.ID[:1]], fmt.Sprintf("| %s | %d | %s | %s | %s |\n", r.ID, r.Level, r.Text, r.State, strings.TrimSpace(strings.Join(by, ", ")+" "+r.Note)))
	}
	assert.Len(t, Requirements, 86, "OWASP ASVS 5.0.0 has as many in V6 to V9")
	var b strings.Builder
	fmt.Fprintf(&b, `# OWASP ASVS 5.0, chapters 6 to 9

The [Application Security Verification Standard](https://github.com/OWASP/ASVS) 5.0.0 is about whole applications; this is a library inside one. Each of its
86 requirements on authentication, sessions, authorization and self-contained tokens is here in a few words of ours – read theirs beside it – with
its level and what becomes of it: %d met, %d partly (or where the host asks for it), %d the host's business, %d that do not apply, %d not met. Ids such as
A01 are [cases](security.md) with their tests.

Made from `+"`internal/securitycases` by `go test ./internal/securitycases -update`"+`; a test holds it against the tests that it names.
`, states[Met], states[Partly], states[Host], states[NA], states[Unmet])
	for _, c := range chapters {
		fmt.Fprintf(&b, "\n## V%s. %s\n\n| | level | asks for | | by |\n|---|---|---|---|---|\n%s", c.number, c.title, strings.Join(rows[c.number], ""))
	}
	golden(t, "docs/asvs.md", b.String())
}

// order makes 6.2.10 come after 6.2.9.
func order(id string) int {
	n := 0
	for _, part := range strings.Split(id, ".") {
		digits, _ := strconv.Atoi(part)
		n = n*100 + digits
	}
	return n
}

// What is written by hand names cases, tests and files that are there.
func TestPagesAboutSecurityNameWhatIsThere(t *testing.T) {
	byCase, tests := answered(t)
	id, test, link := regexp.MustCompile(`\b[A-L]\d\d\b`), regexp.MustCompile(`\b(Test|Fuzz)[A-Z]\w+`), regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	for _, page := range []string{"SECURITY.md", "docs/threat-model.md"} {
		raw, err := os.ReadFile(filepath.Join(root, page))
		require.NoError(t, err)
		for _, name := range id.FindAllString(string(raw), -1) {
			assert.NotEmpty(t, byCase[name], "%s names %s, which no test answers", page, name)
		}
		for _, name := range test.FindAllString(string(raw), -1) {
			assert.Contains(t, tests, name, page)
		}
		for _, m := range link.FindAllStringSubmatch(string(raw), -1) {
			assert.FileExists(t, filepath.Join(root, filepath.Dir(page), m[1]), page)
		}
	}
}

func golden(t *testing.T, name, want string) {
	t.Helper()
	path := filepath.Join(root, name)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
		return
	}
	have, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, string(have) == want, "%s is stale; run go test ./internal/securitycases -update", name)
}
