# Leads the session of an engine. When the engine ends, or its last owner has been gone for a while,
# ends all of the session and removes what that has left.
# usage: sh guard.sh FOLDER SECONDS COMMAND...
# Standard input is a pipe that the owners hold open; each writes a line as it comes.
folder=$1 grace=$2
shift 2
exec 3<&0
"$@" </dev/null 3<&- &
engine=$!
trap 'kill -s TERM "$engine" 2>/dev/null' TERM
trap : HUP INT
(
    while :; do
        while read -r _; do :; done
        sleep "$grace"
        read -r _ || break
    done
    kill -s KILL "$engine"
) <&3 3<&- >/dev/null 2>&1 &
exec 3<&- </dev/null

while :; do
    wait "$engine"
    status=$?
    # A signal ends the waiting, not the engine.
    kill -s 0 "$engine" 2>/dev/null || break
done

# The other processes of the session, found without starting one.
find_members() {
    members=
    for stat in /proc/[0-9]*/stat; do
        { read -r line <"$stat"; } 2>/dev/null || continue
        pid=${line%% *}
        set -- ${line##*) }
        if [ "$4" = "$$" ] && [ "$pid" != "$$" ] && [ "$1" != Z ]; then
            members="$members $pid"
        fi
    done
}

# Shared memory has no owner that the kernel knows: whose it is, is seen by who has it mapped.
shared=
note_shared() {
    case $1 in
    *[!A-Za-z0-9._/-]* | */../*) ;;
    /dev/shm/psm_* | /dev/shm/sem.* | /dev/shm/nccl-*) shared="$shared $1" ;;
    esac
}
find_members
for pid in $members; do
    [ -r "/proc/$pid/maps" ] || continue
    while read -r _ _ _ _ _ path; do
        note_shared "$path"
    done 2>/dev/null <"/proc/$pid/maps"
done
if [ -r "$folder/shared" ]; then
    while read -r path; do
        note_shared "$path"
    done <"$folder/shared"
fi

tries=0
while [ -n "$members" ] && [ "$tries" -lt 100 ]; do
    kill -s KILL $members 2>/dev/null
    sleep 0.1
    tries=$((tries + 1))
    find_members
done
rm -f $shared
rm -rf "$folder"
exit "$status"
