// Package windows is Windows 10 and later as a System: process handles, job objects,
// consoles, pipes. What only decides carries no build tag.
//
// A comment names the page of Microsoft's documentation that a fact is from, by
// its title. Two facts carry the rest:
//   - A process object, and with it its number, lives until the last handle to it
//     is closed ("Terminating a Process"). So a number cannot change hands while
//     we hold a handle, and children of a process that has ended can still be
//     told by the number of their parent, which the system never changes.
//   - That number says nothing by itself: it may be of a process that ended long ago,
//     and belong to another by now. Only what was created before is a parent.
package windows
