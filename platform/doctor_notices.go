//go:build !linux

package platform

import "leash/internal/doctor"

// notices is the line of doctor about how ends of processes are noticed.
func notices(name, works string) doctor.Mechanism {
	m := doctor.Mechanism{Name: name, State: doctor.Works, Detail: works, Needed: true}
	if s, err := New("event"); err != nil {
		m.State, m.Detail = doctor.No, err.Error()
	} else {
		s.Close()
	}
	return m
}
