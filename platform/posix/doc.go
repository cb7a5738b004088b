package posix
