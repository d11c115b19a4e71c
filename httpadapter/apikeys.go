package httpadapter

import (
	"encoding/json"
	"time"

	"github.com/userapi/userapi"
)

// keyOut is an API key as the world sees it: never its secret.
type keyOut struct {
	ID         string   `json:"id"`
	Name       string   `json:"name"`
	Prefix     string   `json:"prefix"`
	Scopes     []string `json:"scopes"`
	Active     bool     `json:"active"`
	Expires    *string  `json:"expires"`
	CreatedAt  string   `json:"created_at"`
	LastUsedAt *string  `json:"last_used_at"`
}

func plainKey(k userapi.APIKey) keyOut {
	return keyOut{
		ID: k.ID, Name: k.Name, Prefix: k.Prefix, Scopes: append([]string{}, k.Scopes...), Active: k.Active,
		Expires: stampOrNull(k.ExpiresAt), CreatedAt: stamp(k.CreatedAt), LastUsedAt: stampOrNull(k.LastUsedAt),
	}
}

// createKey answers with the whole key, this once.
func createKey(c *call) error {
	var n userapi.NewAPIKey
	var scopes *[]string
	owner := c.identity.UserID()
	err := c.decode(
		required(text("name", &n.Name)), required(texts("scopes", &scopes)), expiry("expires", &n.ExpiresAt), text("user_id", &owner),
	)
	if err != nil {
		return err
	}
	n.Scopes = *scopes
	key, secret, err := c.api.Keys.Create(c.r.Context(), c.actor, owner, n)
	if err != nil {
		return err
	}
	return c.answer(struct {
		keyOut
		Key string `json:"key"`
	}{plainKey(key), string(secret)})
}

// expiry is a moment or a date, which may be absent or null.
func expiry(name string, into *time.Time) field {
	return orNull(field{name: name, read: func(value json.RawMessage) string {
		var s string
		if wrong := readString(value, &s); wrong != "" {
			return wrong
		}
		at, err := userapi.ParseExpiry(s)
		if err != nil {
			return err.Error()
		}
		*into = at
		return ""
	}})
}

func listKeys(c *call) error {
	q := c.args()
	owner, given := q.values["user_id"]
	if !given {
		owner = c.identity.UserID()
	}
	if err := q.err(); err != nil {
		return err
	}
	keys, err := c.api.Keys.List(c.r.Context(), c.actor, owner)
	if err != nil {
		return err
	}
	return c.answer(map[string][]keyOut{"keys": each(keys, plainKey)})
}

func getKey(c *call) error {
	key, err := c.api.Keys.ByID(c.r.Context(), c.actor, c.path["id"])
	if err != nil {
		return err
	}
	return c.answer(plainKey(key))
}

func changeKey(c *call) error {
	var ch userapi.APIKeyChange
	if err := c.decode(filled("name", &ch.Name), texts("scopes", &ch.Scopes), flag("active", &ch.Active), immutable("expires")); err != nil {
		return err
	}
	key, err := c.api.Keys.Change(c.r.Context(), c.actor, c.path["id"], ch)
	if err != nil {
		return err
	}
	return c.answer(plainKey(key))
}

func deleteKey(c *call) error {
	if err := c.api.Keys.Delete(c.r.Context(), c.actor, c.path["id"]); err != nil {
		return err
	}
	return c.done()
}
