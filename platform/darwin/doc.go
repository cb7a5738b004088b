// Package darwin is the macOS side of Leash: kqueue, process groups, sysctl(3).
//
// What decides carries no build tag and stands on three small interfaces, calls,
// launcher and queue, so that it is tested everywhere; only their thin
// implementations are for macOS alone. No cgo: what libproc gives, kern.proc and
// kern.procargs2 give.
//
// What macOS lacks, and what follows from it:
//
//   - No pidfd. A handle is a PID and a start time in microseconds, compared
//     before each signal. What remains possible: the process ends after that check,
//     is reaped, and its number is given anew before kill(2), a few microseconds
//     later. Numbers are given out in turn, from 100 to 99998 and round again, so
//     all others would have to be used up in between.
//   - No subreaper. A process that loses its parent becomes launchd's child. It is
//     found by the worker's group and session, by its labels, or because it was
//     seen before; one that has left all of these unseen gets away. Nothing proves
//     that a tree is empty.
//   - No PR_SET_PDEATHSIG and no job object. Under run a sentinel, one more
//     process, ends the worker of a watchdog that was killed by SIGKILL; under
//     guard such a worker lives on.
//   - No credentials with a datagram: of what sys/socket.h lists, the kernel takes
//     only descriptors (unp_internalize in bsd/kern/uipc_usrreq.c), and
//     LOCAL_PEERCRED and its like (unix(4)) are of connected stream sockets.
//     Heartbeats are refused, because any process could send them.
//   - Programs under System Integrity Protection (all in /bin and /usr/bin) show
//     their environment to no other process: they are found by groups, descent and
//     the ledger.
package darwin
