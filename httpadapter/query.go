package httpadapter

import (
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/userapi/userapi"
)

// args are the parameters of a query string, each at most once.
type args struct {
	values map[string]string
	wrong  map[string][]string
}

// args reads the query string. Parameters the route does not have are wrong.
func (c *call) args() args {
	a := args{values: map[string]string{}, wrong: map[string][]string{}}
	query, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		a.wrong["?"] = []string{"not a query string"}
	}
	for name, values := range query {
		known := slices.Contains(c.route.query, name)
		switch {
		case !known && len(a.wrong) < maxUnknown:
			a.wrong[printable(name)] = []string{"unknown parameter"}
		case known && len(values) > 1:
			a.wrong[name] = []string{"given more than once"}
		case known:
			a.values[name] = values[0]
		}
	}
	return a
}

// err is ErrWrongArgs with all that is wrong.
func (a args) err() error { return withFields(userapi.ErrWrongArgs, a.wrong) }

// integer is a natural number between low and high, in its one spelling.
func (a args) integer(name string, low, high, otherwise int) int {
	value, given := a.values[name]
	if !given {
		return otherwise
	}
	n, err := strconv.Atoi(value)
	if err != nil || !decimal(value) || n < low || n > high {
		a.wrong[name] = []string{"an integer from " + strconv.Itoa(low) + " to " + strconv.Itoa(high)}
	}
	return n
}

// choice is one of two words.
func (a args) choice(name, first, second string) string {
	value, given := a.values[name]
	if given && value != first && value != second {
		a.wrong[name] = []string{first + " or " + second}
	}
	return value
}

// time is a moment as RFC 3339 has it; zero when it is not given.
func (a args) time(name string) time.Time {
	value, given := a.values[name]
	if !given {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, value)
	if err != nil || at.Year() < 1970 || at.Year() > 9999 {
		a.wrong[name] = []string{"a time such as 2030-12-31T12:00:00Z"}
	}
	return at
}
