// Package linux implements system.System on Linux: pidfds, epoll, process groups, the
// subreaper, cgroups and /proc. Parsers have no build tag, so that their tests run on every
// system.
package linux
