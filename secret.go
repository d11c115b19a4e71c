package userapi

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is a text that never prints itself: a password, a token, a signing secret. Formatted with any verb,
// logged or marshalled it is "[redacted]"; string(s) is its value, for the one place that needs it.
type Secret string

const redacted = "[redacted]"

// Format writes "[redacted]" for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText gives "[redacted]", so that no encoder writes the value by accident.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue gives "[redacted]".
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
