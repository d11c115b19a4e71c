package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/httpadapter"
	"github.com/userapi/userapi/store/mysql"
)

const (
	readyWithin = 2 * time.Second
	maxLogged   = 256 // bytes of a path
)

var errMethod = &userapi.Error{Kind: userapi.Invalid, Code: "METHOD_NOT_ALLOWED", Message: "This method is not possible here."}

// newHandler is everything the program serves. nodes are those of a cluster, or nil.
func newHandler(api *userapi.API, web *httpadapter.Adapter, nodes *mysql.Nodes, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	web.Mount(mux, "/api", web.Handler())
	get := func(path string, h http.HandlerFunc) {
		only := func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet && r.Method != http.MethodHead {
				w.Header().Set("Allow", "GET, HEAD")
				web.WriteError(w, r, errMethod)
				return
			}
			h(w, r)
		}
		mux.HandleFunc(path, only)
		mux.HandleFunc(path+"/{$}", only)
	}
	get("/healthz", func(w http.ResponseWriter, _ *http.Request) { writeOK(w, nil) })
	get("/readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyWithin)
		defer cancel()
		if err := api.Ping(ctx); err != nil {
			web.WriteError(w, r, userapi.ErrUnavailable.Wrap(err))
			return
		}
		writeOK(w, stateOf(ctx, nodes))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { web.WriteError(w, r, userapi.ErrNotFound) })
	return logged(recovered(withoutRedirects(mux, web), web, log), web, log)
}

// withoutRedirects refuses a path such as /api//users, which ServeMux would answer with a redirect.
func withoutRedirects(next http.Handler, web *httpadapter.Adapter) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := r.URL.Path; p != "/" && path.Clean(p) != strings.TrimSuffix(p, "/") {
			web.WriteError(w, r, userapi.ErrNotFound)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// nodeState is what anybody may know of a node of the database: its place in --db, and whether it serves.
type nodeState struct {
	Node   int    `json:"node"` // from 1
	Status string `json:"status"`
}

func stateOf(ctx context.Context, nodes *mysql.Nodes) (states []nodeState) {
	if nodes == nil {
		return nil
	}
	for i, state := range nodes.State(ctx) {
		status := "ok"
		if state.Err != nil {
			status = "unavailable"
		}
		states = append(states, nodeState{i + 1, status})
	}
	return states
}

func writeOK(w http.ResponseWriter, nodes []nodeState) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(struct {
		Status string      `json:"status"`
		Nodes  []nodeState `json:"nodes,omitempty"`
	}{"ok", nodes})
}

// logged writes one line a request. The query is left out, since people put secrets there.
func logged(next http.Handler, web *httpadapter.Adapter, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin, counted := time.Now(), &response{ResponseWriter: w}
		method, asked := cut(r.Method), cut(r.URL.Path)
		defer func() {
			log.LogAttrs(r.Context(), slog.LevelInfo, "request",
				slog.String("method", method), slog.String("path", asked), slog.Int("status", counted.code()),
				slog.Float64("duration_ms", float64(time.Since(begin).Microseconds())/1000),
				slog.Int64("bytes", counted.bytes), slog.String("address", web.ClientAddress(r)))
		}()
		next.ServeHTTP(counted, r)
	})
}

func cut(s string) string { return s[:min(len(s), maxLogged)] }

// recovered answers a panic with 500. Its text stays out of the log unless the runtime wrote it, for it may hold
// anything.
func recovered(next http.Handler, web *httpadapter.Adapter, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler {
				panic(p)
			}
			what := fmt.Sprintf("%T", p)
			if fault, ok := p.(runtime.Error); ok {
				what = fault.Error()
			}
			log.ErrorContext(r.Context(), "a handler panicked", "panic", what, "stack", string(debug.Stack()))
			if counted, ok := w.(*response); ok && counted.status != 0 {
				panic(http.ErrAbortHandler) // too late for an answer: the connection tells that it is not whole
			}
			web.WriteError(w, r, errors.New("a handler panicked"))
		}()
		next.ServeHTTP(w, r)
	})
}

// response counts what is written.
type response struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *response) code() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}

// WriteHeader notes the final status.
func (w *response) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write counts bytes.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the server's writer.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
