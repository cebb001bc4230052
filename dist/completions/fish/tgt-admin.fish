complete -c tgt-admin -l update -d 'make the daemon equal to the file, changing only what differs; a failed target is rolled back' -r -f -a "ALL\t''
help\t''"
complete -c tgt-admin -l plan -d 'print what --update would do; exit code 3 if there are differences, else 0' -r -f -a "ALL\t''
help\t''"
complete -c tgt-admin -l delete -d 'delete targets' -r -f -a "ALL\t''
help\t''"
complete -c tgt-admin -l offline -d 'refuse new logins' -r -f -a "ALL\t''
help\t''"
complete -c tgt-admin -l ready -d 'accept logins again' -r -f -a "ALL\t''
help\t''"
complete -c tgt-admin -s C -l control-port -d 'the number of the daemon\'s control socket, 0 (default) to 32767' -r -f
complete -c tgt-admin -s c -l conf -d 'the configuration file (default /etc/tgt/targets.conf)' -r -F
complete -c tgt-admin -s e -l execute -d 'create the targets of the file that the daemon lacks, and delete those that the file lacks'
complete -c tgt-admin -s s -l show -d 'show all targets'
complete -c tgt-admin -l dump -d 'print the daemon\'s targets as a file for --execute, without passwords'
complete -c tgt-admin -l ignore-errors -d 'continue after errors of the daemon'
complete -c tgt-admin -s f -l force -d 'also change targets with sessions and export devices in use'
complete -c tgt-admin -s p -l pretend -d 'print the commands and send none'
complete -c tgt-admin -s v -l verbose -d 'print the commands that are sent'
complete -c tgt-admin -s V -l version -d 'print the version'
complete -c tgt-admin -s h -l help -d 'print this help'
