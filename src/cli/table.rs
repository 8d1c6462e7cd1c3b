//! Tables for people: capital headers, two blanks between columns, no borders.

/// Lines up `rows` below `header`; the last column is not padded.
pub(super) fn table<const COLUMNS: usize>(
    header: [&str; COLUMNS],
    rows: &[[String; COLUMNS]],
) -> String {
    let mut widths = header.map(|name| name.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = line(header.into_iter(), widths);
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str), widths));
    }
    text
}

fn line<'a, const COLUMNS: usize>(
    cells: impl Iterator<Item = &'a str>,
    widths: [usize; COLUMNS],
) -> String {
    let cells: Vec<_> = cells.zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
    format!("{}\n", cells.join("  ").trim_end())
}

/// `name: value` lines with the values lined up.
pub(super) fn sheet(lines: &[(&str, String)]) -> String {
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0) + 1;
    let mut text = String::new();
    for (name, value) in lines {
        let line = format!("{:width$} {value}", format!("{name}:"));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// What is not known or does not apply.
pub(super) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// A span of time in its two largest units: `5s`, `3h12m`, `42d`.
pub(super) fn span(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 => format!("{milliseconds}ms"),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "b".to_owned()], ["longer".to_owned(), String::new()]];
        assert_eq!(table(["ID", "STATE"], &rows), "ID      STATE\na       b\nlonger\n");
        assert_eq!(
            sheet(&[("id", "1".to_owned()), ("name", "n".to_owned())]),
            "id:   1\nname: n\n"
        );
    }

    #[test]
    fn spans_have_at_most_two_units() {
        let table = [(12, "12ms"), (5_000, "5s"), (61_000, "1m01s"), (11_520_000, "3h12m")];
        for (milliseconds, text) in table {
            assert_eq!(span(milliseconds), text);
        }
        assert_eq!(span(42 * 86_400_000), "42d");
    }
}
