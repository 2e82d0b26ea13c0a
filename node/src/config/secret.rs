//! Passwords: in the configuration itself or in a file beside it, and only such as can be used.

use std::path::{Path, PathBuf};

use super::{ConfigError, contradiction};

/// MySQL takes no longer one for a replica (ER_WRONG_STRING_LENGTH).
const REPLICATION_CHARACTERS_MAX: usize = 32;

/// A password's file as it is named: a relative path is one beside the configuration.
pub(super) fn beside(path: &Path, file: Option<PathBuf>) -> Option<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new(""));
    file.map(|file| folder.join(file))
}

/// One password of a configuration: `field` is its name there, `field_file` names the file.
pub(super) struct Secret<'a> {
    pub field: &'a str,
    pub given: bool,
    pub password: &'a mut String,
    pub file: Option<&'a PathBuf>,
    /// A replica logs in with it.
    pub replication: bool,
}

impl Secret<'_> {
    /// Reads it from its file, if it has one, and refuses what MySQL would refuse later.
    pub fn settle(self, path: &Path) -> Result<(), ConfigError> {
        let Secret {
            field,
            password,
            file,
            ..
        } = self;
        match (file, self.given) {
            (Some(_), true) => {
                let remedy = format!("give either {field} or {field}_file, not both");
                return contradiction(path, field, "(not shown)", &remedy);
            }
            (None, false) => {
                let remedy = format!("give {field}, or {field}_file with the path of a file");
                return contradiction(path, field, "", &remedy);
            }
            (None, true) => {}
            (Some(file), false) => {
                let text = std::fs::read_to_string(file);
                let text = text.or_else(|error| {
                    let field = format!("{field}_file");
                    let remedy = format!("cannot be read: {error}");
                    contradiction(path, &field, file.display(), &remedy)
                })?;
                let line = text.strip_suffix('\n').unwrap_or(&text);
                *password = line.strip_suffix('\r').unwrap_or(line).to_owned();
            }
        }
        if password.contains(char::is_control) {
            let remedy = "a password has no control characters, line breaks included";
            return contradiction(path, field, "(not shown)", remedy);
        }
        if self.replication && password.chars().count() > REPLICATION_CHARACTERS_MAX {
            let remedy = format!(
                "MySQL takes at most {REPLICATION_CHARACTERS_MAX} characters for the password of a \
                 replica"
            );
            return contradiction(path, field, "(not shown)", &remedy);
        }
        Ok(())
    }
}
