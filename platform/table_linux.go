package platform

import "leash/platform/linux"

type systemTable struct{ *linux.Table }

func newSystemTable() (t systemTable, err error) {
	k, err := linux.NewKernel()
	if err != nil {
		return t, err
	}
	t.Table, err = linux.NewTable(k)
	return t, err
}

func scarce(err error) bool { return linux.Scarce(err) }
