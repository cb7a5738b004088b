package doctor

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	list := []Mechanism{
		{Name: "pidfd", State: Works, Detail: "good", Needed: true},
		{Name: "cgroup", State: No, Detail: "none", Advice: "delegate\x1b one"},
		{Name: "inode", State: InPart, Detail: "old", Needed: true},
	}
	r := New(list)
	var b strings.Builder
	r.Write(&b, false)
	const want = "works    pidfd   good\nno       cgroup  none: delegate· one\nin part  inode   old\nrun and guard can keep all their promises here\n"
	if b.String() != want || !r.OK || r.Status() != 0 {
		t.Errorf("%+v\n%s", r, b.String())
	}
	list[0].State = No
	r = New(list)
	b.Reset()
	r.Write(&b, true)
	if r.OK || r.Status() != 1 || !strings.HasPrefix(b.String(), `{"ok":false,"mechanisms":[{"name":"pidfd","state":"no","detail":"good","advice":""},`) {
		t.Errorf("%+v\n%s", r, b.String())
	}
	b.Reset()
	New(nil).Write(&b, true)
	if b.String() != `{"ok":true,"mechanisms":[]}`+"\n" {
		t.Error(b.String())
	}
}
