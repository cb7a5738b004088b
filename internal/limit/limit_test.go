package limit

import (
	"errors"
	"math"
	"math/big"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const total = 16 << 30

func TestParse(t *testing.T) {
	for _, c := range []struct {
		texts Texts
		want  Limits
	}{
		{Texts{}, Limits{}},
		{Texts{MemoryMax: "1"}, Limits{MemoryMax: 1}},
		{Texts{MemoryMax: "2G", MemoryHigh: "1536M"}, Limits{MemoryMax: 2 << 30, MemoryHigh: 1536 << 20}},
		{Texts{MemoryMax: "3K", MemoryHigh: "3K"}, Limits{MemoryMax: 3 << 10, MemoryHigh: 3 << 10}},
		{Texts{MemoryHigh: "1T"}, Limits{MemoryHigh: 1 << 40}},
		{Texts{MemoryMax: "25%"}, Limits{MemoryMax: 4 << 30}},
		{Texts{MemoryMax: "100%"}, Limits{MemoryMax: total}},
		{Texts{TasksMax: "100", CPUQuota: "250%"}, Limits{TasksMax: 100, CPUQuota: 250}},
		{Texts{OOMScoreAdjust: "0", Limits: "require"}, Limits{Scored: true}},
		{Texts{OOMScoreAdjust: "-1000"}, Limits{Scored: true, Score: -1000}},
		{Texts{OOMScoreAdjust: "1000", Limits: "best-effort"}, Limits{Scored: true, Score: 1000, BestEffort: true}},
	} {
		if got, err := c.texts.Parse(total); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%+v: %+v, %v; want %+v", c.texts, got, err, c.want)
		}
	}
	bad := []string{"0", "00", "01", "-1", "+1", "1.5", "1e3", " 1", "1 ", "x", "٣", "99999999999999999999"}
	sizes := []string{"10X", "1k", "1KB", "1KiB", "K", "G", "0G", "-1G", "1.5G", "%", "0%", "101%", "-1%", "1%%", "8388608T", "9223372036854775808", "infinity", "max"}
	for _, c := range []struct {
		flag  string
		set   func(*Texts, string)
		texts []string
	}{
		{"--memory-max", func(x *Texts, s string) { x.MemoryMax = s }, append(sizes, bad...)},
		{"--memory-high", func(x *Texts, s string) { x.MemoryHigh = s }, append(sizes, bad...)},
		{"--tasks-max", func(x *Texts, s string) { x.TasksMax = s }, append([]string{"1K", "50%"}, bad...)},
		{"--cpu-quota", func(x *Texts, s string) { x.CPUQuota = s }, append([]string{"50", "0%", "%", "-1%", "1.5%", "100000001%", "50%%"}, bad...)},
		{"--oom-score-adjust", func(x *Texts, s string) { x.OOMScoreAdjust = s },
			[]string{"1001", "-1001", "-0", "-", "+5", "00", "05", "0x1", "1.0", "x"}},
		{"--limits", func(x *Texts, s string) { x.Limits = s }, []string{"off", "Require", "besteffort"}},
	} {
		for _, text := range c.texts {
			var x Texts
			c.set(&x, text)
			if got, err := x.Parse(total); err == nil || !strings.HasPrefix(err.Error(), c.flag+": ") || got != (Limits{}) {
				t.Errorf("%s %q: %+v, %v", c.flag, text, got, err)
			}
		}
	}
	if _, err := (Texts{MemoryMax: "1G", MemoryHigh: "2G"}).Parse(total); err == nil || !strings.HasPrefix(err.Error(), "--memory-high: 2G is above --memory-max, 1G") {
		t.Errorf("high above max: %v", err)
	}
	if _, err := (Texts{MemoryMax: "50%"}).Parse(0); err == nil {
		t.Error("a part of an unknown memory was taken")
	}
}

func TestNames(t *testing.T) {
	all := Limits{MemoryMax: 1, MemoryHigh: 1, TasksMax: 1, CPUQuota: 1, Scored: true}
	if got := strings.Join(all.Names(), ","); got != "memory-max,memory-high,tasks-max,cpu-quota,oom-score-adjust" {
		t.Error(got)
	}
	if got := (Limits{BestEffort: true}).Names(); len(got) > 0 {
		t.Error(got)
	}
}

func TestRefused(t *testing.T) {
	var err error = &Refused{Names: []string{MemoryMax, TasksMax}, Why: "no cgroup v2", How: "mount it"}
	if got := err.Error(); got != "--memory-max, --tasks-max: no cgroup v2: mount it, or give --limits best-effort" {
		t.Error(got)
	}
	if r := (*Refused)(nil); !errors.As(err, &r) {
		t.Error("it is not found as what it is")
	}
}

var sizeText = regexp.MustCompile(`^([1-9][0-9]*)([KMGT%]?)$`)

// FuzzParse compares with a plain reading of the same grammar, in numbers without bounds.
func FuzzParse(f *testing.F) {
	f.Add("512M", "10", "50%", "-7", uint64(total))
	f.Add("100%", "0", "0%", "1001", uint64(math.MaxUint64))
	f.Add("8388608T", "-1", "150", "--1", uint64(0))
	f.Fuzz(func(t *testing.T, size, tasks, quota, score string, total uint64) {
		got, err := Texts{MemoryMax: size}.Parse(total)
		want := new(big.Int)
		m := sizeText.FindStringSubmatch(size)
		if m != nil {
			want.SetString(m[1], 10)
			switch unit := strings.Index("KMGT", m[2]); {
			case m[2] == "%" && (want.Cmp(big.NewInt(100)) > 0 || total == 0):
				m = nil
			case m[2] == "%":
				want.Mul(want, new(big.Int).SetUint64(total)).Div(want, big.NewInt(100))
				if want.Sign() == 0 {
					want.SetInt64(1)
				}
			case m[2] != "":
				want.Lsh(want, uint(10*(unit+1)))
			}
			if m != nil && m[2] != "%" && !want.IsInt64() {
				m = nil
			}
		}
		if size != "" && (err == nil) != (m != nil) || err == nil && size != "" && new(big.Int).SetUint64(got.MemoryMax).Cmp(want) != 0 {
			t.Errorf("%q of %d: %+v, %v; want %v", size, total, got, err, want)
		}
		if got, err := (Texts{TasksMax: tasks}).Parse(0); err == nil && tasks != "" && strconv.FormatUint(got.TasksMax, 10) != tasks {
			t.Errorf("%q: %+v", tasks, got)
		}
		if got, err := (Texts{CPUQuota: quota}).Parse(0); err == nil && quota != "" && strconv.FormatUint(got.CPUQuota, 10)+"%" != quota {
			t.Errorf("%q: %+v", quota, got)
		}
		if got, err := (Texts{OOMScoreAdjust: score}).Parse(0); err == nil && score != "" && (strconv.Itoa(got.Score) != score || got.Score < -1000 || got.Score > 1000) {
			t.Errorf("%q: %+v", score, got)
		}
	})
}
