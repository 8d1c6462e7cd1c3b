//! Texts in the forms of Go's standard library, which pachctl's users type and read.

use std::io::{self, ErrorKind};
use std::time::Duration;

use base64::DecodeError;
use prost_types::Timestamp;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tonic::{Code, Status};

/// What Go says of a file that cannot be read.
pub(crate) fn open_error(path: &str, error: &io::Error) -> String {
    let reason = match error.kind() {
        ErrorKind::NotFound => "no such file or directory",
        ErrorKind::PermissionDenied => "permission denied",
        ErrorKind::IsADirectory => return format!("read {path}: is a directory"),
        ErrorKind::InvalidData => return format!("{path} is no text"),
        _ => return format!("open {path}: {error}"),
    };
    format!("open {path}: {reason}")
}

/// What Go's decoder says of text that is not base64.
pub(crate) fn base64_error(error: &DecodeError) -> String {
    let place = match error {
        DecodeError::InvalidByte(place, _) | DecodeError::InvalidLastSymbol(place, _) => *place,
        DecodeError::InvalidLength(length) => *length,
        DecodeError::InvalidPadding => return "illegal base64 padding".to_owned(),
    };
    format!("illegal base64 data at input byte {place}")
}

/// Reads a duration such as `300ms`, `1.5h` or `2h45m`.
///
/// # Errors
/// Go's text for what is wrong.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'));
        let (number, tail) = rest.split_at(number_end.unwrap_or(rest.len()));
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let amount: f64 = number.parse().map_err(|_| invalid())?;
        seconds += amount
            * match unit {
                "ns" => 1e-9,
                "us" | "µs" | "μs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "" => return Err(format!("time: missing unit in duration {text:?}")),
                _ => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
            };
        rest = tail;
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| invalid())
}

/// The time as Go prints it: `2030-12-31 00:00:00.072156 +0000 UTC`. No time is the epoch.
pub(crate) fn time_text(time: Option<&Timestamp>) -> String {
    let time = moment(time.copied().unwrap_or_default());
    let (date, clock) = (time.date(), time.time());
    let mut fraction = String::new();
    if time.nanosecond() != 0 {
        fraction = format!(".{:09}", time.nanosecond());
        fraction.truncate(fraction.trim_end_matches('0').len());
    }
    let (hour, minute, second) = clock.as_hms();
    format!("{date} {hour:02}:{minute:02}:{second:02}{fraction} +0000 UTC")
}

/// The time in RFC 3339, or `<nil>` as Go prints what is not set.
pub(crate) fn rfc3339_or_nil(time: Option<&Timestamp>) -> String {
    time.map_or_else(
        || "<nil>".to_owned(),
        |time| moment(*time).format(&Rfc3339).unwrap_or_else(|_| time_text(Some(time))),
    )
}

/// The time in RFC 822 as Go has it: `31 Dec 30 00:00 UTC`.
pub(crate) fn rfc822(time: &Timestamp) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let time = moment(*time);
    let month = MONTHS.get(usize::from(u8::from(time.month())) - 1).copied().unwrap_or_default();
    let (hour, minute, _) = time.time().as_hms();
    let year = time.year().rem_euclid(100);
    format!("{:02} {month} {year:02} {hour:02}:{minute:02} UTC", time.day())
}

/// The moment in UTC; what no calendar holds becomes the epoch.
fn moment(time: Timestamp) -> OffsetDateTime {
    let nanos = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// A failed call as Go prints it: `rpc error: code = NotFound desc = …`.
pub(crate) fn rpc_error(status: &Status) -> String {
    let code = match status.code() {
        Code::Cancelled => "Canceled".to_owned(),
        code => format!("{code:?}"),
    };
    format!("rpc error: code = {code} desc = {}", status.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        let read = |text: &str| parse_duration(text).map(|duration| duration.as_millis());
        assert_eq!(read("1h2m3.5s"), Ok(3_723_500));
        assert_eq!(read("300ms"), Ok(300));
        assert_eq!(read("0"), Ok(0));
        assert_eq!(read("+1m"), Ok(60_000));
        assert_eq!(read("abc"), Err("time: invalid duration \"abc\"".to_owned()));
        assert_eq!(read("-1s"), Err("time: invalid duration \"-1s\"".to_owned()));
        assert_eq!(read(""), Err("time: invalid duration \"\"".to_owned()));
        assert_eq!(read("5"), Err("time: missing unit in duration \"5\"".to_owned()));
        assert_eq!(read("5x"), Err("time: unknown unit \"x\" in duration \"5x\"".to_owned()));
        assert!(read(&format!("{}h", "9".repeat(300))).is_err());
    }

    #[test]
    fn times_are_gos() {
        let at = |seconds, nanos| Some(Timestamp { seconds, nanos });
        assert_eq!(time_text(at(1_924_905_600, 0).as_ref()), "2030-12-31 00:00:00 +0000 UTC");
        assert_eq!(
            time_text(at(1_621_622_256, 72_156_000).as_ref()),
            "2021-05-21 18:37:36.072156 +0000 UTC"
        );
        assert_eq!(time_text(None), "1970-01-01 00:00:00 +0000 UTC");
        assert_eq!(time_text(at(i64::MAX, 5).as_ref()), "1970-01-01 00:00:00 +0000 UTC");
        assert_eq!(
            rfc3339_or_nil(at(1_621_622_256, 72_156_000).as_ref()),
            "2021-05-21T18:37:36.072156Z"
        );
        assert_eq!(rfc3339_or_nil(None), "<nil>");
        assert_eq!(rfc822(&at(1_924_905_600, 0).unwrap_or_default()), "31 Dec 30 00:00 UTC");
    }

    #[test]
    fn failed_calls_are_gos() {
        assert_eq!(rpc_error(&Status::cancelled("x")), "rpc error: code = Canceled desc = x");
        assert_eq!(
            rpc_error(&Status::unimplemented("cluster ID is not unique")),
            "rpc error: code = Unimplemented desc = cluster ID is not unique"
        );
    }
}
