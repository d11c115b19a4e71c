package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMutants(t *testing.T) {
	found, err := mutants("x.go", []byte(`package x

const most = 3

func f(a int) (int, error) {
	if a > most && !done {
		total += a
		return 0, ErrMany
	}
	return a, nil
}
`))
	require.NoError(t, err)
	var lines []string
	for _, m := range found {
		lines = append(lines, m.String())
	}
	assert.Equal(t, []string{
		"x.go:3 3 → 4",
		"x.go:6 a > most && !done → false && (a > most && !done)",
		"x.go:6 a > most && !done → true || (a > most && !done)",
		"x.go:6 a > most && !done → a > most || !done",
		"x.go:6 a > most → a >= most",
		"x.go:6 !done → done",
		"x.go:7 total += a → ",
		"x.go:8 ErrMany → nil",
		"x.go:8 0 → 1",
	}, lines)
}
