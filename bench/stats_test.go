package main

import (
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		samples []int64
		want    int64
	}{
		{nil, 0},
		{[]int64{7}, 7},
		{[]int64{9, 1, 5}, 5},
		{[]int64{10, 1, 4, 2}, 3},
	} {
		if got := median(test.samples); got != test.want {
			t.Errorf("median(%v) = %d, want %d", test.samples, got, test.want)
		}
	}
}

func TestQuantile(t *testing.T) {
	samples := []int64{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}
	for q, want := range map[float64]int64{0: 1, 0.5: 6, 0.9: 10, 1: 10} {
		if got := quantile(samples, q); got != want {
			t.Errorf("quantile(1..10, %v) = %d, want %d", q, got, want)
		}
	}
	if samples[0] != 10 {
		t.Error("quantile has sorted the samples of its caller")
	}
}

func TestShow(t *testing.T) {
	for got, want := range map[string]string{
		showTime(612 * time.Microsecond):      "0.61 ms",
		showTime(1500 * time.Millisecond):     "1.50 s",
		showTimes(make([]time.Duration, 3)):   "0.00 ms",
		showTimes(make([]time.Duration, 10)):  "0.00 ms (p90 0.00 ms)",
		showRatio(ratio(3.0, 2.0), "tini"):    "1.50 × tini",
		showRatio(ratio(int64(3), 0), "none"): "-",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestTable(t *testing.T) {
	var text strings.Builder
	printTable(&text, []row{
		{"start", "3 ms", []string{"tini 2 ms", "bwrap 4 ms"}, "1.50 × tini", "≤ 3 × tini", "met"},
		{"size", "2 MiB", nil, "-", "≤ 5 MiB", "met"},
	})
	want := `measure  ours   peers       ratio        goal        goal met?
-------  -----  ----------  -----------  ----------  ---------
start    3 ms   tini 2 ms   1.50 × tini  ≤ 3 × tini  met
                bwrap 4 ms
size     2 MiB              -            ≤ 5 MiB     met
`
	if text.String() != want {
		t.Errorf("got\n%s\nwant\n%s", text.String(), want)
	}
}
