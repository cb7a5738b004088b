// Package scenes plays the main scenes on real processes, with nothing but the two
// programs and itself: it also runs where there is no shell and no Python, in the
// virtual machines of e2e/vm.
package scenes
