# Ends a build that is in a session of its own when whoever started it ends, and passes on to it
# what a terminal or a service manager tells the starter's process group. Standard input is held
# open by the starter: a line names the build's process group, another says that it is over.
read -r group || exit 0
for signal in HUP INT QUIT TERM; do
    trap "kill -s $signal -- -$group" "$signal"
done
while :; do
    read -r _ && exit 0
    # Above 128 where a signal interrupted the read; otherwise the starter is gone.
    [ $? -gt 128 ] || break
done
kill -s TERM -- "-$group" || exit 0
for _ in 1 2 3 4 5 6 7 8 9 10; do
    sleep 0.2
    kill -s 0 -- "-$group" || exit 0
done
kill -s KILL -- "-$group"
