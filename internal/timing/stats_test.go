package main

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestCompare(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	times := func(shift float64) []float64 {
		list := make([]float64, 4000)
		for i := range list {
			list[i] = 1000 + shift + 50*random.NormFloat64()
			if random.IntN(4) == 0 {
				list[i] += 10_000 * random.ExpFloat64() // somebody else had the core
			}
		}
		return list
	}
	other := compare(times(10), times(0))
	assert.True(t, other.differs(), "%+v", other)
	assert.InDelta(t, 10, other.diff, 3*other.err)
	assert.Greater(t, other.medianA, other.medianB)
	alarms := 0
	for range 200 {
		if same := compare(times(0), times(0)); same.t() > 3 {
			alarms++
		}
	}
	assert.LessOrEqual(t, alarms, 5, "chance gets to 3 in one of some hundred rows")
}

func TestTrimmed(t *testing.T) {
	mean, squared := trimmed([]float64{1, 2, 3, 4}, 1)
	assert.Equal(t, 2.5, mean)
	assert.InDelta(t, 5.0/3/4, squared, 1e-12, "the variance, over four")
	mean, squared = trimmed([]float64{1, 2, 3, 1000}, 0.75)
	assert.Equal(t, 2.0, math.Round(mean*1e9)/1e9)
	assert.InDelta(t, 2.75/3/2, squared, 1e-12, "as if it were 1, 2, 3, 3")
}
