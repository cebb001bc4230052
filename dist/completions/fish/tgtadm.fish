# Completes the modes, operations and options of tgtadm.
function __tgtadm_value
    set -l words (commandline -opc)
    set -l found
    for i in (seq (count $words))
        if contains -- $words[$i] $argv
            set found $words[(math $i + 1)]
        end
    end
    echo "$found"
end
function __tgtadm_ops
    switch (__tgtadm_value -m --mode)
        case system sys
            printf 'show\ndelete\nstat\nupdate\n'
        case target tgt
            printf 'new\ndelete\nshow\nstat\nbind\nunbind\nupdate\n'
        case logicalunit lu
            printf 'new\ndelete\nstat\nupdate\n'
        case portal pt
            printf 'new\ndelete\nshow\n'
        case lld
            printf 'start\nstop\nshow\n'
        case session sess
            printf 'stat\n'
        case connection conn
            printf 'show\nstat\ndelete\n'
        case account
            printf 'new\nupdate\nshow\ndelete\nbind\nunbind\n'
        case '*'
            printf 'new\ndelete\nshow\nbind\nunbind\nupdate\nstat\nstart\nstop\n'
    end
end
function __tgtadm_letters
    switch (__tgtadm_value -m --mode),(__tgtadm_value -o --op)
        case system,show sys,show
            echo dLomC
        case system,delete sys,delete
            echo dLomC
        case system,stat sys,stat
            echo dLomC
        case system,update sys,update
            echo dLomnvC
        case target,new tgt,new
            echo dLomtTC
        case target,delete tgt,delete
            echo dLomtFDC
        case target,show tgt,show
            echo dLomtC
        case target,stat tgt,stat
            echo dLomtC
        case target,bind tgt,bind
            echo dLomtIQHBC
        case target,unbind tgt,unbind
            echo dLomtIQHBC
        case target,update tgt,update
            echo dLomtnvC
        case logicalunit,new lu,new
            echo dLomtlbESfyYC
        case logicalunit,delete lu,delete
            echo dLomtlFDC
        case logicalunit,stat lu,stat
            echo dLomtlC
        case logicalunit,update lu,update
            echo dLomtlfyPC
        case portal,new pt,new
            echo dLomPC
        case portal,delete pt,delete
            echo dLomPC
        case portal,show pt,show
            echo dLomC
        case lld,start
            echo dLomC
        case lld,stop
            echo dLomC
        case lld,show
            echo dLomC
        case session,stat sess,stat
            echo dLomtsC
        case connection,show conn,show
            echo dLomtC
        case connection,stat conn,stat
            echo dLomtscC
        case connection,delete conn,delete
            echo dLomtscC
        case account,new
            echo dLomfupC
        case account,update
            echo dLomupC
        case account,show
            echo dLomC
        case account,delete
            echo dLomuC
        case account,bind
            echo dLomtQuOC
        case account,unbind
            echo dLomtQuOC
        case '*'
            echo djhVLomtsclnvbESfyTIQupHFDPBYOC
    end
end
function __tgtadm_takes
    string match -q -- "*$argv[1]*" (__tgtadm_letters)
end
complete -c tgtadm -f
complete -c tgtadm -n '__tgtadm_takes d' -s d -l debug -d 'print on standard error how many bytes are sent'
complete -c tgtadm -n '__tgtadm_takes j' -s j -l json -d 'print the answer as JSON, and refuse requests that are not exact'
complete -c tgtadm -n '__tgtadm_takes h' -s h -l help -d 'print this help and exit'
complete -c tgtadm -n '__tgtadm_takes V' -s V -l version -d 'print the version and exit'
complete -c tgtadm -n '__tgtadm_takes L' -s L -l lld -x -d 'the driver; default iscsi'
complete -c tgtadm -n '__tgtadm_takes o' -s o -l op -x -a '(__tgtadm_ops)' -d 'new, delete, show, bind, unbind, update, stat, start or stop'
complete -c tgtadm -n '__tgtadm_takes m' -s m -l mode -x -a 'system target logicalunit portal lld session connection account' -d 'system (sys), target (tgt), logicalunit (lu), portal (pt), lld, session (sess), connection (conn) or account'
complete -c tgtadm -n '__tgtadm_takes t' -s t -l tid -x -d 'the target\'s number, 1 or more'
complete -c tgtadm -n '__tgtadm_takes s' -s s -l sid -x -d 'the session\'s number'
complete -c tgtadm -n '__tgtadm_takes c' -s c -l cid -x -d 'the connection\'s number'
complete -c tgtadm -n '__tgtadm_takes l' -s l -l lun -x -d 'the logical unit\'s number'
complete -c tgtadm -n '__tgtadm_takes n' -s n -l name -x -d 'the name of the parameter to change'
complete -c tgtadm -n '__tgtadm_takes v' -s v -l value -x -d 'the new value of the parameter'
complete -c tgtadm -n '__tgtadm_takes b' -s b -l backing-store -r -F -d 'the file or block device of a new logical unit'
complete -c tgtadm -n '__tgtadm_takes E' -s E -l bstype -x -d 'the type of backing store; `--mode system --op show` lists the types'
complete -c tgtadm -n '__tgtadm_takes S' -s S -l bsopts -x -d 'options for this type of backing store'
complete -c tgtadm -n '__tgtadm_takes f' -s f -l bsoflags -x -d 'flags for opening the backing store: sync, direct or sync:direct'
complete -c tgtadm -n '__tgtadm_takes y' -s y -l blocksize -x -d 'the logical block\'s size, a power of two from 512; default 512'
complete -c tgtadm -n '__tgtadm_takes T' -s T -l targetname -x -d 'the new target\'s name'
complete -c tgtadm -n '__tgtadm_takes I' -s I -l initiator-address -x -d 'the address or network (a.b.c.d/n) of initiators, or ALL'
complete -c tgtadm -n '__tgtadm_takes Q' -s Q -l initiator-name -x -d 'the iSCSI name of an initiator'
complete -c tgtadm -n '__tgtadm_takes u' -s u -l user -x -d 'an account\'s name'
complete -c tgtadm -n '__tgtadm_takes p' -s p -l password -x -d 'the secret (password) of the account'
complete -c tgtadm -n '__tgtadm_takes H' -s H -l host -x -d 'the number of a SCSI host; accepted as by tgt, iSCSI has none'
complete -c tgtadm -n '__tgtadm_takes F' -l force -d 'delete a target or logical unit that is in use, without waiting for its commands (after -F a word is required and ignored)'
complete -c tgtadm -n '__tgtadm_takes D' -s D -l drain -x -d 'like --force, but wait up to SECONDS for its commands to end'
complete -c tgtadm -n '__tgtadm_takes P' -s P -l params -x -d 'parameters of a logical unit; with --mode portal: portal=ADDRESS[:PORT]'
complete -c tgtadm -n '__tgtadm_takes B' -s B -l bus -x -d 'a SCSI host, by bus and device as below /sys/bus; accepted as by tgt'
complete -c tgtadm -n '__tgtadm_takes Y' -s Y -l device-type -x -a 'disk tape ssc cd changer osd pt' -d 'disk (default), tape, ssc, cd, changer, osd or pt'
complete -c tgtadm -n '__tgtadm_takes O' -l outgoing -d 'the account with which the target authenticates itself to initiators (after -O a word is required and ignored)'
complete -c tgtadm -n '__tgtadm_takes C' -s C -l control-port -x -d 'the number of the daemon\'s control socket, 0 (default) to 32767'
