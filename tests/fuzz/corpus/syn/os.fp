; Signatures of operating systems for REQUIRE_OS, in the form of p0f 3. An example: copy it to /etc/postern/os.fp, and add what your
; own clients send. `postern-agent syns FILE` shows that of the SYNs in a capture file, ready to be put in here.
;
; Measured by the makers of this program with kernel 6.18, by switching its sysctls. Android and other systems with that
; kernel look the same.

classes = unix

[tcp:request]

label = s:unix:Linux:6.x
sig   = 4:64:0:1460:mss*44,*:mss,sok,ts,nop,ws:df,id+:0
sig   = 6:64:0:1440:mss*45,*:mss,sok,ts,nop,ws:flow:0

label = s:unix:Linux:6.x (no timestamps)
sig   = 4:64:0:1460:mss*44,*:mss,nop,nop,sok,nop,ws:df,id+:0
sig   = 6:64:0:1440:mss*45,*:mss,nop,nop,sok,nop,ws:flow:0

label = s:unix:Linux:6.x (no selective acknowledgements)
sig   = 4:64:0:1460:mss*44,*:mss,nop,nop,ts,nop,ws:df,id+:0
sig   = 6:64:0:1440:mss*45,*:mss,nop,nop,ts,nop,ws:flow:0

label = s:unix:Linux:6.x (no window scaling)
sig   = 4:64:0:1460:mss*44,0:mss,sok,ts:df,id+:0
sig   = 6:64:0:1440:mss*45,0:mss,sok,ts:flow:0

; Other sizes of packets, and programs that set their own buffers.
label = g:unix:Linux:
sig   = 4:64:0:*:*,*:mss,sok,ts,nop,ws:df,id+:0
sig   = 6:64:0:*:*,*:mss,sok,ts,nop,ws:flow:0
