//go:build linux

package linux

import (
	"testing"

	"leash/platform/platformtest"
)

// realTable is the table, with shells that have the labels they are given.
type realTable struct {
	realSystem
	platformtest.WithoutLedger
}

func TestTableConforms(t *testing.T) {
	kernels(t, func(t *testing.T, k *Kernel) {
		platformtest.ConformTable(t, func(t *testing.T) platformtest.TableSystem {
			return realTable{newRealSystem(k), platformtest.WithoutLedger{SystemTable: newTestTable(t, k)}}
		})
	})
}

func (s realTable) Blind() bool { return !s.k.PIDFDs }
func (s realTable) Unused() int { return s.k.Highest() + 1 }
