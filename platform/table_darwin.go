package platform

import "leash/platform/darwin"

type systemTable struct{ *darwin.Table }

func newSystemTable() (systemTable, error) {
	t, err := openTable(darwin.NewKernel, darwin.NewTable)
	return systemTable{t}, err
}

func scarce(err error) bool { return darwin.Scarce(err) }
