systemd-sysusers postern-controller.conf >/dev/null
systemd-tmpfiles --create postern-controller.conf
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null 2>&1 || :
    if [ "$1" -ge 2 ]; then
        systemctl try-restart postern-controller.service || :
    fi
fi
