//go:build linux

package main

import "testing"

func TestWakeUpsAreThoseByChoice(t *testing.T) {
	status := "Name:\tx\nvoluntary_ctxt_switches:\t17\nnonvoluntary_ctxt_switches:\t400\n"
	if n, err := readWakeUps(status); err != nil || n != 17 {
		t.Errorf("%d, %v; want 17", n, err)
	}
	if _, err := readWakeUps("Name:\tx\n"); err == nil {
		t.Error("a status without the line is no error")
	}
}

func TestShowThreads(t *testing.T) {
	before := map[int]int64{10: 5, 11: 100}
	after := map[int]int64{10: 5, 11: 111, 12: 3} // thread 12 is new
	if got, want := showThreads(before, after), "11 + 3 + 0"; got != want {
		t.Errorf("%q; want %q", got, want)
	}
}
