package platform

import (
	"strings"

	"leash/internal/doctor"
)

// ledgerFolder is the line of doctor about the state folder.
func ledgerFolder() doctor.Mechanism {
	m := doctor.Mechanism{Name: "ledger folder", State: doctor.No, Needed: true,
		Advice: "LEASH_STATE_DIR must name a folder of yours that no other user may write in and that is not full, and the folder above it must exist"}
	dir, err := StateDir()
	if err == nil {
		defer dir.Close()
		if err = probe(dir); err == nil {
			m.State, m.Detail, m.Advice = doctor.Works, "records are kept in "+dir.Name(), ""
			return m
		}
	}
	m.Detail = "no records can be kept (" + strings.ReplaceAll(err.Error(), "\n", "; ") + ")"
	return m
}
