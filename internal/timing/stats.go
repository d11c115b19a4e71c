package main

import (
	"math"
	"slices"
)

// evidence is the |t| from which on a difference is taken for one, as dudect and TVLA do: chance gets there once in some ten thousand rows.
const evidence = 4.5

// shares are how many of the samples are looked at, the quickest: what an interrupt, a collection of garbage or a busy neighbour
// lengthened hides what there is to see. The share that shows most counts.
var shares = []float64{0.5, 0.8, 0.95}

// comparison is of two lists of times; all in their unit.
type comparison struct {
	medianA, medianB float64
	diff, err        float64 // of the means of what is looked at of A and B, and its standard error
}

// t is Welch's, without its sign.
func (c comparison) t() float64 { return math.Abs(c.diff) / c.err }

func (c comparison) differs() bool { return c.t() >= evidence }

// compare sorts the lists.
func compare(a, b []float64) (most comparison) {
	slices.Sort(a)
	slices.Sort(b)
	for i, share := range shares {
		meanA, squaredA := trimmed(a, share)
		meanB, squaredB := trimmed(b, share)
		c := comparison{a[len(a)/2], b[len(b)/2], meanA - meanB, math.Sqrt(squaredA + squaredB)}
		if i == 0 || c.t() > most.t() {
			most = c
		}
	}
	return most
}

// trimmed gives the mean of the first of a sorted list, and the square of its standard error after Yuen: to that the others count as if they
// were as quick as the slowest of those.
func trimmed(sorted []float64, share float64) (mean, squared float64) {
	n, first := float64(len(sorted)), int(math.Ceil(share*float64(len(sorted))))
	for _, v := range sorted[:first] {
		mean += v / float64(first)
	}
	slowest := sorted[first-1]
	var all, sum float64 // the mean of all, and the sum of squares
	for _, v := range sorted {
		all += min(v, slowest) / n
	}
	for _, v := range sorted {
		sum += (min(v, slowest) - all) * (min(v, slowest) - all)
	}
	h := float64(first)
	return mean, sum / h / (h - 1)
}
