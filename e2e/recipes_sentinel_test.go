//go:build linux

package e2e

import (
	"testing"
)

// At Ctrl-C Puppeteer kills the process group of what it has started, which is the
// watchdog.
func TestRecipePuppeteerInterrupted(t *testing.T) {
	t.Parallel()
	newBrowserRecipe(t, "puppeteer-core", "puppeteer.mjs").puppeteer("socket", "interrupted")
}

// The manager of a kernel kills the watchdog.
func TestRecipeJupyterShutsDown(t *testing.T) { jupyter(t, closes) }

// Go kills the watchdog when a context ends.
func TestRecipeContextKills(t *testing.T) { goContext(t, "kill") }
