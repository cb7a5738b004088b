package ledger

import "leash/internal/proc"

// Counts are what a watchdog counts. They only grow.
type Counts struct {
	Restarts uint64 // workers that were to follow another
	Hangs    uint64
	Missed   uint64 // beats
	// ParentDeaths are ends of a parent for which a worker was ended.
	ParentDeaths uint64
	// Exhausted is how often there were too many restarts in a row.
	Exhausted uint64
}

func (c *Counts) fields() [5]*uint64 {
	return [...]*uint64{&c.Restarts, &c.Hangs, &c.Missed, &c.ParentDeaths, &c.Exhausted}
}

// maxCount bounds a counter, since files of other users are added too.
const maxCount = 1 << 53

// Add adds other counts.
func (c *Counts) Add(other Counts) {
	o := other.fields()
	for i, n := range c.fields() {
		*n = min(*n, maxCount) + min(*o[i], maxCount)
		*n = min(*n, maxCount)
	}
}

// Less is what c has more than other counts.
func (c Counts) Less(other Counts) Counts {
	o := other.fields()
	for i, n := range c.fields() {
		*n -= min(*n, *o[i])
	}
	return c
}

func (c *Counts) values() []uint64 {
	var list []uint64
	for _, n := range c.fields() {
		list = append(list, *n)
	}
	return list
}

// readCounts reads what values gave.
func readCounts(list []uint64) (c Counts, ok bool) {
	f := c.fields()
	if len(list) != len(f) {
		return c, false
	}
	for i, n := range f {
		if *n = list[i]; *n > maxCount {
			return Counts{}, false
		}
	}
	return c, true
}

// life is one worker, as it is named in the totals.
type life struct {
	ns     uint64
	worker proc.ID // without its inode
}

func (r *Record) life() life {
	return life{r.NS, proc.ID{PID: r.Worker.PID, Start: r.Worker.Start}}
}
