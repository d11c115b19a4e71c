package verification

import (
	"errors"
	"fmt"
	htmltemplate "html/template"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	texttemplate "text/template"
	"time"

	"github.com/userapi/userapi"
)

// ParseTemplates puts a host's own files in place of the default ones of the same name. Folders are locales: for a user
// of the locale "de-AT" the file is de-AT/reset.txt, or else de/reset.txt, or else reset.txt, or else the default's.
// With overrides nil only the options count. An embed.FS of a folder needs fs.Sub first.
//
// HTML goes with the text of the same place: where a text is replaced and the HTML beside it is not, the mail is plain
// text, since most programs would show the HTML alone, in the words or the language that was to be replaced.
//
// Every template is tried with made-up data; all that is wrong is in one error, with the names of the files. A .txt or
// .html file of another name and a folder that is no locale are errors too. Other files, and what begins with a dot, are
// left alone.
func ParseTemplates(overrides fs.FS, o TemplateOptions) (*Templates, error) {
	defaults, err := readFolder(embedded, "templates")
	if err != nil {
		return nil, err
	}
	folders, err := readOverrides(overrides)
	if err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	t := &Templates{product: o.Product, now: o.Now, locales: map[string]map[string]wording{}}
	var wrong []error
	for _, locale := range slices.Sorted(maps.Keys(folders)) {
		chain := []folder{}
		for l := locale; l != ""; l = parentLocale(l) {
			chain = append(chain, folders[l])
		}
		chain = append(chain, folders[""], defaults)
		words := map[string]wording{}
		for _, m := range samples(o.Now()) {
			w, err := parseWording(chain, m)
			if err == nil {
				err = t.try(w, m)
			}
			// A broken file is found again in every locale that falls back on it.
			if err != nil && !slices.ContainsFunc(wrong, func(e error) bool { return e.Error() == err.Error() }) {
				wrong = append(wrong, err)
			}
			words[templateName(m.Purpose, m.Notice)] = w
		}
		t.locales[locale] = words
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("verification: %w", errors.Join(wrong...))
	}
	return t, nil
}

// samples are every message there is, made up.
func samples(now time.Time) []userapi.Message {
	expires := now.Add(10 * time.Minute)
	all := []userapi.Message{{Channel: userapi.ChannelSMS, Purpose: userapi.PurposePhone, To: "+4915123456789", Code: "sample-code", ExpiresAt: expires}}
	for _, p := range []userapi.Purpose{userapi.PurposeReset, userapi.PurposeActivation, userapi.PurposeEmail, userapi.PurposeEmailChange} {
		all = append(all, userapi.Message{Channel: userapi.ChannelEmail, Purpose: p, To: "anna@example.com", Name: "Anna",
			Token: "sample-token", Link: "https://example.com/#token=sample-token", ExpiresAt: expires})
	}
	for _, n := range []userapi.Notice{userapi.NoticeAlreadyRegistered, userapi.NoticeUsernameTaken, userapi.NoticeEmailTaken, userapi.NoticePasswordChanged, userapi.NoticeEmailChanged, userapi.NoticePhoneChanged,
		userapi.NoticeSecondFactorOn, userapi.NoticeSecondFactorOff, userapi.NoticeLoginLimited, userapi.NoticePasswordLimited, userapi.NoticeSecondFactorLimited} {
		all = append(all, userapi.Message{Channel: userapi.ChannelEmail, Purpose: userapi.PurposeNotice, Notice: n, To: "anna@example.com", Name: "Anna", ExpiresAt: expires})
	}
	return all
}

func templateName(p userapi.Purpose, n userapi.Notice) string {
	if p == userapi.PurposeNotice {
		return string(p) + "_" + string(n)
	}
	return string(p)
}

// try executes a wording with everything that may be there and with as little as may be.
func (t *Templates) try(w wording, m userapi.Message) error {
	out, err := w.fill(m, t.data(m))
	if err == nil {
		err = shows(w.text.Name(), out.Text, m)
	}
	if err == nil && w.html != nil {
		err = shows(w.htmlFile, out.HTML, m)
	}
	if err != nil {
		return err
	}
	m.Link, m.Name, m.ExpiresAt = "", "", time.Time{}
	_, err = w.fill(m, t.data(m))
	return err
}

// folder is the template files of one place.
type folder struct {
	path  string // "" = the top
	files map[string]string
}

// source finds a file in the first folder that has it, and says which one that is.
func source(chain []folder, name string) (text, file string, depth int) {
	for depth, f := range chain {
		if text, ok := f.files[name]; ok {
			return text, path.Join(f.path, name), depth
		}
	}
	return "", name, len(chain)
}

func parseWording(chain []folder, m userapi.Message) (w wording, err error) {
	name := templateName(m.Purpose, m.Notice)
	text, file, depth := source(chain, name+".txt")
	if w.text, err = texttemplate.New(file).Parse(text); err != nil || m.Channel == userapi.ChannelSMS {
		return w, err
	}
	subject, file, _ := source(chain, name+".subject.txt")
	if w.subject, err = texttemplate.New(file).Parse(subject); err != nil {
		return w, err
	}
	body, file, htmlDepth := source(chain, name+".html")
	if htmlDepth > depth {
		return w, nil
	}
	layout, layoutFile, _ := source(chain, "layout.html")
	if w.html, err = htmltemplate.New(layoutFile).Parse(layout); err != nil {
		return w, err
	}
	inner, err := w.html.New(file).Parse(body)
	if err != nil {
		return w, err
	}
	w.htmlFile = file
	_, err = w.html.AddParseTree("body", inner.Tree)
	return w, err
}

// readOverrides reads the host's folders by locale; the default locale "" is always among them.
func readOverrides(fsys fs.FS) (map[string]folder, error) {
	folders := map[string]folder{"": {}}
	if fsys == nil {
		return folders, nil
	}
	top, err := readFolder(fsys, ".")
	if err != nil {
		return nil, err
	}
	folders[""] = top
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, fmt.Errorf("verification: templates: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		locale := canonicalLocale(e.Name())
		if locale == "" {
			return nil, fmt.Errorf("verification: templates: the folder %s is no locale such as de or de-AT", e.Name())
		}
		if _, twice := folders[locale]; twice {
			return nil, fmt.Errorf("verification: templates: there are two folders for the locale %s", locale)
		}
		if folders[locale], err = readFolder(fsys, e.Name()); err != nil {
			return nil, err
		}
	}
	return folders, nil
}

func readFolder(fsys fs.FS, dir string) (folder, error) {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return folder{}, fmt.Errorf("verification: templates: %w", err)
	}
	f := folder{path: dir, files: map[string]string{}}
	for _, e := range entries {
		file := path.Join(dir, e.Name())
		if ext := path.Ext(file); e.IsDir() || strings.HasPrefix(e.Name(), ".") || (ext != ".txt" && ext != ".html") {
			continue
		}
		if !known(e.Name()) {
			return f, fmt.Errorf("verification: templates: %s is the file of no message", file)
		}
		text, err := fs.ReadFile(fsys, file)
		if err != nil {
			return f, fmt.Errorf("verification: templates: %w", err)
		}
		f.files[e.Name()] = string(text)
	}
	return f, nil
}

// known reports whether a file of this name is ever looked for.
func known(file string) bool {
	return file == "layout.html" || slices.ContainsFunc(samples(time.Time{}), func(m userapi.Message) bool {
		name := templateName(m.Purpose, m.Notice)
		return file == name+".txt" || m.Channel == userapi.ChannelEmail && (file == name+".subject.txt" || file == name+".html")
	})
}

// localeForm is as much of RFC 5646 as names a folder: a language and what narrows it down.
var localeForm = regexp.MustCompile(`^[a-z]{2,3}(-[a-z0-9]{1,8}){0,4}$`)

// canonicalLocale gives "" for what is no locale. Locales are looked up among the folders that were read, never in a
// file system, and are short, so a text from a request can do no harm.
func canonicalLocale(locale string) string {
	locale = strings.ReplaceAll(strings.ToLower(locale), "_", "-")
	if !localeForm.MatchString(locale) {
		return ""
	}
	return locale
}

func parentLocale(locale string) string {
	return locale[:max(0, strings.LastIndexByte(locale, '-'))]
}
