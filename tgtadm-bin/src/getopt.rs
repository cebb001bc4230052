//! Options as the C library's `getopt_long` reads them: grouped short options, values attached or in the next
//! word, long options abbreviated as far as they stay unique, operands anywhere, `--` as the end.
//!
//! Scripts rely on this behaviour and on the wording of the refusals; no parser crate has all of it. Words are bytes: a
//! path need not be UTF-8.

/// One option: its letter, its long name, and which of the two forms takes a value.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The letter after one dash.
    pub short: u8,
    /// The name after two dashes.
    pub long: &'static str,
    /// Whether the letter takes a value.
    pub short_value: bool,
    /// Whether the long name takes a value.
    pub long_value: bool,
}

/// The next option or operand.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Item<'a> {
    /// An option by its letter, whichever form was used, and its value.
    Option(u8, Option<&'a [u8]>),
    /// A word that is not an option.
    Operand(&'a [u8]),
}

/// A word that is not an option, or is an incomplete one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Complaint {
    /// One line without its newline, starting with the program's name.
    pub text: Vec<u8>,
    /// The letters of the options that may have been meant.
    pub meant: Vec<u8>,
}

/// Walks over the words after the program's name.
#[derive(Clone, Debug)]
pub struct Getopt<'a> {
    specs: &'a [Spec],
    program: &'a [u8],
    words: std::slice::Iter<'a, Vec<u8>>,
    /// The letters of the current word that were not read yet.
    letters: &'a [u8],
    operands_only: bool,
    posixly_correct: bool,
}

impl<'a> Getopt<'a> {
    /// `arguments` start with the program's name, which complaints repeat. With `posixly_correct` the first
    /// operand ends the options.
    #[must_use]
    pub fn new(specs: &'a [Spec], arguments: &'a [Vec<u8>], posixly_correct: bool) -> Self {
        let (program, words) = arguments.split_first().map_or((&b"tgtadm"[..], &[][..]), |(p, w)| (p, w));
        Self { specs, program, words: words.iter(), letters: &[], operands_only: false, posixly_correct }
    }

    /// The next item, `None` at the end of the words.
    ///
    /// # Errors
    /// The first word that is wrong.
    pub fn next_item(&mut self) -> Result<Option<Item<'a>>, Complaint> {
        if !self.letters.is_empty() {
            return self.letter().map(Some);
        }
        let Some(word) = self.words.next() else {
            return Ok(None);
        };
        if self.operands_only {
            return Ok(Some(Item::Operand(word)));
        }
        match word.as_slice() {
            b"--" => {
                self.operands_only = true;
                self.next_item()
            }
            [b'-', b'-', long @ ..] => self.long(long).map(Some),
            [b'-', letters @ ..] if !letters.is_empty() => {
                self.letters = letters;
                self.letter().map(Some)
            }
            operand => {
                self.operands_only = self.posixly_correct;
                Ok(Some(Item::Operand(operand)))
            }
        }
    }

    fn letter(&mut self) -> Result<Item<'a>, Complaint> {
        let (letter, rest) = (self.letters[0], &self.letters[1..]);
        self.letters = rest;
        let Some(spec) = self.specs.iter().find(|spec| spec.short == letter) else {
            return Err(self.complaint(&[b"invalid option -- '", &[letter], b"'"], |_| true));
        };
        let this = |other: &Spec| other.short == letter;
        if !spec.short_value {
            return Ok(Item::Option(letter, None));
        }
        self.letters = &[];
        if !rest.is_empty() {
            return Ok(Item::Option(letter, Some(rest)));
        }
        match self.words.next() {
            Some(value) => Ok(Item::Option(letter, Some(value))),
            None => Err(self.complaint(&[b"option requires an argument -- '", &[letter], b"'"], this)),
        }
    }

    fn long(&mut self, word: &'a [u8]) -> Result<Item<'a>, Complaint> {
        let equals = word.iter().position(|byte| *byte == b'=');
        let (name, attached) = equals.map_or((word, None), |at| (&word[..at], Some(&word[at + 1..])));
        let spec = self.resolve(word, name)?;
        let this = |other: &Spec| other.short == spec.short;
        match (spec.long_value, attached) {
            (false, None) => Ok(Item::Option(spec.short, None)),
            (false, Some(_)) => {
                let parts: &[&[u8]] = &[b"option '--", spec.long.as_bytes(), b"' doesn't allow an argument"];
                Err(self.complaint(parts, this))
            }
            (true, Some(value)) => Ok(Item::Option(spec.short, Some(value))),
            (true, None) => match self.words.next() {
                Some(value) => Ok(Item::Option(spec.short, Some(value))),
                None => {
                    let parts: &[&[u8]] = &[b"option '--", spec.long.as_bytes(), b"' requires an argument"];
                    Err(self.complaint(parts, this))
                }
            },
        }
    }

    /// The option of this name, or the only one that starts with it.
    fn resolve(&self, word: &[u8], name: &[u8]) -> Result<Spec, Complaint> {
        let starting = || self.specs.iter().filter(|s| s.long.as_bytes().starts_with(name));
        if let Some(exact) = starting().find(|spec| spec.long.len() == name.len()) {
            return Ok(*exact);
        }
        match (starting().next(), starting().count()) {
            (Some(only), 1) => Ok(*only),
            (None, _) => Err(self.complaint(&[b"unrecognized option '--", word, b"'"], |_| true)),
            _ => {
                let candidates: String = starting().map(|spec| format!(" '--{}'", spec.long)).collect();
                let parts: &[&[u8]] =
                    &[b"option '--", word, b"' is ambiguous; possibilities:", candidates.as_bytes()];
                Err(self.complaint(parts, |spec| spec.long.as_bytes().starts_with(name)))
            }
        }
    }

    fn complaint(&self, parts: &[&[u8]], meant: impl Fn(&Spec) -> bool) -> Complaint {
        let meant = self.specs.iter().filter(|spec| meant(spec)).map(|spec| spec.short);
        Complaint { text: [self.program, b": ", &parts.concat()].concat(), meant: meant.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECS: &[Spec] = &[
        Spec { short: b'a', long: "alpha", short_value: false, long_value: false },
        Spec { short: b'b', long: "beta", short_value: true, long_value: true },
        Spec { short: b'B', long: "betamax", short_value: true, long_value: true },
        Spec { short: b'q', long: "quirk", short_value: true, long_value: false },
    ];

    /// Items as text, ending in the complaint if there is one.
    fn read(words: &[&str], posixly_correct: bool) -> Vec<String> {
        let arguments: Vec<Vec<u8>> =
            ["prog"].iter().chain(words).map(|word| word.as_bytes().to_vec()).collect();
        let mut getopt = Getopt::new(SPECS, &arguments, posixly_correct);
        let mut seen = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        loop {
            match getopt.next_item() {
                Ok(None) => return seen,
                Ok(Some(Item::Operand(word))) => seen.push(text(word)),
                Ok(Some(Item::Option(letter, None))) => seen.push(format!("-{}", char::from(letter))),
                Ok(Some(Item::Option(letter, Some(value)))) => {
                    seen.push(format!("-{}<{}>", char::from(letter), text(value)));
                }
                Err(complaint) => {
                    seen.push(text(&complaint.text));
                    return seen;
                }
            }
        }
    }

    #[test]
    fn words_and_letters() {
        #[rustfmt::skip]
        let cases: &[(&[&str], &[&str])] = &[
            (&["-a", "-b", "x"],              &["-a", "-b<x>"]),
            (&["-ab", "x", "y"],              &["-a", "-b<x>", "y"]),
            (&["-abx=y"],                     &["-a", "-b<x=y>"]),
            (&["-b", "--", "-a"],             &["-b<-->", "-a"]),
            (&["-b", ""],                     &["-b<>"]),
            (&["x", "-a", "-", "--", "-a"],   &["x", "-a", "-", "-a"]),
            (&["--alpha", "--be=1"],          &["-a", "prog: option '--be=1' is ambiguous; possibilities: '--beta' '--betamax'"]),
            (&["--beta=", "--betam", "-a"],   &["-b<>", "-B<-a>"]),
            (&["--alpha=1"],                  &["prog: option '--alpha' doesn't allow an argument"]),
            (&["--al="],                      &["prog: option '--alpha' doesn't allow an argument"]),
            (&["--beta"],                     &["prog: option '--beta' requires an argument"]),
            (&["-ab"],                        &["-a", "prog: option requires an argument -- 'b'"]),
            (&["-za"],                        &["prog: invalid option -- 'z'"]),
            (&["--zeta=1"],                   &["prog: unrecognized option '--zeta=1'"]),
            (&["--quirk", "-q", "v", "-qv"],  &["-q", "-q<v>", "-q<v>"]),
        ];
        for (words, expected) in cases {
            assert_eq!(read(words, false), *expected, "{words:?}");
        }
    }

    #[test]
    fn posixly_correct_stops_at_the_first_operand() {
        assert_eq!(read(&["-a", "x", "-a"], true), ["-a", "x", "-a"]);
        assert_eq!(read(&["-a", "x", "--nonsense"], true), ["-a", "x", "--nonsense"]);
        assert_eq!(
            read(&["x", "--nonsense"], false),
            ["x", "prog: unrecognized option '--nonsense'"],
            "operands do not end the options otherwise"
        );
    }
}
