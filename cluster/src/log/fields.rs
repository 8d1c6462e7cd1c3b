//! Taking fields off the front of a slice.

/// The next `N` bytes.
pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk::<N>()?;
    *rest = left;
    Some(*taken)
}

/// The next number.
pub(super) fn number(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_le_bytes)
}

/// The next bytes, as many as the number before them says.
pub(super) fn blob<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take(rest).map(u32::from_le_bytes)?;
    let (taken, left) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = left;
    Some(taken)
}
