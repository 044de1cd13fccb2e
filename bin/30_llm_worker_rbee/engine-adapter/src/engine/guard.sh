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

# The other processes of the session, found without starting one. Python's trackers of semaphores and
# shared memory are told apart: each removes what the others have left, and ends, once they are gone.
find_members() {
    members= trackers=
    for stat in /proc/[0-9]*/stat; do
        { read -r line <"$stat"; } 2>/dev/null || continue
        pid=${line%% *}
        set -- ${line##*) }
        [ "$4" = "$$" ] && [ "$pid" != "$$" ] && [ "$1" != Z ] || continue
        line=
        { read -r line <"/proc/$pid/cmdline"; } 2>/dev/null
        case $line in
        *multiprocessing.resource_tracker*) trackers="$trackers $pid" ;;
        *) members="$members $pid" ;;
        esac
    done
}

# Shared memory has no owner that the kernel knows: whose it is, is seen by who has it mapped. The C library
# maps a semaphore by a name that it then takes away, so that only the inode tells which one it is.
shared= inodes=
note_shared() {
    case $1 in
    *[!A-Za-z0-9._/-]* | */../*) ;;
    /dev/shm/psm_* | /dev/shm/sem.* | /dev/shm/nccl-*) shared="$shared $1" ;;
    esac
}
find_members
for pid in $members; do
    [ -r "/proc/$pid/maps" ] || continue
    while read -r _ _ _ _ inode path; do
        case $path in
        /dev/shm/*' (deleted)') inodes="$inodes $inode" ;;
        *) note_shared "$path" ;;
        esac
    done 2>/dev/null <"/proc/$pid/maps"
done
if [ -n "$inodes" ]; then
    for path in /dev/shm/sem.*; do
        inode=$(ls -di "$path" 2>/dev/null)
        inode=${inode#"${inode%%[! ]*}"}
        case "$inodes " in
        *" ${inode%% *} "*) note_shared "$path" ;;
        esac
    done
fi
if [ -r "$folder/shared" ]; then
    while read -r path; do
        note_shared "$path"
    done <"$folder/shared"
fi

tries=0
while [ -n "$members$trackers" ] && [ "$tries" -lt 100 ]; do
    [ "$tries" -lt 50 ] || members="$members $trackers"
    [ -z "$members" ] || kill -s KILL $members 2>/dev/null
    sleep 0.1
    tries=$((tries + 1))
    find_members
done
rm -f $shared
rm -rf "$folder"
exit "$status"
