//! Reads single values: spans, versions, named addresses.

use std::time::Duration;

use crate::api::Rate;

/// Reads `150ms`, `30s`, `10m`, `2h` or `400d`.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let wrong = || "is no span of time, such as 150ms, 30s or 10m".to_owned();
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs).ok_or_else(wrong),
        "h" => number.checked_mul(3600).map(Duration::from_secs).ok_or_else(wrong),
        "d" => number.checked_mul(86_400).map(Duration::from_secs).ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

/// Reads `NAME=COUNT/SPAN` or `NAME=off`.
pub(super) fn rate(text: &str) -> Result<(&str, Option<Rate>), String> {
    let wrong =
        || "is not of the form NAME=COUNT/SPAN or NAME=off, such as token=100/10m".to_owned();
    let (name, rate) = text.split_once('=').ok_or_else(wrong)?;
    if rate == "off" {
        return Ok((name, None));
    }
    let (count, over) = rate.split_once('/').ok_or_else(wrong)?;
    let count: u32 = count.parse().map_err(|_| wrong())?;
    let span = span(over)?;
    if count == 0 || span.is_zero() {
        return Err("must allow at least one in a span that is longer than nothing".to_owned());
    }
    Ok((name, Some(Rate { count, span })))
}

/// Checks `HOST:PORT`.
pub(super) fn address(text: &str) -> Result<(), String> {
    named_address(&format!("name={text}"))
        .map(drop)
        .map_err(|_| "is not of the form HOST:PORT".to_owned())
}

/// Reads `NAME=HOST:PORT`.
pub(super) fn named_address(text: &str) -> Result<(String, String), String> {
    let wrong = || "is not of the form NAME=HOST:PORT".to_owned();
    let (name, address) = text.split_once('=').ok_or_else(wrong)?;
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    port.parse::<u16>().map_err(|_| wrong())?;
    if name.is_empty() || host.is_empty() {
        return Err(wrong());
    }
    Ok((name.to_owned(), address.to_owned()))
}

/// Reads `MAJOR.MINOR.MICRO` and whatever follows.
pub(super) fn version(text: &str) -> Result<(u32, u32, u32, String), String> {
    let wrong = || "is no version, such as 2.11.6".to_owned();
    let mut parts = text.splitn(3, '.');
    let mut number = || parts.next().ok_or_else(wrong);
    let (major, minor, rest) = (number()?, number()?, number()?);
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (micro, additional) = rest.split_at(digits);
    let parse = |digits: &str| digits.parse::<u32>().map_err(|_| wrong());
    Ok((parse(major)?, parse(minor)?, parse(micro)?, additional.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_units() {
        assert_eq!(span("150ms"), Ok(Duration::from_millis(150)));
        assert_eq!(span("2h"), Ok(Duration::from_hours(2)));
        assert_eq!(span("2d"), Ok(Duration::from_hours(48)));
        for bad in ["", "5", "s", "5 s", "-1s", "99999999999999999999s", "18446744073709551615h"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_have_a_name_and_may_be_off() {
        let ten = Rate { count: 10, span: Duration::from_mins(5) };
        assert_eq!(rate("token=10/5m"), Ok(("token", Some(ten))));
        assert_eq!(rate("token=off"), Ok(("token", None)));
        for bad in ["", "token", "token=", "token=10", "token=0/1m", "token=1/0s", "token=-1/1m"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn named_addresses_have_three_parts() {
        assert_eq!(named_address("a=[::1]:5"), Ok(("a".into(), "[::1]:5".into())));
        for bad in ["", "a", "a=", "a=b", "a=b:", "=b:1", "a=:1", "a=b:66000"] {
            assert!(named_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_may_go_on_after_three_numbers() {
        assert_eq!(version("2.11.6"), Ok((2, 11, 6, String::new())));
        assert_eq!(version("2.12.0-rc.3"), Ok((2, 12, 0, "-rc.3".into())));
        for bad in ["", "2", "2.11", "2.11.x", "v2.11.6"] {
            assert!(version(bad).is_err(), "{bad}");
        }
    }
}
