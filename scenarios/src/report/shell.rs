//! Words as a shell takes them: what a report tells people to type can be pasted.

use std::borrow::Cow;

/// `word` as one word of a POSIX shell: itself, if no character of it means anything there.
#[must_use]
pub fn shell_quoted(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:=@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::shell_quoted;

    #[test]
    fn only_what_needs_quotes_gets_them() {
        for plain in ["hotattach/3", "../my-plan_2.kdl", "größe.kdl"] {
            assert_eq!(shell_quoted(plain), plain);
        }
        let rows = [
            ("", "''"),
            ("a dir/my plan.kdl", "'a dir/my plan.kdl'"),
            ("it's.kdl", r"'it'\''s.kdl'"),
            ("$HOME.kdl", "'$HOME.kdl'"),
            ("~/x;y\n", "'~/x;y\n'"),
        ];
        for (word, quoted) in rows {
            assert_eq!(shell_quoted(word), quoted);
        }
    }
}
