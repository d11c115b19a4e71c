package sqlstore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLiteral(t *testing.T) {
	type named string
	query, err := literal(`UPDATE t SET a = ?, b = ?, c = ?, d = ?, e = ? WHERE f IN (?, ?)`,
		[]any{`?'"\`, []byte{0, 0xff}, named("é"), nil, true, -7, ""})
	require.NoError(t, err)
	assert.Equal(t, `UPDATE t SET a = x'3f27225c', b = x'00ff', c = x'c3a9', d = NULL, e = true WHERE f IN (-7, x'')`, query)

	query, err = literal(`SELECT 1`, nil)
	require.NoError(t, err)
	assert.Equal(t, `SELECT 1`, query)
	for _, args := range [][]any{{}, {1, 2}, {1.5}, {time.Now()}, {struct{}{}}} {
		_, err := literal(`SELECT ?`, args)
		assert.Error(t, err, "%v", args)
	}
}

func TestBehindPrefix(t *testing.T) {
	for prefix, want := range map[string]string{
		"": "", "a": "b", "a/": "a0", "\u00bf": "\u00c0", "\u007f": "\u0080", "a\U0010ffff": "b", "\U0010ffff": "", "\ud7ff": "\ue000",
	} {
		got := behindPrefix(prefix)
		assert.Equal(t, want, got, "%q", prefix)
		if got != "" {
			assert.Less(t, prefix+"\U0010ffff", got, "%q", prefix)
		}
	}
}
