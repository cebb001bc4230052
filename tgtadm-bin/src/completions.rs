//! Shell completions for `tgtadm`: modes, the operations of a mode, and the options that both take. They are made from
//! the engine's tables of options and operations, which generators for parser crates cannot read. The files in
//! `dist/completions` are these texts; a test compares them.

use target_engine::control::grammar::{DEVICE_TYPES, Field, OPTIONS, Operation, OptionRow, Reading};
use target_engine::control::request::Key;
use target_engine::control::wire::{Form, Mode, Op};

/// The file for bash.
#[must_use]
pub fn bash() -> String {
    let values = valued().map(|row| {
        let words = match Values::of(row) {
            Values::Modes => format!("$(compgen -W '{}' -- \"$cur\")", modes()),
            Values::Ops => "$(compgen -W \"$ops\" -- \"$cur\")".to_owned(),
            Values::DeviceTypes => format!("$(compgen -W '{}' -- \"$cur\")", device_types()),
            Values::Files => "$(compgen -f -- \"$cur\")".to_owned(),
            Values::Any => String::new(),
        };
        format!("        {}) COMPREPLY=({words}); return ;;\n", names(row).join("|"))
    });
    let options = |letters: &str| chosen(letters).flat_map(names).collect::<Vec<_>>().join(" ");
    BASH.replace("@VALUES@", &values.collect::<String>())
        .replace("@OPS@", &per_mode(|mode, ops| format!("        {mode}) ops='{ops}' ;;\n")))
        .replace(
            "@RULES@",
            &per_operation(|modes, op, letters| {
                format!("        {}) words='{}' ;;\n", cases(modes, op), options(letters))
            }),
        )
        .replace("@ALL@", &options(&all_letters()))
        .replace("@EVERY_OP@", &Op::ALL.map(Op::word).join(" "))
}

/// The file for zsh.
#[must_use]
pub fn zsh() -> String {
    let specs = OPTIONS.iter().map(|row| {
        let value = match (row.value, Values::of(row)) {
            ("", _) => String::new(),
            (name, Values::Modes) => format!(":{name}:({})", modes()),
            (name, Values::Ops) => format!(":{name}:($ops)"),
            (name, Values::DeviceTypes) => format!(":{name}:({})", device_types()),
            (name, Values::Files) => format!(":{name}:_files"),
            (name, Values::Any) => format!(":{}: ", name.replace(':', "\\:")),
        };
        let about = row.about().replace(['[', ']', '"', '`'], "").replace(':', "\\:");
        let letter = char::from(row.short);
        let names = names(row);
        let forms: Vec<String> =
            names.iter().map(|name| format!("\"({}){name}[{about}]{value}\"", names.join(" "))).collect();
        format!("    [[ $letters == *{letter}* ]] && specs+=({})\n", forms.join(" "))
    });
    ZSH.replace("@SPECS@", &specs.collect::<String>())
        .replace("@OPS@", &per_mode(|mode, ops| format!("        ({mode}) ops='{ops}' ;;\n")))
        .replace(
            "@RULES@",
            &per_operation(|modes, op, letters| {
                format!("        ({}) letters={letters} ;;\n", cases(modes, op))
            }),
        )
        .replace("@ALL@", &all_letters())
        .replace("@EVERY_OP@", &Op::ALL.map(Op::word).join(" "))
}

/// The file for fish.
#[must_use]
pub fn fish() -> String {
    let lines = OPTIONS.iter().map(|row| {
        let value = match (row.value, Values::of(row)) {
            ("", _) => String::new(),
            (_, Values::Modes) => format!(" -x -a '{}'", modes()),
            (_, Values::Ops) => " -x -a '(__tgtadm_ops)'".to_owned(),
            (_, Values::DeviceTypes) => format!(" -x -a '{}'", device_types()),
            (_, Values::Files) => " -r -F".to_owned(),
            (_, Values::Any) => " -x".to_owned(),
        };
        let (letter, long) = (char::from(row.short), row.long);
        let short = if letter_differs(row) { String::new() } else { format!(" -s {letter}") };
        let about = row.about().replace('\'', "\\'");
        format!("complete -c tgtadm -n '__tgtadm_takes {letter}'{short} -l {long}{value} -d '{about}'\n")
    });
    FISH.replace("@LINES@", &lines.collect::<String>())
        .replace(
            "@OPS@",
            &per_mode(|mode, ops| {
                let (mode, ops) = (mode.replace('|', " "), ops.replace(' ', "\\n"));
                format!("        case {mode}\n            printf '{ops}\\n'\n")
            }),
        )
        .replace(
            "@RULES@",
            &per_operation(|modes, op, letters| {
                format!("        case {}\n            echo {letters}\n", cases(modes, op).replace('|', " "))
            }),
        )
        .replace("@ALL@", &all_letters())
        .replace("@EVERY_OP@", &Op::ALL.map(Op::word).join("\\n"))
}

/// The values that an option is completed with.
enum Values {
    Modes,
    Ops,
    DeviceTypes,
    Files,
    Any,
}

impl Values {
    fn of(row: &OptionRow) -> Self {
        match row.field {
            Field::Mode => Self::Modes,
            Field::Op => Self::Ops,
            Field::Number(_, Reading::DeviceType) => Self::DeviceTypes,
            Field::Text(Key::Path) => Self::Files,
            _ => Self::Any,
        }
    }
}

/// Whether the letter wants a value that the long name does not take.
fn letter_differs(row: &OptionRow) -> bool {
    row.short_takes_value != row.long_takes_value()
}

fn device_types() -> String {
    DEVICE_TYPES.map(|(word, _)| word).join(" ")
}

/// Both forms of an option, the letter only where it means the same.
fn names(row: &OptionRow) -> Vec<String> {
    let long = format!("--{}", row.long);
    if letter_differs(row) { vec![long] } else { vec![format!("-{}", char::from(row.short)), long] }
}

fn valued() -> impl Iterator<Item = &'static OptionRow> {
    OPTIONS.iter().filter(|row| !row.value.is_empty())
}

fn chosen(letters: &str) -> impl Iterator<Item = &'static OptionRow> {
    OPTIONS.iter().filter(move |row| letters.contains(char::from(row.short)))
}

fn all_letters() -> String {
    OPTIONS.iter().map(|row| char::from(row.short)).collect()
}

fn modes() -> String {
    Mode::ALL.map(Mode::word).join(" ")
}

/// A mode's words, the short one too.
fn words(mode: Mode) -> Vec<&'static str> {
    [Some(mode.word()), mode.short_word()].into_iter().flatten().collect()
}

fn cases(modes: &[&str], op: &str) -> String {
    modes.iter().map(|mode| format!("{mode},{op}")).collect::<Vec<_>>().join("|")
}

/// One piece for each mode: its words, its operations.
fn per_mode(piece: impl Fn(&str, &str) -> String) -> String {
    let pieces = Mode::ALL
        .map(|mode| piece(&words(mode).join("|"), &Operation::words(mode, Form::Text).replace(", ", " ")));
    pieces.concat()
}

/// One piece for each operation there is: its mode's words, its word, the letters of its options.
fn per_operation(piece: impl Fn(&[&str], &str, &str) -> String) -> String {
    let all = Mode::ALL.into_iter().flat_map(|mode| Operation::of_mode(mode, Form::Text));
    let letters = |operation: &Operation| -> String {
        let takes = |row: &&OptionRow| row.long == "debug" || operation.takes_option(row, Form::Text);
        OPTIONS.iter().filter(takes).map(|row| char::from(row.short)).collect()
    };
    let pieces = all.map(|operation| piece(&words(operation.mode), operation.op.word(), &letters(operation)));
    pieces.collect()
}

const BASH: &str = r#"# Completes the modes, operations and options of tgtadm.
_tgtadm() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} mode= op= ops= words= i
    for ((i = 1; i < COMP_CWORD - 1; i++)); do
        case ${COMP_WORDS[i]} in
        -m|--mode) mode=${COMP_WORDS[i+1]} ;;
        -o|--op) op=${COMP_WORDS[i+1]} ;;
        esac
    done
    case $mode in
@OPS@        *) ops='@EVERY_OP@' ;;
    esac
    case $prev in
@VALUES@    esac
    case $mode,$op in
@RULES@        *) words='@ALL@' ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -F _tgtadm tgtadm
"#;

const ZSH: &str = r#"#compdef tgtadm
# Completes the modes, operations and options of tgtadm.
_tgtadm() {
    local mode op ops letters i
    local -a specs
    for ((i = 2; i < CURRENT - 1; i++)); do
        case $words[i] in
        (-m|--mode) mode=$words[i+1] ;;
        (-o|--op) op=$words[i+1] ;;
        esac
    done
    case $mode in
@OPS@        (*) ops='@EVERY_OP@' ;;
    esac
    case $mode,$op in
@RULES@        (*) letters=@ALL@ ;;
    esac
@SPECS@    _arguments -s $specs
}
_tgtadm "$@"
"#;

const FISH: &str = r#"# Completes the modes, operations and options of tgtadm.
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
@OPS@        case '*'
            printf '@EVERY_OP@\n'
    end
end
function __tgtadm_letters
    switch (__tgtadm_value -m --mode),(__tgtadm_value -o --op)
@RULES@        case '*'
            echo @ALL@
    end
end
function __tgtadm_takes
    string match -q -- "*$argv[1]*" (__tgtadm_letters)
end
complete -c tgtadm -f
@LINES@"#;
