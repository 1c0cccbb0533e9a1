//! The lines of a batch: CSV with a header, or one JSON object a line. One line is read at a time, and none is longer than
//! [`LINE_BYTES_MAX`], so a file of any size takes little memory.

use std::io::{self, BufRead, BufReader, Read};

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::Value;

use super::fields::{self, Fields};
use crate::limits::COMMAND_BYTES_MAX;

/// The most bytes of a line. JSON and CSV write a command longer than protobuf does.
const LINE_BYTES_MAX: usize = 4 * COMMAND_BYTES_MAX;

/// The mark that some programs begin a UTF-8 file with.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A line that is not empty.
pub(super) struct Line {
    /// Its number in the file, from 1; where it begins, if a quoted cell has line breaks.
    pub(super) number: u64,
    /// What it says, or why it can't be read. Repeats nothing of it.
    pub(super) fields: Result<Fields, String>,
}

/// A file, line by line.
pub(super) enum Lines<R: BufRead> {
    Csv {
        reader: Box<csv::Reader<Capped<R>>>,
        columns: Vec<String>,
    },
    Json {
        reader: R,
        number: u64,
    },
}

impl<R: BufRead> Lines<R> {
    /// Finds out which of both it is, and reads the header.
    ///
    /// # Errors
    ///
    /// It can't be read, or the header has a column that is no field of a command.
    pub(super) fn open(mut reader: R) -> Result<Self, String> {
        let start = reader.fill_buf().map_err(unreadable)?;
        if start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff") {
            return Err("it is UTF-16; save it as UTF-8".to_owned());
        }
        let mark = if start.starts_with(BYTE_ORDER_MARK) {
            BYTE_ORDER_MARK.len()
        } else {
            0
        };
        reader.consume(mark);
        let start = reader.fill_buf().map_err(unreadable)?;
        match start.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => Ok(Self::Json { reader, number: 0 }),
            _ => Self::csv(reader),
        }
    }

    fn csv(mut reader: R) -> Result<Self, String> {
        let start = reader.fill_buf().map_err(unreadable)?;
        let header = start
            .split(|byte| *byte == b'\n')
            .find(|line| !line.trim_ascii().is_empty());
        let count = |wanted: u8| {
            header
                .unwrap_or_default()
                .iter()
                .filter(|byte| **byte == wanted)
                .count()
        };
        // What spreadsheets write where a comma is for decimals.
        let delimiter = if count(b';') > count(b',') { b';' } else { b',' };
        let capped = Capped::new(reader);
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .trim(csv::Trim::Headers)
            .from_reader(capped);
        let columns = match reader.headers() {
            Ok(header) => header.iter().map(str::to_owned).collect::<Vec<_>>(),
            Err(error) => return Err(format!("its header can't be read: {}", explain(&error))),
        };
        if columns.iter().all(String::is_empty) {
            return Err("it is empty; CSV begins with a line that names its columns".to_owned());
        }
        for (index, column) in columns.iter().enumerate() {
            fields::check_column(column)?;
            if columns[..index].contains(column) {
                return Err(format!("its header names the column {column:?} twice"));
            }
        }
        let reader = Box::new(reader);
        Ok(Self::Csv { reader, columns })
    }

    /// The next line that is not empty; none at the end.
    ///
    /// # Errors
    ///
    /// It can't be read any further.
    pub(super) fn next(&mut self) -> Result<Option<Line>, String> {
        match self {
            Self::Csv { reader, columns } => next_record(reader, columns),
            Self::Json { reader, number } => next_object(reader, number),
        }
    }
}

fn unreadable(error: io::Error) -> String {
    format!("it can't be read: {error}")
}

fn too_long(line: u64) -> String {
    format!("line {line}: longer than {LINE_BYTES_MAX} bytes; is a quote not closed?")
}

fn next_record<R: BufRead>(reader: &mut csv::Reader<Capped<R>>, columns: &[String]) -> Result<Option<Line>, String> {
    // The reader may have bytes of this line already.
    reader.get_mut().room = LINE_BYTES_MAX;
    let mut record = csv::ByteRecord::new();
    let read = reader.read_byte_record(&mut record);
    // The reader's own number is that of the empty lines before it.
    let breaks = record.as_slice().iter().filter(|byte| **byte == b'\n').count();
    let number = reader
        .position()
        .line()
        .saturating_sub(1 + u64::try_from(breaks).unwrap_or_default());
    match read {
        Ok(false) => Ok(None),
        Ok(true) => Ok(Some(Line {
            number,
            fields: cells(&record, columns),
        })),
        Err(error) => match error.kind() {
            csv::ErrorKind::UnequalLengths { .. } => Ok(Some(Line {
                number,
                fields: Err(explain(&error)),
            })),
            csv::ErrorKind::Io(io) if io.kind() == io::ErrorKind::FileTooLarge => {
                Err(too_long(record.position().map_or(number, csv::Position::line)))
            }
            _ => Err(format!("line {number}: {}", explain(&error))),
        },
    }
}

fn cells(record: &csv::ByteRecord, columns: &[String]) -> Result<Fields, String> {
    let cells = columns.iter().zip(record.iter().map(<[u8]>::trim_ascii));
    let cells = cells.filter(|(_, cell)| !cell.is_empty());
    let mut texts = Vec::new();
    for (column, cell) in cells {
        let text = std::str::from_utf8(cell).map_err(|_| format!("{column}: is not UTF-8"))?;
        texts.push((column.as_str(), text));
    }
    fields::of_cells(&texts)
}

/// The library's own words may repeat a cell.
fn explain(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("has {len} cells, and the header has {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "is not UTF-8".to_owned(),
        csv::ErrorKind::Io(error) => format!("can't be read: {error}"),
        _ => "is not CSV".to_owned(),
    }
}

fn next_object<R: BufRead>(reader: &mut R, number: &mut u64) -> Result<Option<Line>, String> {
    loop {
        let mut bytes = Vec::new();
        let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
        let read = (&mut *reader).take(limit).read_until(b'\n', &mut bytes);
        if read.map_err(unreadable)? == 0 {
            return Ok(None);
        }
        *number += 1;
        if bytes.len() == LINE_BYTES_MAX && !bytes.ends_with(b"\n") {
            return Err(too_long(*number));
        }
        let line = bytes.trim_ascii();
        if !line.is_empty() {
            return Ok(Some(Line {
                number: *number,
                fields: object(line),
            }));
        }
    }
}

/// An object whose names are there once.
fn object(json: &[u8]) -> Result<Fields, String> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Fields;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields, M::Error> {
            let mut fields = Fields::new();
            while let Some(entry) = map.next_entry::<String, Value>()? {
                fields.push(entry);
            }
            Ok(fields)
        }
    }
    let mut reader = serde_json::Deserializer::from_slice(json);
    let fields = reader
        .deserialize_map(Members)
        .and_then(|fields| reader.end().map(|()| fields));
    // The library's own words may repeat a value.
    let fields = fields.map_err(|error| match error.is_data() {
        true => "is no JSON object".to_owned(),
        false => format!("is no JSON: error in column {}", error.column()),
    })?;
    match fields
        .iter()
        .enumerate()
        .find(|(n, (name, _))| fields[..*n].iter().any(|(other, _)| other == name))
    {
        Some((_, (name, _))) => Err(format!("names {name:?} twice")),
        None => Ok(fields),
    }
}

/// Every line ends with a line feed and nothing else, the last one too: so the reader counts lines as people do. Ends with an error when
/// a line is too long.
pub(super) struct Capped<R> {
    inner: R,
    /// How many more bytes may be read.
    room: usize,
    /// A carriage return that may belong to a line's end.
    held: bool,
    is_in_line: bool,
}

impl<R: BufRead> Capped<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            room: LINE_BYTES_MAX,
            held: false,
            is_in_line: false,
        }
    }

    /// The next byte as it is to be read, if it is at hand.
    fn step(&mut self, byte: Option<u8>) -> (Option<u8>, bool) {
        match (std::mem::take(&mut self.held), byte) {
            (true, byte) if byte != Some(b'\n') => (Some(b'\r'), false),
            (_, Some(b'\r')) => {
                self.held = true;
                (None, true)
            }
            (_, None) if self.is_in_line => (Some(b'\n'), false),
            (_, byte) => (byte, true),
        }
    }
}

impl<R: BufRead> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.room == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let most = buffer.len().min(self.room);
        let mut written = 0;
        while written < most {
            let byte = self.inner.fill_buf()?.first().copied();
            let (next, is_used) = self.step(byte);
            if let Some(next) = next {
                buffer[written] = next;
                written += 1;
                self.is_in_line = next != b'\n';
            }
            if is_used && byte.is_some() {
                self.inner.consume(1);
            }
            if byte.is_none() && next.is_none() {
                break;
            }
        }
        self.room -= written;
        Ok(written)
    }
}

/// A file from its beginning.
pub(super) fn open(file: &std::fs::File) -> Result<Lines<BufReader<std::fs::File>>, String> {
    use std::io::Seek as _;
    let mut file = file.try_clone().map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;
    Lines::open(BufReader::new(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Vec<Line>, String> {
        let mut lines = Lines::open(text)?;
        let mut all = Vec::new();
        while let Some(line) = lines.next()? {
            all.push(line);
        }
        Ok(all)
    }

    /// The number of each line, and its user or what is wrong.
    fn users(text: &[u8]) -> Vec<(u64, String)> {
        let lines = read(text).expect("lines");
        let user = |line: Line| match line.fields {
            Ok(fields) => fields
                .into_iter()
                .find(|(name, _)| name == "user_id")
                .map(|(_, value)| value.to_string()),
            Err(why) => Some(why),
        };
        lines
            .into_iter()
            .map(|line| (line.number, user(line).unwrap_or_default()))
            .collect()
    }

    #[test]
    fn both_forms_are_read_with_marks_empty_lines_and_any_line_ends() {
        let anna = |number| (number, "\"anna\"".to_owned());
        let bob = |number| (number, "\"bob\"".to_owned());
        for (text, expected) in [
            ("user_id,bank_connection_id\nanna,1\nbob,2\n", vec![anna(2), bob(3)]),
            (
                "\u{feff}user_id,bank_connection_id\r\nanna,1\r\n\r\nbob,2",
                vec![anna(2), bob(4)],
            ),
            ("\n\nuser_id ; bank_connection_id\n anna ; 1\n", vec![anna(4)]),
            (
                "user_id,labels.a\nanna,\"one\ntwo\"\nbob,three\n",
                vec![anna(2), bob(4)],
            ),
            ("{\"user_id\":\"anna\"}\n{\"user_id\":\"bob\"}", vec![anna(1), bob(2)]),
            (
                "\u{feff}{\"user_id\":\"anna\"}\r\n \r\n\n{\"user_id\":\"bob\"}\r\n",
                vec![anna(1), bob(4)],
            ),
        ] {
            assert_eq!(users(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named_and_not_repeated() {
        let is = |text: &[u8], number: u64, why: &str| {
            let bad: Vec<_> = users(text).into_iter().filter(|(_, what)| what.contains(' ')).collect();
            assert_eq!(bad, [(number, why.to_owned())]);
        };
        is(
            b"user_id,bank_connection_id\nanna,1\nbob\ncarl,3\n",
            3,
            "has 1 cells, and the header has 2",
        );
        is(b"user_id\nanna\nM\xfcller\n", 3, "user_id: is not UTF-8");
        is(
            b"{\"user_id\":\"anna\"}\n{\"access_token\":\"s3cret\n",
            2,
            "is no JSON: error in column 23",
        );
        is(b"{\"user_id\":\"anna\"}\n[\"s3cret\"]\n", 2, "is no JSON object");
        is(
            b"{\"user_id\":\"anna\",\"user_id\":\"s3cret\"}\n",
            1,
            "names \"user_id\" twice",
        );
        is(b"{\"user_id\":\"anna\"} {}\n", 1, "is no JSON: error in column 20");
    }

    #[test]
    fn what_is_no_batch_is_refused_at_once() {
        let why = |text: &[u8]| read(text).err().unwrap_or_default();
        assert!(why(b"").contains("it is empty"));
        assert!(why(b"\xff\xfeu\0").contains("UTF-16"));
        assert!(why(b"user_id,user_id\n").contains("twice"));
        assert!(why(b"user,bank_connection_id\n").contains("no field"));
        // A quote that is not closed, and a line without an end, take no more memory than a line may have.
        let endless = "x".repeat(3 * LINE_BYTES_MAX);
        let csv = format!("user_id,labels.a\nanna,1\nbob,\"{endless}");
        assert!(
            why(csv.as_bytes()).starts_with("line 3: longer than"),
            "{}",
            why(csv.as_bytes())
        );
        let json = format!("{{\"user_id\":\"anna\"}}\n{{\"user_id\":\"{endless}");
        assert!(why(json.as_bytes()).starts_with("line 2: longer than"));
    }
}
