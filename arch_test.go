package userapi_test

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

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/userapi/userapi"

// mayImport says which of our own packages the non-test code of a folder may import, and which foreign packages it
// must not. Everything points at the root; a folder that is not listed fails.
var mayImport = map[string]struct {
	ours []string
	not  []string // prefixes of foreign import paths
}{
	".":                                         {nil, []string{"net/http", "database/sql", "github.com/go-sql-driver", "modernc.org", "github.com/mattn", "github.com/jmoiron", "os", "testing"}},
	"store/memory":                              {[]string{"."}, []string{"net/http", "database/sql", "testing"}},
	"store/storetest":                           {[]string{"."}, []string{"net/http", "database/sql", "github.com/stretchr"}},
	"store/internal/sqlstore":                   {[]string{"."}, []string{"net/http", "github.com/go-sql-driver", "modernc.org", "github.com/mattn", "testing"}},
	"internal/drivertest":                       {[]string{"."}, []string{"net/http"}},
	"internal/mutate":                           {nil, []string{"net/http", "database/sql", "testing"}},
	"internal/timing":                           {[]string{".", "httpadapter", "store/sqlite", "verification/dummy"}, []string{"testing"}},
	"internal/securitycases":                    {nil, []string{"net/http", "database/sql", "testing"}},
	"store/sqlite":                              {[]string{".", "store/internal/sqlstore"}, []string{"net/http", "modernc.org", "github.com/mattn", "testing"}},
	"store/mysql":                               {[]string{".", "store/internal/sqlstore"}, []string{"net/http", "modernc.org", "testing"}},
	"store/postgres":                            {[]string{".", "store/internal/sqlstore"}, []string{"net/http", "github.com/go-sql-driver", "github.com/lib", "modernc.org", "testing"}},
	"verification":                              {[]string{"."}, []string{"net/http", "database/sql", "testing"}},
	"verification/dummy":                        {[]string{".", "verification"}, []string{"net/http", "database/sql", "testing"}},
	"verification/outboxfile":                   {[]string{".", "verification"}, []string{"net/http", "database/sql", "testing"}},
	"verification/smtp":                         {[]string{".", "verification"}, []string{"net/http", "database/sql", "testing"}},
	"verification/twilio":                       {[]string{".", "verification", "verification/internal/gateway"}, []string{"database/sql", "testing"}},
	"verification/vonage":                       {[]string{".", "verification", "verification/internal/gateway"}, []string{"database/sql", "testing"}},
	"verification/webhook":                      {[]string{".", "verification", "verification/internal/gateway"}, []string{"database/sql", "testing"}},
	"verification/internal/gateway":             {[]string{".", "verification"}, []string{"database/sql", "testing"}},
	"verification/internal/gateway/gatewaytest": {[]string{".", "verification"}, []string{"database/sql"}},
	"legacyhash":                                {[]string{"."}, []string{"net/http", "database/sql", "os", "testing"}},
	"httpadapter":                               {[]string{"."}, []string{"database/sql", "testing"}},
	"feature/totp":                              {[]string{".", "httpadapter"}, []string{"database/sql", "testing"}},
	"cmd/userapi": {[]string{".", "httpadapter", "legacyhash", "store/memory", "store/sqlite", "store/mysql", "store/postgres", "verification", "verification/outboxfile",
		"verification/smtp", "verification/twilio", "verification/vonage", "verification/webhook"}, []string{"testing"}},
	"examples/quickstart": {[]string{".", "httpadapter", "store/sqlite"}, nil},
	"examples/chi":        {[]string{".", "httpadapter", "store/sqlite"}, nil},
	"examples/reset":      {[]string{".", "httpadapter", "store/memory", "verification/outboxfile", "verification/smtp"}, nil},
	"examples/phone":      {[]string{".", "httpadapter", "store/memory", "verification", "verification/webhook"}, nil},
	"examples/hosttx":     {[]string{".", "store/sqlite"}, nil},
	"examples/totp":       {[]string{".", "httpadapter", "feature/totp", "store/memory"}, nil},
}

func TestArchitecture_every_import_follows_the_arrow(t *testing.T) {
	seen := map[string]bool{}
	jwt, crypto := map[string]bool{}, map[string]bool{}
	eachFile(t, func(folder, name string, file *ast.File) {
		seen[folder] = true
		rule, listed := mayImport[folder]
		require.True(t, listed, "the folder %s is not in the table", folder)
		if strings.HasSuffix(name, "_test.go") {
			return
		}
		for _, spec := range file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			if ours, ok := cutModule(path); ok {
				assert.True(t, slices.Contains(rule.ours, ours), "%s/%s imports %s", folder, name, path)
				continue
			}
			for _, prefix := range rule.not {
				assert.False(t, path == prefix || strings.HasPrefix(path, prefix+"/"), "%s/%s imports %s", folder, name, path)
			}
			assert.False(t, strings.HasPrefix(path, "github.com/jackc/") && folder != "cmd/userapi" && folder != "internal/drivertest", "%s/%s imports %s", folder, name, path)
			assert.False(t, strings.HasPrefix(path, "github.com/stretchr/"), "testify only in tests: %s/%s", folder, name)
			if folder == "." && strings.HasPrefix(path, "github.com/golang-jwt/") {
				jwt[name] = true
			}
			if folder == "." && strings.HasPrefix(path, "golang.org/x/crypto/") {
				crypto[name] = true
			}
		}
	})
	assert.Equal(t, map[string]bool{"tokens.go": true}, jwt, "one file of the root imports the JWT library")
	assert.Equal(t, map[string]bool{"password.go": true}, crypto, "one file of the root imports x/crypto")
	for folder := range mayImport {
		assert.True(t, seen[folder], "the table lists %s, which does not exist", folder)
	}
}

func cutModule(path string) (string, bool) {
	if path == module {
		return ".", true
	}
	return strings.CutPrefix(path, module+"/")
}

// No globals that a host could trip over: no init functions, and nothing of ours is registered anywhere.
func TestArchitecture_no_init_and_one_package_comment(t *testing.T) {
	documented := map[string]int{}
	eachFile(t, func(folder, name string, file *ast.File) {
		if strings.HasSuffix(name, "_test.go") {
			return
		}
		if file.Doc != nil {
			documented[folder]++
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil {
				assert.NotEqual(t, "init", f.Name.Name, "%s/%s", folder, name)
			}
		}
	})
	for folder := range mayImport {
		assert.Equal(t, 1, documented[folder], "%s has exactly one package comment", folder)
	}
}

// The row rule: one noun has one file name in every layer.
func TestArchitecture_row_rule(t *testing.T) {
	files := map[string][]string{}
	eachFile(t, func(folder, name string, _ *ast.File) { files[folder] = append(files[folder], name) })
	for _, noun := range []string{"users.go", "sessions.go", "roles.go", "memberships.go", "customers.go", "challenges.go", "outbox.go", "apikeys.go", "grants.go", "credentials.go", "events.go", "limits.go"} {
		for _, folder := range []string{".", "store/memory", "store/storetest", "store/internal/sqlstore"} {
			assert.Contains(t, files[folder], noun, folder)
		}
	}
	for _, noun := range []string{"users.go", "sessions.go", "roles.go", "memberships.go", "auth.go", "errors.go", "apikeys.go", "events.go"} {
		assert.Contains(t, files["httpadapter"], noun)
	}
}

// Interfaces stay small enough to be written anew by a host.
func TestArchitecture_no_interface_of_the_root_has_more_than_six_methods(t *testing.T) {
	exported := 0
	eachFile(t, func(folder, name string, file *ast.File) {
		if folder != "." || strings.HasSuffix(name, "_test.go") {
			return
		}
		for _, decl := range file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && d.Name.IsExported() {
					exported++
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.TypeSpec:
						if s.Name.IsExported() {
							exported++
						}
						i, ok := s.Type.(*ast.InterfaceType)
						if !ok {
							continue
						}
						methods := 0
						for _, m := range i.Methods.List {
							methods += len(m.Names) // embedded interfaces have no name
						}
						assert.LessOrEqual(t, methods, 6, s.Name.Name)
					case *ast.ValueSpec:
						for _, n := range s.Names {
							if n.IsExported() && d.Tok == token.VAR && !strings.HasPrefix(n.Name, "Err") {
								exported++
							}
						}
					}
				}
			}
		}
	})
	assert.LessOrEqual(t, exported, 160, "exported types and functions of the root: what a newcomer has to tell apart")
}

func eachFile(t *testing.T, visit func(folder, name string, file *ast.File)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." {
			_, err := os.Stat(filepath.Join(path, "go.mod")) // a module of its own
			if err == nil || strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" {
				return filepath.SkipDir
			}
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		visit(filepath.ToSlash(filepath.Dir(path)), filepath.Base(path), file)
		return nil
	})
	require.NoError(t, err)
}
