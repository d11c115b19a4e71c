package httpadapter

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/userapi/userapi"
)

// field is one member of a JSON object: its name, and how its value is read. read returns what is wrong, "" if nothing.
type field struct {
	name string
	must bool
	read func(value json.RawMessage) string
}

// required makes a field one that has to be there.
func required(f field) field {
	f.must = true
	return f
}

// text is a string; null is none.
func text(name string, into *string) field {
	return field{name: name, read: func(value json.RawMessage) string { return readString(value, into) }}
}

// optional is a string that may be absent or null.
func optional(name string, into **string) field {
	return field{name: name, read: func(value json.RawMessage) string {
		if isNull(value) {
			return ""
		}
		*into = new(string)
		return readString(value, *into)
	}}
}

// clearable is a string that null empties; absent, it stays as it is.
func clearable(name string, into **string) field {
	return field{name: name, read: func(value json.RawMessage) string {
		*into = new(string)
		if isNull(value) {
			return ""
		}
		return readString(value, *into)
	}}
}

// secret is a string that is neither empty nor null.
func secret(name string, into *userapi.Secret) field {
	return field{name: name, read: func(value json.RawMessage) string {
		var s string
		if isNull(value) {
			return requiredField
		}
		if wrong := readString(value, &s); wrong != "" {
			return wrong
		}
		if s == "" {
			return requiredField
		}
		*into = userapi.Secret(s)
		return ""
	}}
}

// optionalSecret is a secret that may be absent or null.
func optionalSecret(name string, into **userapi.Secret) field {
	return field{name: name, read: func(value json.RawMessage) string {
		if isNull(value) {
			return ""
		}
		*into = new(userapi.Secret)
		return secret(name, *into).read(value)
	}}
}

// flag is true or false.
func flag(name string, into **bool) field {
	return field{name: name, read: func(value json.RawMessage) string {
		if s := string(value); s != "true" && s != "false" {
			return "must be true or false"
		}
		b := string(value) == "true"
		*into = &b
		return ""
	}}
}

// orNull lets null stand for a field that is absent.
func orNull(f field) field {
	read := f.read
	f.read = func(value json.RawMessage) string {
		if isNull(value) {
			return ""
		}
		return read(value)
	}
	return f
}

// filled is a string that may be absent or null, but not empty.
func filled(name string, into **string) field {
	return orNull(field{name: name, read: func(value json.RawMessage) string {
		*into = new(string)
		wrong := readString(value, *into)
		if wrong == "" && **into == "" {
			wrong = requiredField
		}
		return wrong
	}})
}

// roleSet is a list of {"id"} or {"code"}.
func roleSet(name string, into **[]userapi.RoleRef) field {
	return field{name: name, read: func(value json.RawMessage) string {
		refs, wrong := readRoles(value, false)
		*into = &refs
		return wrong
	}}
}

// texts is a list of strings.
func texts(name string, into **[]string) field {
	return field{name: name, read: func(value json.RawMessage) string {
		var list []json.RawMessage
		if value[0] != '[' || json.Unmarshal(value, &list) != nil {
			return "must be a list of strings"
		}
		all := make([]string, len(list))
		for i, element := range list {
			if readString(element, &all[i]) != "" {
				return "must be a list of strings"
			}
		}
		*into = &all
		return ""
	}}
}

// immutable is a field that may be read and not changed.
func immutable(name string) field {
	return field{name: name, read: func(json.RawMessage) string { return "cannot be changed" }}
}

const requiredField = "required field"

func isNull(value json.RawMessage) bool { return string(value) == "null" }

func readString(value json.RawMessage, into *string) string {
	if value[0] != '"' || json.Unmarshal(value, into) != nil {
		return "must be a string"
	}
	return ""
}

// readRoles reads a list of roles; with bare, plain strings are codes. How many there may be is the noun's to say.
func readRoles(value json.RawMessage, bare bool) (refs []userapi.RoleRef, wrong string) {
	if value[0] != '[' {
		return nil, "must be a list"
	}
	refs = []userapi.RoleRef{}
	dec := json.NewDecoder(bytes.NewReader(value))
	_, _ = dec.Token() // [
	for dec.More() {
		var element json.RawMessage
		if dec.Decode(&element) != nil {
			return nil, "must be a list"
		}
		var ref userapi.RoleRef
		if bare && element[0] == '"' {
			if _ = json.Unmarshal(element, &ref.Code); ref.Code == "" {
				return nil, "unknown role"
			}
		} else if !readRole(element, &ref) {
			return nil, `each has to be {"id"} or {"code"}`
		}
		refs = append(refs, ref)
	}
	return refs, ""
}

func readRole(value json.RawMessage, ref *userapi.RoleRef) bool {
	id := field{name: "id", read: func(value json.RawMessage) string {
		if decimal(string(value)) { // as text: a number beyond 2^53 stays what it is
			ref.ID = string(value)
			return ""
		}
		return readString(value, &ref.ID)
	}}
	// A role may be sent back whole, as it was answered.
	return value[0] == '{' && len(readObject(value, []field{id, text("code", &ref.Code), ignored("name")})) == 0
}

// ignored is a field that may be there: what was answered may be sent back.
func ignored(name string) field {
	return field{name: name, read: func(json.RawMessage) string { return "" }}
}

// decimal accepts 0 and natural numbers in their one spelling.
func decimal(s string) bool {
	return s == "0" || len(s) > 0 && len(s) <= 20 && s[0] != '0' && strings.Trim(s, "0123456789") == ""
}
