package httpadapter

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/userapi/userapi"
)

// What only a transport finds wrong.
var (
	errCrossOrigin   = &userapi.Error{Kind: userapi.Forbidden, Code: "CROSS_ORIGIN", Message: "The request comes from a foreign origin."}
	errMethod        = &userapi.Error{Kind: userapi.Invalid, Code: "METHOD_NOT_ALLOWED", Message: "This method is not possible here."}
	errTooLarge      = &userapi.Error{Kind: userapi.Invalid, Code: "TOO_LARGE", Message: "The body is too large."}
	errPayloadFormat = &userapi.Error{Kind: userapi.Invalid, Code: "WRONG_PAYLOAD_FORMAT", Message: "The body has to be application/json in UTF-8, not encoded further."}
	errPayload       = &userapi.Error{Kind: userapi.Invalid, Code: "WRONG_PAYLOAD", Message: "The body is not the JSON that is asked for."}
)

// invalidStatus are the codes of malformed input that have a status of their own; all others are 422.
var invalidStatus = map[string]int{
	"INVALID_CODE":         http.StatusBadRequest,
	"INVALID_TOKEN":        http.StatusBadRequest,
	"METHOD_NOT_ALLOWED":   http.StatusMethodNotAllowed,
	"TOO_LARGE":            http.StatusRequestEntityTooLarge,
	"WRONG_PAYLOAD_FORMAT": http.StatusUnsupportedMediaType,
}

// status maps every Kind. It is the only place where a status meets an error.
func status(e *userapi.Error) int {
	switch e.Kind {
	case userapi.Invalid:
		if s, ok := invalidStatus[e.Code]; ok {
			return s
		}
		return http.StatusUnprocessableEntity
	case userapi.Unauthenticated:
		return http.StatusUnauthorized
	case userapi.Forbidden:
		return http.StatusForbidden
	case userapi.NotFound:
		return http.StatusNotFound
	case userapi.Conflict:
		return http.StatusConflict
	case userapi.RateLimited:
		return http.StatusTooManyRequests
	case userapi.Unavailable:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

// errorOut is the body of every error.
type errorOut struct {
	Message string              `json:"message"`
	Code    string              `json:"error_code"`
	Payload map[string][]string `json:"payload,omitempty"`
}

// internalOut is all that the world learns of a defect.
var internalOut = errorOut{Message: "Internal error.", Code: "INTERNAL"}

// WriteError answers r with err, for routes of the host too: {"message", "error_code", "payload"?} and the status of
// the error's Kind. What is no *userapi.Error, or an Internal one, is logged with its cause and answered with 500
// without text. The answer must not have begun.
func (a *Adapter) WriteError(w http.ResponseWriter, r *http.Request, err error) {
	if err == nil {
		err = errors.New("httpadapter: WriteError without an error")
	}
	e := userapi.AsError(err)
	a.logFailure(r, e, err)
	code := status(e)
	out := errorOut{Message: e.Message, Code: e.Code, Payload: e.Fields}
	if code == http.StatusInternalServerError {
		out = internalOut
	}
	switch code {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", retryAfter(e.RetryAfter))
	}
	writeJSON(w, r, code, out)
}

// retryAfter is whole seconds, rounded up, at least one: a client that comes back too early is refused again.
func retryAfter(d time.Duration) string {
	return strconv.Itoa(int(max(1, math.Ceil(d.Seconds()))))
}

// logFailure logs what is our fault. A client that went away is nobody's.
func (a *Adapter) logFailure(r *http.Request, e *userapi.Error, err error) {
	level := slog.LevelError
	switch {
	case e.Kind != userapi.Internal && e.Kind != userapi.Unavailable:
		return
	case errors.Is(r.Context().Err(), context.Canceled):
		level = slog.LevelDebug
	case e.Kind == userapi.Unavailable:
		level = slog.LevelWarn
	}
	a.log.LogAttrs(r.Context(), level, "a request failed",
		slog.String("method", r.Method), slog.String("path", r.URL.Path[:min(len(r.URL.Path), 256)]), slog.String("error", err.Error()))
}

// writeJSON is how every answer with a body leaves. Nothing here may be kept by a cache or read as anything else.
func writeJSON(w http.ResponseWriter, r *http.Request, code int, v any) {
	body, ok := v.(json.RawMessage)
	if !ok {
		body, _ = json.Marshal(v) // our own output types always marshal
		body = append(body, '\n')
	}
	secureHeaders(w)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client may be gone
	}
}

func secureHeaders(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
}
