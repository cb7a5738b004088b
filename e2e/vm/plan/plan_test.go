package plan

import "testing"

func TestResult(t *testing.T) {
	for text, want := range map[string]Line{
		"--- PASS: TestX (0.25s)":         {Kind: Pass, Test: "TestX", Seconds: 0.25},
		"    --- SKIP: TestX/a_b (0.00s)": {Kind: Skip, Test: "TestX/a_b"},
		"--- FAIL: TestX (12.00s)":        {Kind: Fail, Test: "TestX", Seconds: 12},
		"--- PASS: FuzzX":                 {Kind: Pass, Test: "FuzzX"},
		"PASS":                            {},
		"--- PASS: ":                      {},
		"--- BENCH: BenchmarkX":           {},
		"a --- PASS: TestX":               {},
		"=== RUN   TestX":                 {},
		"":                                {},
	} {
		if got, ok := Result(text); ok != (want.Kind != "") || ok && got != want {
			t.Errorf("%q: %+v, %t", text, got, ok)
		}
	}
}
