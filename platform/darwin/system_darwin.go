package darwin

import "os"

// New returns the system. The backend is auto, event or poll.
func New(backend string) (*System, error) {
	k, err := NewKernel()
	if err != nil {
		return nil, err
	}
	q, err := newKqueue()
	if err != nil {
		return nil, err
	}
	s, err := newSystem(k, processes{}, q, backend)
	if err != nil {
		q.Close()
		return nil, err
	}
	s.program = thisProgram()
	return s, nil
}

// TakeRole does not return if this process was started as a part of a watchdog.
func TakeRole() { takeRole(kernelCalls{}) }

// NewTable prepares to read the process table.
func NewTable(k *Kernel) (*Table, error) {
	q, err := newKqueue()
	if err != nil {
		return nil, err
	}
	return newTable(k, q, uint32(os.Geteuid()))
}
