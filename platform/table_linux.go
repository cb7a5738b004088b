package platform

import "leash/platform/linux"

type systemTable struct{ *linux.Table }

func newSystemTable() (systemTable, error) {
	t, err := openTable(linux.NewKernel, linux.NewTable)
	return systemTable{t}, err
}

func scarce(err error) bool { return linux.Scarce(err) }
