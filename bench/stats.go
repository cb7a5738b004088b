package main

import (
	"fmt"
	"slices"
	"time"
)

type number interface {
	~int64 | ~float64
}

// quantile gives the value below which the share q (0 to 1) of the samples
// lies, by the nearest rank. Without samples it is zero.
func quantile[T number](samples []T, q float64) T {
	if len(samples) == 0 {
		var zero T
		return zero
	}
	sorted := slices.Clone(samples)
	slices.Sort(sorted)
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// median gives the middle value, or the mean of the two in the middle.
func median[T number](samples []T) T {
	if len(samples) == 0 {
		var zero T
		return zero
	}
	sorted := slices.Clone(samples)
	slices.Sort(sorted)
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// ratio is a/b, and 0 where there is nothing to divide by.
func ratio[T number](a, b T) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

func showRatio(r float64, against string) string {
	if r == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f × %s", r, against)
}

func showTime(d time.Duration) string {
	if d >= time.Second {
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%.2f ms", float64(d.Nanoseconds())/1e6)
}

// showTimes gives the median and how far the slow ones are from it.
func showTimes(samples []time.Duration) string {
	if len(samples) < 10 {
		return showTime(median(samples))
	}
	return fmt.Sprintf("%s (p90 %s)", showTime(median(samples)), showTime(quantile(samples, 0.9)))
}
