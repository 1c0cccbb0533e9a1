//! All lines are checked before the first command is published.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek};

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::fields::{self, Asked};
use super::input::{self, Line};
use crate::plain::plain;
use crate::proto::RefreshConnection;
use crate::refresh::Command;

/// The most lines of a batch. Of each about a hundred bytes are kept in memory.
const LINES_MAX: usize = 1_000_000;

/// How many bad lines are named; the others are counted.
const NAMED_MAX: usize = 20;

/// What an input holds.
pub(super) struct Checked {
    /// Each good line, in the order of the file.
    pub(super) lines: Vec<CheckedLine>,
    /// The file's SHA-256, in hexadecimal digits.
    pub(super) sha256: String,
    /// The first bad lines, each with its number and what is wrong.
    pub(super) bad: Vec<String>,
    /// How many bad lines there are.
    pub(super) bad_count: usize,
}

/// A line that can be published.
pub(super) struct CheckedLine {
    pub(super) number: u64,
    /// Distinguishes its command from any other.
    pub(super) digest: u128,
    pub(super) owner: Owner,
}

/// Distinguishes users and connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Owner(u128);

impl Owner {
    pub(super) fn of(user_id: &str, bank_connection_id: i64) -> Self {
        Self(short(&[user_id.as_bytes(), &bank_connection_id.to_be_bytes()].concat()))
    }
}

/// As long as a UUID: different bytes have different ones.
fn short(bytes: &[u8]) -> u128 {
    let digest = Sha256::digest(bytes);
    digest.iter().take(16).fold(0, |all, byte| all << 8 | u128::from(*byte))
}

pub(super) fn digest(asked: &Asked) -> u128 {
    use prost::Message as _;
    short(&[asked.command.encode_to_vec(), format!("{:?}", asked.lane).into_bytes()].concat())
}

/// Reads all of a file.
///
/// # Errors
///
/// It can't be read to its end, or has too many lines.
pub(super) fn check(file: &File) -> Result<Checked, String> {
    let mut checked = Checked {
        lines: Vec::new(),
        sha256: of_file(file).map_err(|error| format!("it can't be read: {error}"))?,
        bad: Vec::new(),
        bad_count: 0,
    };
    let mut seen = HashSet::new();
    let mut lines = input::open(file)?;
    while let Some(line) = lines.next()? {
        let number = line.number;
        match read(line) {
            Ok(asked) if !seen.insert((asked.command.command_id.clone(), owner(&asked.command))) => {
                checked.add_bad(
                    number,
                    "another line has this user and connection, and no other command_id",
                );
            }
            Ok(asked) => checked.lines.push(CheckedLine {
                number,
                digest: digest(&asked),
                owner: owner(&asked.command),
            }),
            Err(why) => checked.add_bad(number, &why),
        }
        if checked.lines.len() + checked.bad_count > LINES_MAX {
            return Err(format!("it has more than {LINES_MAX} lines; split it"));
        }
    }
    Ok(checked)
}

impl Checked {
    fn add_bad(&mut self, number: u64, why: &str) {
        self.bad_count += 1;
        if self.bad.len() < NAMED_MAX {
            self.bad.push(format!("line {number}: {}", plain(why)));
        }
    }
}

fn owner(command: &RefreshConnection) -> Owner {
    Owner::of(&command.user_id, command.bank_connection_id)
}

/// What a line asks for, if it is a command.
pub(super) fn read(line: Line) -> Result<Asked, String> {
    let asked = fields::asked(line.fields?)?;
    let mut command = asked.command.clone();
    if command.command_id.is_empty() {
        // It gets one when it is published.
        command.command_id = Uuid::nil().to_string();
    }
    Command::parse(command).map_err(|invalid| invalid.to_string())?;
    Ok(asked)
}

fn of_file(mut file: &File) -> io::Result<String> {
    file.rewind()?;
    sha256(&mut file)
}

/// In hexadecimal digits.
pub(super) fn sha256(file: &mut impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            count => hash.update(&buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn checked(text: &str) -> Checked {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        check(&file).expect("it can be read")
    }

    #[test]
    fn bad_lines_are_named_and_good_ones_are_kept() {
        let good = checked("user_id,bank_connection_id\nanna,1\nanna,2\n");
        assert_eq!(good.bad, Vec::<String>::new());
        assert_eq!(good.lines.iter().map(|line| line.number).collect::<Vec<_>>(), [2, 3]);
        let mixed =
            checked("user_id,bank_connection_id,max_age\nanna,1,4h\nanna,0,\n,2,\nanna,1,\nbob,1,soon\nanna,3,4h\n");
        assert_eq!(
            mixed.bad,
            [
                "line 3: bank_connection_id: must be greater than zero",
                "line 4: user_id: must have 1 to 36 characters that can be printed",
                "line 5: another line has this user and connection, and no other command_id",
                "line 6: max_age: must be a duration such as 4h",
            ]
        );
        assert_eq!(mixed.lines.iter().map(|line| line.number).collect::<Vec<_>>(), [2, 7]);
        assert_ne!(mixed.sha256, good.sha256);
    }

    #[test]
    fn only_the_first_bad_lines_are_kept() {
        let text = format!("user_id,bank_connection_id\n{}", "anna,none\n".repeat(1000));
        let all_bad = checked(&text);
        assert_eq!((all_bad.bad_count, all_bad.bad.len()), (1000, NAMED_MAX));
    }

    #[test]
    fn two_lines_for_one_connection_take_ids_of_their_own() {
        let id = |n: u32| format!("0198c0de-0000-7000-8000-00000000000{n}");
        let text = |second: &str| {
            format!(
                "command_id,user_id,bank_connection_id\n{},anna,1\n{second},anna,1\n",
                id(1)
            )
        };
        assert_eq!(checked(&text(&id(2))).bad_count, 0);
        assert_eq!(checked(&text(&id(1))).bad_count, 1);
        assert_eq!(checked(&text("ID")).bad_count, 1);
    }
}
