// Package httpadapter serves the nouns of a userapi.API over net/http, and guards the routes of the host.
//
// An Adapter is made of sections (Users, Auth, Roles, Password, Verification, Keys, Audit), which are plain http.Handlers: the host mounts them
// where it wants to, or all at once with Handler. Its middleware (IsConnected, HasRoles, HasRoleOn, …) is func(http.Handler)
// http.Handler. Nothing here redirects but IsConnected and its kin with a Config.LoginURL, and nothing wraps a
// ResponseWriter.
//
//	web, err := httpadapter.New(httpadapter.Config{API: api})
//	web.Mount(mux, "/api/users", web.Users())
//	mux.Handle("GET /hello", web.HasRoles("admin")(hello))
//
// docs/routes.md lists the routes, docs/errors.md the error codes.
package httpadapter

import (
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/userapi/userapi"
)

// TokenDelivery says where the answer to a login or a refresh carries the tokens.
type TokenDelivery uint8

const (
	BodyAndCookie TokenDelivery = iota // both; the default
	BodyOnly                           // no cookie is ever set
	CookieOnly                         // out of reach of scripts; the body keeps exp
)

// Default names of the cookies. In development mode they lack "__Host-", which browsers take only over HTTPS.
const (
	DefaultAccessCookie  = "__Host-user-api-credentials"
	DefaultRefreshCookie = "__Host-user-api-refresh"
)

// Config says what an Adapter is made of. API is required.
type Config struct {
	API *userapi.API

	// Development lets cookies travel over plain HTTP: no Secure, no "__Host-".
	Development bool

	// AccessCookie and RefreshCookie name the cookies. Defaults above.
	AccessCookie  string
	RefreshCookie string
	// Tokens says whether logins answer in the body, in cookies or in both.
	Tokens TokenDelivery

	// TrustedProxies are the peers whose X-Forwarded-For counts. Default: nobody's.
	TrustedProxies []netip.Prefix
	// CrossOrigin checks unsafe requests that a cookie authenticates, and every login, logout, refresh and
	// registration. Default: http.NewCrossOriginProtection(). Patterns of AddInsecureBypassPattern see the path below
	// the mounted prefix.
	CrossOrigin *http.CrossOriginProtection

	// LoginURL is where the middleware sends a browser (Accept: text/html) that brings no credential at all, with 302.
	// An absolute http(s) URL, or a path. Default "": everybody gets 401.
	LoginURL string
	// LogoutByGET adds GET /users/logout. Any page on the web can then log a visitor out.
	LogoutByGET bool
	// EraseSelf adds POST /auth/erase, by which users erase their own account for good.
	EraseSelf bool
	// EditRoles adds the routes that create, rename and delete role definitions. They are shared by all customers, so
	// an admin of one customer changes them for all.
	EditRoles bool

	// Logger gets failures with their causes. Default: no log.
	Logger *slog.Logger
}

// Adapter serves one API over HTTP. It is safe for concurrent use.
type Adapter struct {
	cfg    Config
	api    *userapi.API
	log    *slog.Logger
	now    func() time.Time // of RateLimit
	routes []route
}

// New makes an Adapter. It reports everything that is wrong with cfg.
func New(cfg Config) (*Adapter, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	a := &Adapter{cfg: cfg, api: cfg.API, log: cfg.Logger, now: time.Now}
	for _, rt := range routeTable {
		if err := rt.check(); err != nil {
			return nil, err
		}
		if rt.optIn.in(cfg) {
			a.routes = append(a.routes, rt)
		}
	}
	return a, nil
}

// complete fills in the defaults and refuses what cannot work, all of it in one error.
func (cfg *Config) complete() error {
	var wrong []error
	require := func(ok bool, text string) {
		if !ok {
			wrong = append(wrong, errors.New("httpadapter: Config."+text))
		}
	}
	name := func(given *string, def string) {
		if *given == "" {
			*given = def
			if cfg.Development {
				*given = strings.TrimPrefix(def, "__Host-")
			}
		}
	}
	require(cfg.API != nil, "API is required")
	name(&cfg.AccessCookie, DefaultAccessCookie)
	name(&cfg.RefreshCookie, DefaultRefreshCookie)
	for _, cookie := range []string{cfg.AccessCookie, cfg.RefreshCookie} {
		require((&http.Cookie{Name: cookie, Value: "x"}).Valid() == nil && len(cookie) <= 128, "AccessCookie and RefreshCookie have to be names of cookies") // #nosec G124 -- never sent
		prefixed := strings.HasPrefix(cookie, "__Host-") || strings.HasPrefix(cookie, "__Secure-")
		require(!cfg.Development || !prefixed, "Development cookies cannot be __Host- or __Secure-: browsers drop those without Secure")
	}
	require(cfg.AccessCookie != cfg.RefreshCookie, "AccessCookie and RefreshCookie have to differ")
	require(cfg.Tokens <= CookieOnly, "Tokens is none of BodyAndCookie, BodyOnly and CookieOnly")
	proxies := make([]netip.Prefix, 0, len(cfg.TrustedProxies))
	for _, p := range cfg.TrustedProxies {
		p, ok := unmapPrefix(p)
		require(ok, "TrustedProxies holds an invalid prefix")
		proxies = append(proxies, p)
	}
	cfg.TrustedProxies = proxies
	require(cfg.LoginURL == "" || validLoginURL(cfg.LoginURL), "LoginURL has to be an absolute http or https URL, or a path")
	if cfg.CrossOrigin == nil {
		cfg.CrossOrigin = http.NewCrossOriginProtection()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return errors.Join(wrong...)
}

// validLoginURL refuses what a browser could read as something else than the host meant: "//evil", "javascript:…".
func validLoginURL(text string) bool {
	u, err := url.Parse(text)
	if err != nil || strings.ContainsAny(text, "\\ ") {
		return false
	}
	if u.Scheme == "" {
		return u.Host == "" && strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "//")
	}
	return (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}

// Users serves the section users. It expects its own prefix to be stripped; see Mount.
func (a *Adapter) Users() http.Handler { return a.section("users") }

// Auth serves the section auth.
func (a *Adapter) Auth() http.Handler { return a.section("auth") }

// Roles serves the section roles.
func (a *Adapter) Roles() http.Handler { return a.section("roles") }

// Password serves the section password.
func (a *Adapter) Password() http.Handler { return a.section("password") }

// Verification serves the section verification.
func (a *Adapter) Verification() http.Handler { return a.section("verification") }

// Keys serves the section keys.
func (a *Adapter) Keys() http.Handler { return a.section("keys") }

// Audit serves the section audit.
func (a *Adapter) Audit() http.Handler { return a.section("audit") }

// Handler serves all sections, each under its name: /users, /auth, /roles, /password, /verification, /keys, /audit.
func (a *Adapter) Handler() http.Handler {
	root := new(node)
	for i := range a.routes {
		rt := &a.routes[i]
		root.add("/"+rt.section+rt.pattern, rt)
	}
	return a.serve(root)
}

func (a *Adapter) section(name string) http.Handler {
	root := new(node)
	for i := range a.routes {
		if rt := &a.routes[i]; rt.section == name {
			root.add(rt.pattern, rt)
		}
	}
	return a.serve(root)
}

// Mount registers h at prefix and everything below it, and strips the prefix. mux is an http.ServeMux, a chi router,
// or anything alike; prefix is the whole path from the server's root ("/api/users"), "" the root itself. On a router
// that itself lies below another, register http.StripPrefix with the whole path instead. It panics on a prefix that is
// none.
func (a *Adapter) Mount(mux interface{ Handle(string, http.Handler) }, prefix string, h http.Handler) {
	prefix = strings.TrimSuffix(prefix, "/")
	if (prefix != "" && !strings.HasPrefix(prefix, "/")) || prefix != (&url.URL{Path: prefix}).EscapedPath() || strings.ContainsAny(prefix, "{}*") {
		panic("httpadapter: Mount needs a prefix such as /api/users")
	}
	stripped := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rest, ok := strings.CutPrefix(r.URL.EscapedPath(), prefix)
		path, err := url.PathUnescape(rest)
		if !ok || err != nil || (rest != "" && rest[0] != '/') {
			a.WriteError(w, r, userapi.ErrNotFound)
			return
		}
		below := *r
		below.URL = new(url.URL)
		*below.URL = *r.URL
		below.URL.Path, below.URL.RawPath = path, rest
		h.ServeHTTP(w, &below)
	})
	if prefix != "" {
		mux.Handle(prefix, stripped)
	}
	mux.Handle(prefix+"/", stripped)
	mux.Handle(prefix+"/*", stripped) // chi's way to say "below"; to http.ServeMux it is one more path
}

// Actor is who sent r, with address and user agent: the user whom this Adapter's middleware let in, else
// userapi.Anonymous, whatever credential r carries: it belongs behind a guard. An identity that another API put into
// the context does not count.
func (a *Adapter) Actor(r *http.Request) userapi.Actor {
	actor := userapi.Anonymous()
	if id := a.known(r); id != nil {
		actor = id.Actor()
	}
	return actor.From(a.ClientAddress(r), r.UserAgent())
}
