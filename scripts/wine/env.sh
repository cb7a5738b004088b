# Where Wine's things are, for the scripts beside this one, which source it.
# shellcheck shell=sh disable=SC2034 # they use what is set here
#
# LEASH_WINE_DIR puts them elsewhere; nothing of it is in the repository.
wine_dir=${LEASH_WINE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/leash-wine}
wine_lock=$wine_dir/lock

export WINEPREFIX="$wine_dir/prefix"
export WINEARCH=win64
# Its remarks would be mixed into what the tests read.
export WINEDEBUG=-all
# Neither .NET nor a browser, no entries in the user's desktop menu, and no debugger
# that holds up for seconds what has crashed.
export WINEDLLOVERRIDES="mscoree=;mshtml=;winemenubuilder.exe=;winedbg.exe="
# With a display it would open windows there.
unset DISPLAY WAYLAND_DISPLAY
