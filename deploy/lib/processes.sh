# processes.sh - the long-running programs of deploy/local: one pid file and one log each, below $var.

fail() {
    echo "deploy/local: $*" >&2
    exit 1
}

# as_owner COMMAND…: as the user that owns ./var. PostgreSQL refuses to run as root, and nothing of ours needs to.
as_owner() {
    if [ "$(id -u)" = 0 ] && [ "$owner" != root ]; then
        (cd / && exec setpriv --reuid="$owner" --regid="$owner" --clear-groups "$@")
    else
        (cd / && exec "$@")
    fi
}

# write_as_owner UMASK FILE: standard input, into a new file. Never as root: the folders are the owner's, and a link in
# them may lead anywhere.
write_as_owner() {
    rm -f "$2"
    as_owner sh -c 'umask "$1"; cat >"$2"' sh "$1" "$2"
}

process_runs() {
    local pid
    pid=$(cat "$var/run/$1.pid" 2>/dev/null) && [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null || return 1
    # A pid file outlives a reboot: the number may be a stranger's by now. (A rebuilt program shows as "… (deleted)".)
    case $(readlink "/proc/$pid/exe" 2>/dev/null) in
    "$bin"/* | /usr/sbin/nginx*) ! grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null ;;
    *) return 1 ;;
    esac
}

# process_start NAME COMMAND…: unless it runs the same program already.
process_start() {
    local name=$1 running
    shift
    if process_runs "$name"; then
        running=$(readlink "/proc/$(cat "$var/run/$name.pid")/exe" || true)
        [ "$running" != "$1" ] || return 0
        # Rebuilt meanwhile: the old file is deleted under the running one.
        process_stop "$name" TERM
    fi
    (
        cd /
        umask 077
        local as=()
        [ "$(id -u)" != 0 ] || [ "$owner" = root ] || as=(setpriv --reuid="$owner" --regid="$owner" --clear-groups)
        # All of these become the program in turn, under one number.
        setsid "${as[@]}" sh -c 'log=$1; shift; exec "$@" </dev/null >>"$log" 2>&1' sh "$var/log/$name.log" "$@" &
        echo $! | write_as_owner 022 "$var/run/$name.pid"
    )
    # Until the new process is the program, and no longer what starts it.
    for running in $(seq 100); do
        ! process_runs "$name" || return 0
        sleep 0.02
    done
}

# process_stop NAME SIGNAL: and waits for its end; after 15 s without mercy.
process_stop() {
    local pid i
    pid=$(cat "$var/run/$1.pid" 2>/dev/null) || return 0
    if process_runs "$1"; then
        kill -s "$2" "$pid" 2>/dev/null || true
        for i in $(seq 150); do
            process_runs "$1" || break
            sleep 0.1
        done
        ! process_runs "$1" || kill -9 "$pid" 2>/dev/null || true
    fi
    rm -f "$var/run/$1.pid"
}
