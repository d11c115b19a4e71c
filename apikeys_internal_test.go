package userapi

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAPIKey_one_wrong_character_is_found_out(t *testing.T) {
	key := makeKey()
	prefix, hash, ok := parseKey(key)
	assert.True(t, ok)
	assert.Equal(t, key[:keyPrefix], prefix)
	assert.LessOrEqual(t, len(hash), 64)
	assert.NotContains(t, hash, key[keyPrefix+1:])
	for i := range key {
		for _, other := range "AB7." {
			if wrong := key[:i] + string(other) + key[i+1:]; wrong != key {
				_, _, ok := parseKey(wrong)
				assert.False(t, ok, wrong)
			}
		}
	}
	assert.NotEqual(t, key, makeKey())
}

func FuzzAPIKey(f *testing.F) {
	for _, seed := range []string{"", ".", "a.b", makeKey(), strings.ToLower(makeKey()), strings.Repeat("A", keyLength), strings.Repeat(".", keyLength)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		prefix, hash, ok := parseKey(text)
		if !ok {
			if prefix+hash != "" {
				t.Error("parts of what is none")
			}
			return
		}
		_, secret, _ := strings.Cut(text, ".")
		if len(text) > 96 || strings.Count(text, ".") != 1 || !strings.HasPrefix(text, prefix+".") || len(prefix) < 8 || len(secret) < 39 || hash == "" {
			t.Errorf("taken: %q", text)
		}
	})
}
