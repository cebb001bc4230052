complete -c tgt-admin -l update -d 'make the daemon what the file says, changing what differs and nothing else; undone where a step fails' -r -f -a "ALL\t''
help\t''"
complete -c tgt-admin -l plan -d 'print what --update would do; exit code 3 when that is something, 0 when it is nothing' -r -f -a "ALL\t''
help\t''"
complete -c tgt-admin -l delete -d 'delete targets' -r -f -a "ALL\t''
help\t''"
complete -c tgt-admin -l offline -d 'let nobody log in' -r -f -a "ALL\t''
help\t''"
complete -c tgt-admin -l ready -d 'let initiators log in again' -r -f -a "ALL\t''
help\t''"
complete -c tgt-admin -s C -l control-port -d 'which daemon: 0 (default) to 32767' -r -f
complete -c tgt-admin -s c -l conf -d 'the file (default /etc/tgt/targets.conf)' -r -F
complete -c tgt-admin -s e -l execute -d 'make the targets of the file that the daemon lacks, and delete those that the file lacks'
complete -c tgt-admin -s s -l show -d 'show all targets'
complete -c tgt-admin -l dump -d 'print the daemon\'s targets as a file for --execute; passwords are not known'
complete -c tgt-admin -l ignore-errors -d 'go on where the daemon refuses'
complete -c tgt-admin -s f -l force -d 'also targets with sessions, also devices in use'
complete -c tgt-admin -s p -l pretend -d 'print the commands and do nothing'
complete -c tgt-admin -s v -l verbose -d 'print the commands'
complete -c tgt-admin -s h -l help -d 'print this help'
