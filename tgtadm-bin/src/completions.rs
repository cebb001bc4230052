//! What shells complete for `tgtadm`: modes, the operations of a mode, and the options that go with both. Made from
//! the tables of options and rules, which no generator for parser crates knows; the files in `dist/completions` are
//! these texts, and a test holds them together.

use target_engine::control::wire::{Mode, Op};

use crate::options::{OPTIONS, Row};
use crate::rules;

/// The file for bash.
#[must_use]
pub fn bash() -> String {
    let values = valued().map(|row| {
        let words = match row.letter() {
            b'm' => format!("$(compgen -W '{}' -- \"$cur\")", modes()),
            b'o' => "$(compgen -W \"$ops\" -- \"$cur\")".to_owned(),
            b'Y' => format!("$(compgen -W '{DEVICE_TYPES}' -- \"$cur\")"),
            b'b' => "$(compgen -f -- \"$cur\")".to_owned(),
            _ => String::new(),
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
        let value = match (row.value(), row.letter()) {
            ("", _) => String::new(),
            (name, b'm') => format!(":{name}:({})", modes()),
            (name, b'o') => format!(":{name}:($ops)"),
            (name, b'Y') => format!(":{name}:({DEVICE_TYPES})"),
            (name, b'b') => format!(":{name}:_files"),
            (name, _) => format!(":{}: ", name.replace(':', "\\:")),
        };
        let about = row.about().replace(['[', ']', '"', '`'], "").replace(':', "\\:");
        let letter = char::from(row.letter());
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
        let value = match (row.value(), row.letter()) {
            ("", _) => String::new(),
            (_, b'm') => format!(" -x -a '{}'", modes()),
            (_, b'o') => " -x -a '(__tgtadm_ops)'".to_owned(),
            (_, b'Y') => format!(" -x -a '{DEVICE_TYPES}'"),
            (_, b'b') => " -r -F".to_owned(),
            _ => " -x".to_owned(),
        };
        let (letter, long) = (char::from(row.letter()), row.long());
        let short = if row.letter_differs() { String::new() } else { format!(" -s {letter}") };
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

/// Both forms of an option, the letter only where it means the same.
fn names(row: &Row) -> Vec<String> {
    let long = format!("--{}", row.long());
    if row.letter_differs() { vec![long] } else { vec![format!("-{}", char::from(row.letter())), long] }
}

fn valued() -> impl Iterator<Item = &'static Row> {
    OPTIONS.iter().filter(|row| !row.value().is_empty())
}

fn chosen(letters: &str) -> impl Iterator<Item = &'static Row> {
    OPTIONS.iter().filter(move |row| letters.contains(char::from(row.letter())))
}

fn all_letters() -> String {
    OPTIONS.iter().map(|row| char::from(row.letter())).collect()
}

fn modes() -> String {
    Mode::ALL.map(Mode::word).join(" ")
}

/// A mode's words, the short one too.
fn words(mode: Mode) -> Vec<&'static str> {
    let mut words = vec![mode.word()];
    words.extend(SHORT_MODES.into_iter().filter(|word| Mode::from_word(word) == Some(mode)));
    words
}

fn cases(modes: &[&str], op: &str) -> String {
    modes.iter().map(|mode| format!("{mode},{op}")).collect::<Vec<_>>().join("|")
}

/// One piece for each mode: its words, its operations.
fn per_mode(piece: impl Fn(&str, &str) -> String) -> String {
    let ops = |mode| Op::ALL.into_iter().filter(move |op| rules::letters(mode, *op).is_some()).map(Op::word);
    let pieces =
        Mode::ALL.map(|mode| piece(&words(mode).join("|"), &ops(mode).collect::<Vec<_>>().join(" ")));
    pieces.concat()
}

/// One piece for each operation there is: its mode's words, its word, the letters of its options.
fn per_operation(piece: impl Fn(&[&str], &str, &str) -> String) -> String {
    let all = Mode::ALL.into_iter().flat_map(|mode| Op::ALL.map(|op| (mode, op)));
    let found = all.filter_map(|(mode, op)| Some((words(mode), op.word(), rules::letters(mode, op)?)));
    found.map(|(words, op, letters)| piece(&words, op, &format!("d{letters}"))).collect()
}

const SHORT_MODES: [&str; 6] = ["sys", "tgt", "lu", "pt", "sess", "conn"];
const DEVICE_TYPES: &str = "disk tape cd changer osd pt";

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
