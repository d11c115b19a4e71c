package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A part that asks for a process of its own gets this one.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// Every case runs and proves what it has to refuse; no time is looked at. The pages link to plots that are there and can be read.
func TestShort(t *testing.T) {
	for _, p := range parts() {
		t.Run(p.Name, func(t *testing.T) {
			if p.Ready != nil && os.Getenv("USERAPI_TEST_CLUSTER") == "" {
				t.Skip("it needs more than other tests: USERAPI_TEST_CLUSTER is not set")
			}
			dir := t.TempDir()
			if err := measure(t.Context(), p.Name, dir, 1, time.Millisecond, true); err != nil {
				t.Fatal(err)
			}
			page, err := os.ReadFile(filepath.Join(dir, p.Name+".md"))
			if err != nil {
				t.Fatal(err)
			}
			index, err := os.ReadFile(filepath.Join(dir, "README.md"))
			if err != nil || !strings.Contains(string(index), "("+p.Name+".md)") {
				t.Fatal("the index does not know the page", err)
			}
			plots, _ := filepath.Glob(filepath.Join(dir, "*.svg"))
			for _, plot := range plots {
				if !strings.Contains(string(page), "("+filepath.Base(plot)+")") {
					t.Error("no link to", plot)
				}
				f, err := os.Open(plot)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				d := xml.NewDecoder(f)
				for err == nil {
					_, err = d.Token()
				}
				if !errors.Is(err, io.EOF) {
					t.Error(plot, err)
				}
			}
		})
	}
}

// The index keeps what it says about parts that did not run.
func TestIndex(t *testing.T) {
	path := filepath.Join(t.TempDir(), "README.md")
	write := func(p Part, cost string) {
		t.Helper()
		if err := writeIndex(path, p, &Run{costs: []Cost{{cost, 1}}}); err != nil {
			t.Fatal(err)
		}
	}
	write(tokensPart, "old")
	write(hashPart, "kept")
	write(tokensPart, "new")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| new |", "| kept |", "(tokens.md)", "(hash.md)"} {
		if strings.Count(string(text), want) != 1 {
			t.Errorf("%q is not there once:\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "| old |") {
		t.Error("what was measured before is still there")
	}
}

// What a chart cannot plot must not break it.
func TestCharts(t *testing.T) {
	for name, c := range map[string]Chart{
		"bars":  Bars{Title: "a < b", Bars: []Bar{{Name: "x & y", Value: 1}, {Name: "z", Value: 1000}}, Log: true},
		"lines": Lines{Title: "t", X: []float64{10_000, 100_000, 1_000_000}, Lines: []Line{{"a", []float64{1e3, 1e4, 0}}, {"b", []float64{1e3, 1e4, 1e6}}}},
	} {
		if svg := c.SVG(); strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") || strings.Contains(svg, "a < b") {
			t.Errorf("%s: %s", name, svg)
		}
	}
}
