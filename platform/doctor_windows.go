package platform

import (
	"os"

	"leash/internal/doctor"
)

// Mechanisms says what this system offers.
func Mechanisms(bool) []doctor.Mechanism {
	return []doctor.Mechanism{
		notices("process handles", "ends of processes are noticed at once"),
		{Name: "job object", State: doctor.Works, Detail: "the tree of run ends with its watchdog"},
		ledgerFolder(),
	}
}

func probe(dir *os.File) error {
	f, err := os.CreateTemp(dir.Name(), "table.lock")
	if err != nil {
		return err
	}
	f.Close()
	return os.Remove(f.Name())
}
