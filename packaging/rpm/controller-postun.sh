if [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null 2>&1 || :
fi
if [ "$1" -eq 0 ] && [ -e /var/lib/postern ]; then
    echo "postern-controller: kept: /var/lib/postern, with the fleet's authority, its keys and its audit log." >&2
fi
if [ "$1" -eq 0 ] && [ -e /var/log/postern ]; then
    rmdir /var/log/postern 2>/dev/null ||
        echo "postern-controller: kept: /var/log/postern, with what sinks wrote to files." >&2
fi
