package legacyhash

import (
	"crypto/sha512"
	"encoding/json"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/go-crypt/x/crypt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/userapi/userapi"
)

type vector struct {
	Scheme   string
	Password userapi.Secret
	Hash     string
	Salt     string
}

func vectors(t testing.TB, file string) (all []vector) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &all))
	for i, v := range all {
		if v.Salt != "" {
			all[i].Hash = Knlambert(v.Hash, v.Salt)
		}
	}
	return all
}

// read finds the one hasher of a text.
func read(t testing.TB, stored string) (matches func(userapi.Secret) bool, memoryKiB uint32) {
	t.Helper()
	for _, hasher := range All() {
		if m, memory := hasher(stored); m != nil {
			require.Nil(t, matches, "two hashers read %q", stored)
			matches, memoryKiB = m, memory
		}
	}
	return matches, memoryKiB
}

func TestVectors(t *testing.T) {
	for _, file := range []string{"legacy_hashes.json", "known_hashes.json"} {
		for _, v := range vectors(t, file) {
			t.Run(v.Scheme, func(t *testing.T) {
				t.Parallel()
				matches, memory := read(t, v.Hash)
				require.NotNil(t, matches, v.Hash)
				assert.LessOrEqual(t, memory, uint32(1<<20))
				tooLong := strings.HasPrefix(v.Hash, "$2") && len(v.Password) > maxBcrypt
				assert.Equal(t, !tooLong, matches(v.Password), v.Hash)
				p := v.Password
				wrong := []userapi.Secret{p[:len(p)-1], p + "x", userapi.Secret(v.Hash), "", p[1:], p + " ", userapi.Secret(strings.ToUpper(string(p)))}
				if !cheap(v.Hash) {
					wrong = wrong[:1]
				}
				for _, w := range wrong {
					assert.False(t, matches(w), "%s: %q", v.Hash, string(w))
				}
			})
		}
	}
}

// One more or one less of whatever counts is another hash.
func TestVectors_of_other_parameters_do_not_match(t *testing.T) {
	for _, v := range []struct {
		password       userapi.Secret
		hash, from, to string
	}{
		{"Correct horse 1", "pbkdf2_sha1$12000$Tt7Hj2PqLmZx9KdWcVbN4s$c56Tw8YBortLdG/geNr07axggoc=", "12000", "12001"},
		{"Correct horse 1", "pbkdf2_sha1$12000$Tt7Hj2PqLmZx9KdWcVbN4s$c56Tw8YBortLdG/geNr07axggoc=", "$Tt7", "$Tt8"},
		{"the minimum number is still observed", "$5$rounds=1000$roundstoolow$yfvwcWrQ8l/K0DAWyuPMDNHpIVlTQebY9l/gL972bIC", "1000", "1001"},
		{"the minimum number is still observed", "$5$rounds=1000$roundstoolow$yfvwcWrQ8l/K0DAWyuPMDNHpIVlTQebY9l/gL972bIC", "bIC", "bIA"},
		{"Hello world!", "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1", "saltstring", "saltstrinG"},
		{"Hello world!", "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1", "$6$", "$6$rounds=5001$"},
		{"pässwörd", "$scrypt$ln=4,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$BHecd7e7pPRBAcF7C7q7Pxn+RgFr3BEbGWUw2zr+aOCwz18Z9oJb/O6OEHSOvKe5Ro4eh0EAeaiPMOfnIQZhPg", "ln=4", "ln=5"},
		{"pässwörd", "$scrypt$ln=4,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$BHecd7e7pPRBAcF7C7q7Pxn+RgFr3BEbGWUw2zr+aOCwz18Z9oJb/O6OEHSOvKe5Ro4eh0EAeaiPMOfnIQZhPg", "p=1", "p=2"},
		{"password", "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8", "t=2", "t=3"},
		{"password", "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8", "argon2i", "argon2d"},
		{"password", "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8", "m=256", "m=264"},
		{"pässwörd", "$2b$05$abcdefghijklmnopqrstuuZVEMa1pjhlynBQ1qXmSvGBJpN9h1w8G", "$05$", "$04$"},
		{"pässwörd", "$2b$05$abcdefghijklmnopqrstuuZVEMa1pjhlynBQ1qXmSvGBJpN9h1w8G", "8G", "8S"},
		{"Correct horse 1", Knlambert("5f4d21582527cf28a40555b5648e1b0c", "4f2b1f1ec80ce7963410edcde1dd333885e2ef85af59186723d24c01f69d269e"), "4f2b", "4F2B"},
	} {
		matches, _ := read(t, v.hash)
		require.NotNil(t, matches, v.hash)
		require.True(t, matches(v.password), v.hash)
		other := strings.Replace(v.hash, v.from, v.to, 1)
		matches, _ = read(t, other)
		require.NotNil(t, matches, other)
		assert.False(t, matches(v.password), other)
	}
}

func TestBcrypt_C01_never_equal_beyond_72_bytes(t *testing.T) {
	matches, _ := Bcrypt("$2a$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i")
	x := userapi.Secret(strings.Repeat("x", 72))
	for _, password := range []userapi.Secret{x + "tail", x + "other", x + "t"} {
		assert.False(t, matches(password))
	}
	assert.True(t, matches(x), "all that the algorithm looks at")
}

func TestSHACrypt_of_more_than_512_bytes_is_not_computed(t *testing.T) {
	sum := crypt.KeySHACrypt(sha512.New, []byte(strings.Repeat("x", 513)), []byte("salt"), 1000)
	matches, _ := SHACrypt("$6$rounds=1000$salt$" + string(sum))
	assert.False(t, matches(userapi.Secret(strings.Repeat("x", 513))))
	sum = crypt.KeySHACrypt(sha512.New, []byte(strings.Repeat("x", 512)), []byte("salt"), 1000)
	matches, _ = SHACrypt("$6$rounds=1000$salt$" + string(sum))
	assert.True(t, matches(userapi.Secret(strings.Repeat("x", 512))))
}

func TestKnlambert(t *testing.T) {
	hash, salt := "7a3eeb070012856b3f89595365894e8c", "9446111aec9ffd39f9a2a39c16b7e3563d999cc6e2da20735e9742766c8a250f"
	matches, _ := PBKDF2(Knlambert(hash, salt))
	require.NotNil(t, matches)
	assert.True(t, matches("pässwörd"))
	assert.False(t, matches("p\u0061\u0308sswo\u0308rd"), "the combining mark has no form in Latin-1; the library tries NFC")
	for _, password := range []userapi.Secret{"пароль", "€", "p?ssw?rd", "p\x1assw\x1ard", "\xff"} {
		assert.False(t, matches(password), "%q", string(password))
	}
	for _, c := range [][2]string{
		{"", ""}, {hash, ""}, {"", salt}, {hash[:30], salt}, {hash + "00", salt}, {hash, salt[:62]}, {hash, salt + "00"}, {hash, salt[:63] + "g"},
		{hash[:31] + "g", salt}, {hash, salt[:31] + "$" + salt[32:]}, {salt, hash}, {hash + "$", salt}, {"password", "password"},
	} {
		matches, _ := read(t, Knlambert(c[0], c[1]))
		assert.Nil(t, matches, "%q", c)
	}
}

// What no hasher reads is quarantined by the library: no password is right, and an event tells.
func TestStoredHash_C13_parameters_beyond_bounds_are_unreadable(t *testing.T) {
	salt, sum16, sum32 := "AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAA", strings.Repeat("A", 43)
	sum20, sum64 := strings.Repeat("A", 27), strings.Repeat("A", 86)
	bcryptRest := "$" + strings.Repeat("a", 53)
	for _, c := range []struct{ scheme, good string }{
		{"$pbkdf2$", "$pbkdf2$4000000$" + salt + "$" + sum20}, {"$pbkdf2-sha256$", "$pbkdf2-sha256$1$AA$" + sum32},
		{"$pbkdf2-sha512$", "$pbkdf2-sha512$1$" + sum64 + "$" + sum64}, {"Django", "pbkdf2_sha256$1$x$" + sum32 + "="},
		{"$scrypt$", "$scrypt$ln=22,r=1,p=1$" + salt + "$" + sum16}, {"$argon2i$", "$argon2i$v=19$m=1048576,t=1,p=1$" + salt + "$" + sum16},
		{"$argon2d$", "$argon2d$v=19$m=8,t=131072,p=1$" + salt + "$" + sum16}, {"$argon2id$", "$argon2id$v=19$m=512,t=1,p=64$" + salt + "$" + sum16},
		{"$2a$", "$2a$15" + bcryptRest}, {"$2b$", "$2b$04" + bcryptRest}, {"$5$", "$5$rounds=1000000$a$" + sum32}, {"$6$", "$6$rounds=1000$0123456789abcdef$" + sum64},
	} {
		matches, _ := read(t, c.good)
		assert.NotNil(t, matches, "just within bounds: %s", c.good)
	}
	for name, stored := range map[string]string{
		"PBKDF2, no rounds":              "$pbkdf2-sha256$0$" + salt + "$" + sum32,
		"PBKDF2, one round too many":     "$pbkdf2-sha256$4000001$" + salt + "$" + sum32,
		"PBKDF2, 2^31 rounds":            "$pbkdf2-sha256$2147483648$" + salt + "$" + sum32,
		"PBKDF2, 10^12 rounds":           "$pbkdf2-sha512$1000000000000$" + salt + "$" + sum64,
		"PBKDF2, rounds beyond 64 bits":  "$pbkdf2$18446744073709551617$" + salt + "$" + sum20,
		"PBKDF2, negative":               "$pbkdf2$-1$" + salt + "$" + sum20,
		"PBKDF2, a leading zero":         "$pbkdf2$01000$" + salt + "$" + sum20,
		"PBKDF2, no salt":                "$pbkdf2$1000$$" + sum20,
		"PBKDF2, a salt of 65 bytes":     "$pbkdf2$1000$" + strings.Repeat("A", 87) + "$" + sum20,
		"PBKDF2, no sum":                 "$pbkdf2$1000$" + salt + "$",
		"PBKDF2, another digest's sum":   "$pbkdf2-sha256$1000$" + salt + "$" + sum20,
		"PBKDF2, a cut sum":              "$pbkdf2-sha256$1000$" + salt + "$" + sum32[:42],
		"PBKDF2, bits left over":         "$pbkdf2-sha256$1000$" + salt + "$" + sum32[:42] + "B",
		"PBKDF2, a line break":           "$pbkdf2-sha256$1000$" + salt + "\n$" + sum32,
		"PBKDF2, plain base64":           "$pbkdf2-sha256$1000$+" + salt[1:] + "$" + sum32,
		"PBKDF2, more behind":            "$pbkdf2-sha256$1000$" + salt + "$" + sum32 + "$",
		"PBKDF2 of another digest":       "$pbkdf2-md5$1000$" + salt + "$" + sum16,
		"Django, no salt":                "pbkdf2_sha256$1000$$" + sum32 + "=",
		"Django, 10^12 rounds":           "pbkdf2_sha256$1000000000000$x$" + sum32 + "=",
		"Django, a salt of 65 bytes":     "pbkdf2_sha256$1000$" + strings.Repeat("s", 65) + "$" + sum32 + "=",
		"Django, with a dollar in front": "$pbkdf2_sha256$1000$x$" + sum32 + "=",
		"scrypt, ln of 63":               "$scrypt$ln=63,r=8,p=1$" + salt + "$" + sum32,
		"scrypt, ln of 64":               "$scrypt$ln=64,r=8,p=1$" + salt + "$" + sum32,
		"scrypt, ln of 0":                "$scrypt$ln=0,r=8,p=1$" + salt + "$" + sum32,
		"scrypt, twice the work":         "$scrypt$ln=20,r=8,p=1$" + salt + "$" + sum32,
		"scrypt, p makes it so":          "$scrypt$ln=18,r=8,p=3$" + salt + "$" + sum32,
		"scrypt, r of 0":                 "$scrypt$ln=4,r=0,p=1$" + salt + "$" + sum32,
		"scrypt, r of 33":                "$scrypt$ln=1,r=33,p=1$" + salt + "$" + sum32,
		"scrypt, p of 0":                 "$scrypt$ln=4,r=8,p=0$" + salt + "$" + sum32,
		"scrypt, p of 17":                "$scrypt$ln=1,r=1,p=17$" + salt + "$" + sum32,
		"scrypt, r × p of 2^64":          "$scrypt$ln=4,r=4294967296,p=4294967296$" + salt + "$" + sum32,
		"scrypt, another order":          "$scrypt$r=8,ln=4,p=1$" + salt + "$" + sum32,
		"scrypt, a field missing":        "$scrypt$ln=4,r=8$" + salt + "$" + sum32,
		"scrypt, a short sum":            "$scrypt$ln=4,r=8,p=1$" + salt + "$" + sum16[:20],
		"scrypt, no salt":                "$scrypt$ln=4,r=8,p=1$$" + sum32,
		"argon2, m of 4 GiB":             "$argon2i$v=19$m=4194304,t=1,p=1$" + salt + "$" + sum32,
		"argon2, m of 2^32 + 8":          "$argon2i$v=19$m=4294967304,t=1,p=1$" + salt + "$" + sum32,
		"argon2, m below 8 p":            "$argon2i$v=19$m=15,t=1,p=2$" + salt + "$" + sum32,
		"argon2, m of 0":                 "$argon2i$v=19$m=0,t=1,p=1$" + salt + "$" + sum32,
		"argon2, t of 2^31":              "$argon2i$v=19$m=64,t=2147483648,p=1$" + salt + "$" + sum32,
		"argon2, t of 0":                 "$argon2i$v=19$m=64,t=0,p=1$" + salt + "$" + sum32,
		"argon2, m × t":                  "$argon2d$v=19$m=524288,t=3,p=1$" + salt + "$" + sum32,
		"argon2, p of 0":                 "$argon2i$v=19$m=64,t=1,p=0$" + salt + "$" + sum32,
		"argon2, p of 65":                "$argon2i$v=19$m=65536,t=1,p=65$" + salt + "$" + sum32,
		"argon2, p of 257":               "$argon2id$v=19$m=65536,t=1,p=257$" + salt + "$" + sum32,
		"argon2, version 16":             "$argon2i$v=16$m=64,t=1,p=1$" + salt + "$" + sum32,
		"argon2, without a version":      "$argon2i$m=64,t=1,p=1$" + salt + "$" + sum32,
		"argon2, with data":              "$argon2i$v=19$m=64,t=1,p=1,data=AAAA$" + salt + "$" + sum32,
		"argon2, a salt of 7 bytes":      "$argon2i$v=19$m=64,t=1,p=1$AAAAAAAAAA$" + sum32,
		"argon2, a sum of 11 bytes":      "$argon2i$v=19$m=64,t=1,p=1$" + salt + "$AAAAAAAAAAAAAAA",
		"argon2, a sum of 129 bytes":     "$argon2i$v=19$m=64,t=1,p=1$" + salt + "$" + strings.Repeat("A", 172),
		"argon2, of no kind":             "$argon2$v=19$m=64,t=1,p=1$" + salt + "$" + sum32,
		"bcrypt, cost 31":                "$2a$31" + bcryptRest,
		"bcrypt, cost 16":                "$2b$16" + bcryptRest,
		"bcrypt, cost 3":                 "$2b$03" + bcryptRest,
		"bcrypt, cost 99":                "$2b$99" + bcryptRest,
		"bcrypt, one digit":              "$2b$4" + bcryptRest,
		"bcrypt, a sign":                 "$2b$+4" + bcryptRest,
		"bcrypt, the faulty kind":        "$2x$04" + bcryptRest,
		"bcrypt, no kind":                "$2$04" + bcryptRest,
		"bcrypt, cut":                    "$2b$04" + bcryptRest[:53],
		"bcrypt, a byte behind":          "$2b$04" + bcryptRest + "a",
		"bcrypt, a line break behind":    "$2b$04" + bcryptRest + "\n",
		"bcrypt, another alphabet":       "$2b$04" + bcryptRest[:53] + "+",
		"SHA-crypt, 10^12 rounds":        "$6$rounds=1000000000000$salt$" + sum64,
		"SHA-crypt, 999999999 rounds":    "$6$rounds=999999999$salt$" + sum64,
		"SHA-crypt, a round too many":    "$5$rounds=1000001$salt$" + sum32,
		"SHA-crypt, 999 rounds":          "$5$rounds=999$salt$" + sum32,
		"SHA-crypt, no number":           "$5$rounds=$salt$" + sum32,
		"SHA-crypt, rounds for a salt":   "$5$rounds=10$" + sum32,
		"SHA-crypt, no salt":             "$5$$" + sum32,
		"SHA-crypt, a salt of 17":        "$5$0123456789abcdefg$" + sum32,
		"SHA-crypt, a blank":             "$5$a b$" + sum32,
		"SHA-crypt, a short sum":         "$5$salt$" + sum32[:42],
		"SHA-crypt, the other's sum":     "$5$salt$" + sum64,
		"MD5-crypt":                      "$1$salt$AAAAAAAAAAAAAAAAAAAAAA",
		"yescrypt":                       "$y$j9T$salt$" + sum32,
		"bare MD5":                       "5f4dcc3b5aa765d61d8327deb882cf99",
		"bare SHA-256":                   strings.Repeat("ab", 32),
		"plain text":                     "Correct horse 1",
		"nothing":                        "",
		"dollars":                        strings.Repeat("$", 512),
		"passlib's mark of no password":  "!",
		"plain text of passlib's scheme": "$plaintext$Correct horse 1",
	} {
		matches, _ := read(t, stored)
		assert.Nil(t, matches, "%s: %s", name, stored)
	}
}

// plainParameters are those of a text; what is beyond them costs too much for a fuzzer.
var plainParameters = regexp.MustCompile(`(?:rounds=|[mtpr]=|ln=|pbkdf2[-_a-z0-9]*\$|\$2[aby]\$)(\d+)`)

func cheap(stored string) bool {
	work := 1
	for _, m := range plainParameters.FindAllStringSubmatch(stored, -1) {
		n, _ := strconv.Atoi(m[1])
		switch m[0][:2] {
		case "ln":
			n = 1 << min(n, 20)
		case "$2":
			n = 1 << min(n+6, 20)
		}
		if work *= max(n, 1); work > 20_000 {
			return false
		}
	}
	return true
}

func FuzzStoredHash(f *testing.F) {
	for _, file := range []string{"legacy_hashes.json", "known_hashes.json"} {
		for _, v := range vectors(f, file) {
			f.Add(v.Hash, string(v.Password))
		}
	}
	f.Add("$2a$31$"+strings.Repeat("a", 53), "x")
	f.Add("$scrypt$ln=63,r=8,p=1$AAAA$AAAA", "x")
	f.Fuzz(func(t *testing.T, stored, password string) {
		matches, memory := read(t, stored)
		if matches == nil {
			return
		}
		if memory > 1<<20 || len(stored) > 512 {
			t.Fatalf("%d KiB for %d bytes: %q", memory, len(stored), stored)
		}
		if len(password) > 1024 || !cheap(stored) {
			return
		}
		matches(userapi.Secret(password))
		if matches(userapi.Secret(stored)) {
			t.Fatalf("what is stored is its own password: %q", stored)
		}
	})
}

// The most that one comparison can cost: the figures of the package comment.
func BenchmarkWorst(b *testing.B) {
	salt, sum := "AAAAAAAAAAAAAAAAAAAAAA", strings.Repeat("A", 43)
	for name, c := range map[string]struct {
		stored   string
		password int
	}{
		"PBKDF2-SHA1":    {"$pbkdf2$4000000$" + salt + "$" + sum[:27], 64},
		"PBKDF2-SHA256":  {"$pbkdf2-sha256$4000000$" + salt + "$" + sum, 64},
		"PBKDF2-SHA512":  {"$pbkdf2-sha512$4000000$" + salt + "$" + sum + sum, 64},
		"bcrypt":         {"$2b$15$" + strings.Repeat("a", 53), 72},
		"scrypt":         {"$scrypt$ln=19,r=8,p=1$" + salt + "$" + sum, 64},
		"scrypt-small-N": {"$scrypt$ln=15,r=8,p=16$" + salt + "$" + sum, 64},
		"argon2i":        {"$argon2i$v=19$m=1048576,t=1,p=1$" + salt + "$" + sum, 64},
		"argon2d":        {"$argon2d$v=19$m=8,t=131072,p=1$" + salt + "$" + sum, 64},
		"SHA256-crypt":   {"$5$rounds=1000000$0123456789abcdef$" + sum, 512},
		"SHA512-crypt":   {"$6$rounds=1000000$0123456789abcdef$" + sum + sum, 512},
	} {
		b.Run(name, func(b *testing.B) {
			matches, _ := read(b, c.stored)
			require.NotNil(b, matches, c.stored)
			for b.Loop() {
				matches(userapi.Secret(strings.Repeat("x", c.password)))
			}
		})
	}
}
