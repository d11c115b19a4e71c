package sqlstore

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestCompare(t *testing.T) {
	named := func(ids ...string) (all []step) {
		for _, id := range ids {
			all = append(all, step{ID: id, Sum: "sum of " + id})
		}
		return all
	}
	program := named("0000_first.sql:1", "0001_a.sql:1", "0001_a.sql:2", "0003_drop_a_needs_0001.sql:1")
	for name, c := range map[string]struct {
		done    []step
		missing int
		err     string
	}{
		"empty":                     {nil, 4, ""},
		"its own":                   {program, 0, ""},
		"interrupted":               {program[:2], 2, ""},
		"more is added":             {append(named("0004_b.sql:1", "0004_b.sql:2"), program...), 0, ""},
		"more, by half":             {append(named("0004_b.sql:1"), program...), 0, ""},
		"what it lives with":        {append(named("0005_drop_b_needs_0003.sql:1"), program...), 0, ""},
		"between its own":           {append(named("0002_c.sql:1"), program...), 0, ""},
		"what it does not know of":  {append(named("0005_drop_b_needs_0004.sql:1"), program...), 0, "only programs that have migration 0004"},
		"by an unknown number":      {append(named("0005_drop_b_needs_0002.sql:1"), program...), 0, "migration 0002"},
		"by no number":              {append(named("0005_drop_b_needs_.sql:1"), program...), 0, "0005_drop_b_needs_"},
		"by two numbers":            {append(named("0005_drop_b_needs_0001_needs_0004.sql:1"), program...), 0, "0001_needs_0004"},
		"by its number, with zeros": {append(named("0005_drop_b_needs_00003.sql:1"), program...), 0, "00003"},
		"what it needs and lacks":   {append(named("0005_drop_b_needs_0004.sql:1"), program[:2]...), 0, "migration 0004"},
		"lacks beside unknown":      {append(named("0004_b.sql:1"), program[:3]...), 0, "lacks migration 0003_drop_a_needs_0001.sql:1 and has 0004_b.sql:1"},
		"another file of a number":  {append(named("0001_other.sql:1"), program[:1]...), 0, "lacks migration 0001_a.sql:1"},
		"changed":                   {append(append(named("0004_b.sql:1"), program[1:]...), step{ID: "0000_first.sql:1", Sum: "x"}), 0, "0000_first.sql:1 was changed"},
	} {
		missing, err := compare(program, c.done)
		assert.Len(t, missing, c.missing, name)
		if c.err == "" {
			assert.NoError(t, err, name)
		} else {
			assert.ErrorContains(t, err, c.err, name)
			assert.True(t, isRefusal(err), name)
		}
	}
}
