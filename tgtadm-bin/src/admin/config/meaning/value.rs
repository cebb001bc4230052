//! Values of directives and the checks on them.

use target_engine::model::account::IscsiName;

use crate::admin::config::{ConfigError, EntryItem, Location, PASSWORD_PLACEHOLDER, directives};

/// The value of a directive and the line that has it; `None` for a directive without a value.
#[derive(Clone, Debug)]
pub(super) struct DirectiveValue {
    pub(super) location: Location,
    pub(super) value: Option<String>,
}

/// A CHAP account.
#[derive(Clone, Eq)]
pub struct Account {
    /// The account's name.
    pub user: String,
    /// The password in clear text, as in the file.
    pub password: String,
    /// The initiators that may use it, as iSCSI names; empty: any.
    pub names: Vec<String>,
    /// The line that has the account.
    pub location: Location,
}

/// Compares everything but the location.
impl PartialEq for Account {
    fn eq(&self, other: &Self) -> bool {
        (&self.user, &self.password, &self.names) == (&other.user, &other.password, &other.names)
    }
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Account {
    /// The error if `other` gives the same account another password.
    pub(super) fn conflict_with(&self, other: &Self) -> Option<ConfigError> {
        let differs = self.user == other.user && self.password != other.password;
        differs.then(|| ConfigError {
            location: self.location.clone(),
            text: format!(
                "account {} has another password at {}; an account has one password, wherever it is used",
                self.user, other.location
            ),
        })
    }
}

/// The warning for a directive that does not exist, with the directive that its author may have meant.
pub(super) fn unknown_directive(key: &str, location: Location) -> ConfigError {
    let suggestion = directives::suggestion(key).map(|known| format!(" ({known})")).unwrap_or_default();
    ConfigError { location, text: format!("'{key}' is not a directive here and is ignored{suggestion}") }
}

/// The warning for a value that a `#` directly after a character cut off, if another file, account or initiator results.
/// It does not repeat the value, which may be a password.
pub(super) fn cut_value(key: &str, location: &Location) -> Option<ConfigError> {
    let text = format!(
        "'{key}': the '#' begins a comment though no space precedes it, and the value ends there; write '\\#' for a '#'"
    );
    directives::CUT_MATTERS.contains(&key).then(|| ConfigError { location: location.clone(), text })
}

/// The value of a directive that is not a block.
///
/// # Errors
/// The directive is written as a block.
pub(super) fn single_value(
    key: &str,
    location: Location,
    item: EntryItem,
) -> Result<DirectiveValue, ConfigError> {
    match item {
        EntryItem::Value(value) => Ok(DirectiveValue { location, value }),
        EntryItem::Block(_) => {
            Err(ConfigError { location, text: format!("'{key}' is not a block; write '{key} VALUE'") })
        }
    }
}

/// The location and the value of a directive.
///
/// # Errors
/// The value is missing or empty.
pub(super) fn required_value(key: &str, given: DirectiveValue) -> Result<(Location, String), ConfigError> {
    let DirectiveValue { location, value } = given;
    match value.filter(|value| !value.is_empty()) {
        Some(value) => Ok((location, value)),
        None => Err(ConfigError { location, text: format!("Option {key} has a missing value!") }),
    }
}

/// Checks a value that is sent in a list that is separated by commas.
///
/// # Errors
/// The value contains a comma: the daemon would read the part before it only.
pub(super) fn check_no_comma(key: &str, location: &Location, value: &str) -> Result<(), ConfigError> {
    if !value.contains(',') {
        return Ok(());
    }
    let text = format!("'{key} {value}': the daemon splits requests at commas; the value cannot contain one");
    Err(ConfigError { location: location.clone(), text })
}

/// Parses `NAME PASSWORD`, and further words as the names of initiators where `takes_names`; elsewhere they are ignored
/// with a warning.
///
/// # Errors
/// The name or the password is missing, the name contains a comma, the password is empty, or a further word is not an
/// iSCSI name.
pub(super) fn parse_account(
    key: &str,
    given: DirectiveValue,
    takes_names: bool,
    warnings: &mut Vec<ConfigError>,
) -> Result<Account, ConfigError> {
    let (location, value) = required_value(key, given)?;
    let mut words = value.split_whitespace();
    let (Some(user), Some(password)) = (words.next(), words.next()) else {
        let text = format!("Option {key} has a missing value! Write '{key} NAME PASSWORD'.");
        return Err(ConfigError { location, text });
    };
    check_no_comma(key, &location, user)?;
    if ["\"\"", "''"].contains(&password) {
        return Err(ConfigError { location, text: format!("'{key} {user}' has an empty password") });
    }
    if password == PASSWORD_PLACEHOLDER {
        let text = format!("'{key} {user}' has the placeholder of --dump as its password, which is public");
        warnings.push(ConfigError { location: location.clone(), text });
    }
    let mut names = Vec::new();
    if takes_names {
        for name in words {
            let wrong = |error| ConfigError {
                location: location.clone(),
                text: format!(
                    "'{key} {user}' takes iSCSI names of initiators after the password; '{name}': {error}"
                ),
            };
            names.push(IscsiName::parse(name).map_err(wrong)?.normalized().to_owned());
        }
    } else if words.next().is_some() {
        let text = format!("'{key}' takes a name and a password; the words after them are ignored");
        warnings.push(ConfigError { location: location.clone(), text });
    }
    Ok(Account { user: user.to_owned(), password: password.to_owned(), names, location })
}
