//! Words that the project's texts and names do without.

use super::{files, none};

/// A word with its inflections, what to write for it, and where it has its ordinary meaning.
struct Word {
    forms: &'static [&'static str],
    instead: &'static str,
    allowed_in: &'static [&'static str],
}

const fn word(forms: &'static [&'static str], instead: &'static str) -> Word {
    Word { forms, instead, allowed_in: &[] }
}

/// Several words of a form are separated by a blank.
const WORDS: [Word; 13] = [
    word(&["whom"], "name the thing"),
    word(&["lest"], "so that … not"),
    word(&["elder", "elders"], "previous, older"),
    word(&["anew"], "again"),
    word(&["knock", "knocks", "knocked", "knocking"], "request"),
    word(&["farewell", "farewells"], "drain"),
    word(&["last word", "last words"], "final responses, drain"),
    word(&["pulse", "pulses"], "check of hangs"),
    // Options have letters, and a text has capital ones.
    Word {
        forms: &["letter", "letters"],
        instead: "message",
        allowed_in: &["tgtadm-bin/", "docs/man/", "dist/completions/"],
    },
    word(&["house", "houses"], "workspace, module"),
    word(&["hall", "halls"], "module"),
    word(&["shelf", "shelves"], "module, directory"),
    word(&["stock", "stocks"], "tgt, upstream tgt"),
];

/// The words of a line in lower case; identifiers are split at underscores and before capitals.
fn words(line: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut before = ' ';
    for character in line.chars() {
        if character.is_alphabetic() {
            let begins = !before.is_alphabetic() || before.is_lowercase() && character.is_uppercase();
            if begins {
                found.push(String::new());
            }
            if let Some(word) = found.last_mut() {
                word.extend(character.to_lowercase());
            }
        }
        before = character;
    }
    found
}

/// The rows of `WORDS` that a line of the file breaks.
fn breaches_of(path: &str, line: &str) -> Vec<&'static Word> {
    let words = words(line);
    let has = |form: &str| {
        let form: Vec<&str> = form.split(' ').collect();
        words.windows(form.len()).any(|window| window == form)
    };
    let banned = |word: &&Word| {
        !word.allowed_in.iter().any(|place| path.starts_with(place))
            && word.forms.iter().any(|form| has(form))
    };
    WORDS.iter().filter(banned).collect()
}

/// Man pages, unit files, scripts and examples have no common ending: below `dist` and `docs` every file is read.
fn texts() -> Vec<(String, String)> {
    let mut texts = files(&[""]);
    texts.retain(|(path, _)| {
        path.ends_with(".rs")
            || path.ends_with(".md")
            || path.starts_with("dist/")
            || path.starts_with("docs/")
    });
    texts
}

#[test]
fn texts_and_names_use_plain_words() {
    let mut breaches = Vec::new();
    for (path, text) in texts() {
        if path == "tests/tests/tidy/words.rs" {
            continue;
        }
        for (number, line) in std::iter::once((0, path.as_str())).chain((1..).zip(text.lines())) {
            let found = breaches_of(&path, line);
            breaches.extend(
                found
                    .iter()
                    .map(|word| format!("{path}:{number}: {} (write: {})", line.trim(), word.instead)),
            );
        }
    }
    none("words that are not plain", &breaches);
}

#[test]
fn words_are_found_whole_in_prose_and_in_names() {
    let found = |line: &str| breaches_of("a.rs", line).iter().map(|word| word.forms[0]).collect::<Vec<_>>();
    assert_eq!(found("/// The house of whom?"), ["whom", "house"]);
    assert_eq!(found("const LAST_WORDS: LoopLetter = feel_pulses();"), ["last word", "pulse", "letter"]);
    assert_eq!(found("its last reply's words; blocklest, household, shallow, stocking"), [""; 0]);
    assert!(breaches_of("tgtadm-bin/src/args.rs", "an option's letter").is_empty());
}
