package platform

import "leash/platform/darwin"

// TotalMemory is the machine's memory in bytes; 0 if it is not known.
func TotalMemory() uint64 { return darwin.TotalMemory() }
