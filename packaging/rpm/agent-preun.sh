if [ "$1" -eq 0 ]; then
    if [ -d /run/systemd/system ]; then
        systemctl --no-reload disable --now postern-agent.service postern-protect.service postern-sets.service >/dev/null 2>&1 || :
    fi
    hidden=/var/lib/postern-agent/protected-ports
    if grep -q / "$hidden" 2>/dev/null; then
        echo "postern-agent: what it hid stays hidden until this machine boots, and nobody opens it any more:" >&2
        echo "postern-agent:   $(grep -o '^[a-z]*/[0-9-]*' "$hidden" | tr '\n' ' ')" >&2
    fi
fi
