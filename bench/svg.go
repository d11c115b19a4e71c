package main

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// Chart is a plot in a file of its own.
type Chart interface{ SVG() string }

const svgWidth = 860

// svgHead opens a plot that reads on white and on black paper.
func svgHead(title string, height float64) string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %.0f" width="%d" height="%.0f" role="img" aria-label="%s">
<style>
text { font: 13px system-ui, sans-serif; fill: #24292f; } .title { font-size: 15px; font-weight: 600; } .soft { fill: #6e7781; }
.grid { stroke: #d0d7de; } .ours { fill: #1a7f37; } .theirs { fill: #8c959f; } .limit { fill: #0969da; }
.c0 { stroke: #1a7f37; fill: #1a7f37; } .c1 { stroke: #0969da; fill: #0969da; } .c2 { stroke: #bc4c00; fill: #bc4c00; } .c3 { stroke: #8250df; fill: #8250df; } .c4 { stroke: #6e7781; fill: #6e7781; }
.line { fill: none; stroke-width: 2; } text.c { stroke: none; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; } .soft { fill: #8b949e; } .grid { stroke: #30363d; } .ours { fill: #3fb950; } .theirs { fill: #6e7681; } .limit { fill: #58a6ff; }
.c0 { stroke: #3fb950; fill: #3fb950; } .c1 { stroke: #58a6ff; fill: #58a6ff; } .c2 { stroke: #f0883e; fill: #f0883e; } .c3 { stroke: #bc8cff; fill: #bc8cff; } .c4 { stroke: #8b949e; fill: #8b949e; }
}
</style>
<text class="title" x="10" y="22">%s</text>
`, svgWidth, height, svgWidth, height, html.EscapeString(title), html.EscapeString(title))
}

// Bar is one of a Bars chart.
type Bar struct {
	Name, Label string
	Value       float64
	Kind        string // "ours", "theirs" or "limit"
}

// Bars are horizontal bars.
type Bars struct {
	Title, Axis string
	Bars        []Bar
	Log         bool // for values of different magnitude; the axis then begins at half the least
}

// SVG draws them.
func (c Bars) SVG() string {
	const left, right, top, step = 330.0, 90.0, 40.0, 26.0
	least, most := math.Inf(1), 0.0
	for _, b := range c.Bars {
		least, most = min(least, b.Value), max(most, b.Value)
	}
	height := top + step*float64(len(c.Bars)) + 30
	width := func(v float64) float64 {
		share := v / most
		if c.Log {
			share = math.Log(v/(least/2)) / math.Log(most/(least/2))
		}
		return max(2, share*(svgWidth-left-right))
	}
	var b strings.Builder
	b.WriteString(svgHead(c.Title, height))
	for i, bar := range c.Bars {
		y, w := top+step*float64(i), width(bar.Value)
		fmt.Fprintf(&b, `<text x="%.0f" y="%.0f" text-anchor="end">%s</text><rect class="%s" x="%.0f" y="%.0f" width="%.1f" height="16" rx="2"/><text x="%.1f" y="%.0f">%s</text>`+"\n",
			left-8, y+13, html.EscapeString(cut(bar.Name, 48)), bar.Kind, left, y, w, left+w+6, y+13, html.EscapeString(bar.Label))
	}
	axis := c.Axis
	if c.Log {
		axis += ", logarithmic"
	}
	fmt.Fprintf(&b, `<text class="soft" x="%.0f" y="%.0f">%s</text>`+"\n</svg>\n", left, height-10, html.EscapeString(axis))
	return b.String()
}

func cut(text string, most int) string {
	if r := []rune(text); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}

// ratioBars plots the times of rows, labelled by their ratios.
func ratioBars(title string, rows []Row) Bars {
	c := Bars{Title: title, Axis: "time of one operation"}
	least, most := math.Inf(1), 0.0
	for i, r := range rows {
		if r.Median == 0 {
			continue
		}
		least, most = min(least, r.Median), max(most, r.Median)
		bar := Bar{Name: r.Name, Value: r.Median, Label: span(r.Median), Kind: "theirs"}
		if r.Ratio > 0 && r.Against == "" {
			bar.Label = fmt.Sprintf("%.3g ×", r.Ratio)
		}
		switch {
		case i == 0:
			bar.Kind = "limit"
		case strings.HasPrefix(r.Name, "userapi"):
			bar.Kind = "ours"
		}
		c.Bars = append(c.Bars, bar)
	}
	c.Log = most > 8*least
	return c
}

// Line is one of a Lines chart: its values at the chart's X.
type Line struct {
	Name string
	Y    []float64
}

// Lines tell how something grows. Both axes are logarithmic.
type Lines struct {
	Title, XAxis string
	X            []float64
	Lines        []Line
	Format       func(float64) string // of values; nil = span: ns
}

// SVG draws them.
func (c Lines) SVG() string {
	const left, right, top, bottom, height = 80.0, 240.0, 44.0, 330.0, 380.0
	format := c.Format
	if format == nil {
		format = span
	}
	least, most := math.Inf(1), 0.0
	for _, l := range c.Lines {
		for _, y := range l.Y {
			if y > 0 {
				least, most = min(least, y), max(most, y)
			}
		}
	}
	low, high := math.Floor(math.Log10(least)), math.Ceil(math.Log10(most))
	if high == low {
		high++
	}
	x0, x1 := math.Log10(slices.Min(c.X)), math.Log10(slices.Max(c.X))
	px := func(x float64) float64 { return left + (math.Log10(x)-x0)/max(x1-x0, 1e-9)*(svgWidth-left-right) }
	py := func(y float64) float64 { return bottom - (math.Log10(y)-low)/(high-low)*(bottom-top) }
	var b strings.Builder
	b.WriteString(svgHead(c.Title, height))
	for e := low; e <= high; e++ {
		y := py(math.Pow(10, e))
		fmt.Fprintf(&b, `<line class="grid" x1="%.0f" x2="%.0f" y1="%.1f" y2="%.1f"/><text class="soft" x="%.0f" y="%.1f" text-anchor="end">%s</text>`+"\n",
			left, svgWidth-right, y, y, left-8, y+4, html.EscapeString(format(math.Pow(10, e))))
	}
	for _, x := range c.X {
		fmt.Fprintf(&b, `<text class="soft" x="%.1f" y="%.0f" text-anchor="middle">%s</text>`+"\n", px(x), bottom+20, count(x))
	}
	fmt.Fprintf(&b, `<text class="soft" x="%.0f" y="%.0f" text-anchor="middle">%s, logarithmic</text>`+"\n", (left+svgWidth-right)/2, bottom+42, html.EscapeString(c.XAxis))
	type end struct {
		y    float64
		i    int
		text string
	}
	var ends []end
	for i, l := range c.Lines {
		var points []string
		for j, y := range l.Y {
			if y <= 0 {
				continue
			}
			points = append(points, fmt.Sprintf("%.1f,%.1f", px(c.X[j]), py(y)))
			fmt.Fprintf(&b, `<circle class="c%d" cx="%.1f" cy="%.1f" r="3"/>`, i%5, px(c.X[j]), py(y))
		}
		fmt.Fprintf(&b, `<polyline class="line c%d" style="fill:none" points="%s"/>`+"\n", i%5, strings.Join(points, " "))
		if last := l.Y[len(l.Y)-1]; last > 0 {
			ends = append(ends, end{py(last), i, l.Name + ", " + format(last)})
		}
	}
	slices.SortFunc(ends, func(a, b end) int { return int(math.Copysign(1, a.y-b.y)) })
	for i := range ends { // names that would lie on one another move down
		if i > 0 && ends[i].y < ends[i-1].y+16 {
			ends[i].y = ends[i-1].y + 16
		}
		fmt.Fprintf(&b, `<text class="c c%d" style="stroke:none" x="%.0f" y="%.1f">%s</text>`+"\n", ends[i].i%5, svgWidth-right+10, ends[i].y+4, html.EscapeString(cut(ends[i].text, 36)))
	}
	b.WriteString("</svg>\n")
	return b.String()
}
