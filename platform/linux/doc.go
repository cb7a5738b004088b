// Package linux is the Linux side of Leash: pidfds, epoll, process groups, the
// subreaper, cgroups and /proc. Parsers carry no build tag, so that their
// tests run everywhere.
package linux
