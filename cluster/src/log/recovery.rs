//! Reading a log back: the parts that chain, replayed from the oldest extent needed, and damage told
//! apart from an unfinished write.
//!
//! A part is written only when the one before it is on the disk for good. So one part at most, the
//! last, may be torn by a crash, and it was never acknowledged: it is dropped. A part that does not
//! match with a whole one of a higher sequence anywhere behind it was acknowledged: that is damage.

use std::collections::{BTreeMap, VecDeque};

use muster_hooks::mutant;

use super::{
    LoadedLog, LogDisk, LogEntry, LogError, LogMark,
    holdings::Holdings,
    part::{HEAD, SECTOR, Shape, damaged, decode, framed},
    record::{self, Record},
};

/// A stretch of the file in use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// From 1, in the order they came into use.
    pub(super) number: u64,
    /// Where in the file, counted in extents.
    pub(super) slot: u64,
    /// Whether it begins amid a commit.
    pub(super) continues: bool,
}

/// The last part of the log.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tail {
    /// Its sequence; 0 before the first.
    pub(super) sequence: u64,
    /// Its checksum.
    pub(super) crc: u32,
    /// Where in the newest extent it starts.
    pub(super) start: usize,
    /// Where in the newest extent the next one goes.
    pub(super) end: usize,
}

/// A log as it was found.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) shape: Shape,
    /// How many extents the file has.
    pub(super) slots: u64,
    /// The extents needed, without gaps; the last is written to.
    pub(super) live: VecDeque<Extent>,
    pub(super) tail: Tail,
    pub(super) holdings: Holdings,
    pub(super) loaded: LoadedLog,
}

/// Reads and verifies everything; nothing when the disk is empty, or of zeros as a crash amid the
/// log's birth leaves it.
pub(super) fn recover(disk: &dyn LogDisk) -> Result<Option<Recovered>, LogError> {
    let size = disk.size().map_err(reading)?;
    let mut head = vec![0; usize::try_from(size.min(SECTOR as u64)).unwrap_or(SECTOR)];
    disk.read_at(0, &mut head).map_err(reading)?;
    if is_zero(&head) && is_zero_from(disk, 0, size)? {
        return Ok(None);
    }
    let shape = Shape::decode(&head)?;
    let extent = shape.extent as u64;
    let slots = size.saturating_sub(HEAD) / extent;
    if slots == 0 || !is_zero_from(disk, HEAD + slots * extent, size)? {
        return Err(damaged("its file is cut short"));
    }
    let reader = Reader { disk, shape };
    let survey = reader.survey(slots)?;
    let (live, tail, replay) = match survey.newest {
        Some(newest) => reader.replay(&survey, newest)?,
        None => (VecDeque::new(), Tail { end: shape.extent, ..Tail::default() }, Replay::default()),
    };
    if survey.highest > tail.sequence && !mutant!(DamageCut) {
        return Err(damaged(format!(
            "part {} does not match its checksum, and part {} was written after it",
            tail.sequence + 1,
            survey.highest
        )));
    }
    let (holdings, loaded) = replay.finish()?;
    Ok(Some(Recovered { shape, slots, live, tail, holdings, loaded }))
}

struct Reader<'a> {
    disk: &'a dyn LogDisk,
    shape: Shape,
}

/// What lies where.
#[derive(Default)]
struct Survey {
    /// The extents whose first part is whole, by number.
    extents: BTreeMap<u64, Extent>,
    newest: Option<Extent>,
    /// The highest sequence of any whole part.
    highest: u64,
}

impl Reader<'_> {
    fn read(&self, slot: u64, content: &mut Vec<u8>) -> Result<(), LogError> {
        content.resize(self.shape.extent, 0);
        let offset = HEAD + slot * self.shape.extent as u64;
        self.disk.read_at(offset, content).map_err(reading)
    }

    /// Looks at every sector of every extent.
    fn survey(&self, slots: u64) -> Result<Survey, LogError> {
        let mut survey = Survey::default();
        let mut content = Vec::new();
        for slot in 0..slots {
            self.read(slot, &mut content)?;
            let mut at = 0;
            while let Some(rest) = content.get(at..).filter(|rest| !rest.is_empty()) {
                let Some(part) = decode(self.shape.name, rest) else {
                    at += SECTOR;
                    continue;
                };
                if at == 0 {
                    let number = part.header.extent;
                    let extent = Extent { number, slot, continues: !part.header.begins };
                    survey.extents.insert(number, extent);
                }
                survey.highest = survey.highest.max(part.header.sequence);
                at += framed(part.records.len());
            }
        }
        survey.newest = survey.extents.values().next_back().copied();
        Ok(survey)
    }

    /// Replays the extents from the oldest that the last part needs to `newest`.
    fn replay(
        &self,
        survey: &Survey,
        newest: Extent,
    ) -> Result<(VecDeque<Extent>, Tail, Replay), LogError> {
        let mut content = Vec::new();
        self.read(newest.slot, &mut content)?;
        let oldest = self.needed(newest, &content)?;
        let mut live = VecDeque::new();
        let mut replay = Replay::default();
        let mut tail = Tail::default();
        for number in oldest..=newest.number {
            let extent = survey.extents.get(&number).ok_or_else(|| {
                damaged(format!("extent {number} of {oldest} to {} is missing", newest.number))
            })?;
            self.read(extent.slot, &mut content)?;
            self.walk(number, &content, &mut tail, &mut replay)?;
            live.push_back(*extent);
        }
        Ok((live, tail, replay))
    }

    /// The oldest extent that the last part of the newest one needs.
    fn needed(&self, newest: Extent, content: &[u8]) -> Result<u64, LogError> {
        let mut needed = None;
        let mut before: Option<(u64, u32)> = None;
        let mut rest = content;
        while let Some(part) = decode(self.shape.name, rest) {
            let header = part.header;
            if header.extent != newest.number
                || before.is_some_and(|(sequence, crc)| {
                    header.sequence != sequence + 1 || header.previous != crc
                })
            {
                break;
            }
            needed = Some(header.needed);
            before = Some((header.sequence, part.crc));
            rest = rest.get(framed(part.records.len())..).unwrap_or_default();
        }
        needed
            .filter(|needed| *needed <= newest.number)
            .ok_or_else(|| damaged("its newest extent needs none"))
    }

    /// Replays the parts of one extent that chain to `tail`, and moves it on.
    fn walk(
        &self,
        number: u64,
        content: &[u8],
        tail: &mut Tail,
        replay: &mut Replay,
    ) -> Result<(), LogError> {
        let mut at = 0;
        while let Some(part) = content.get(at..).and_then(|rest| decode(self.shape.name, rest)) {
            let header = part.header;
            let follows = header.sequence == tail.sequence + 1 && header.previous == tail.crc;
            if header.extent != number || !(follows || replay.is_fresh()) {
                break;
            }
            if header.begins {
                replay.begin(number);
            }
            replay.extend(part.records, header.continues)?;
            let end = at + framed(part.records.len());
            *tail = Tail { sequence: header.sequence, crc: part.crc, start: at, end };
            at = end;
        }
        if at == 0 {
            return Err(damaged(format!(
                "extent {number} does not go on where the one before it ends"
            )));
        }
        Ok(())
    }
}

/// The log as it comes together from its records.
#[derive(Default)]
struct Replay {
    /// The records of the commit under way.
    records: Vec<u8>,
    /// The extent that it begins in.
    extent: u64,
    begun: bool,
    holdings: Option<Holdings>,
    /// One for each that is held.
    entries: VecDeque<LogEntry>,
}

impl Replay {
    fn is_fresh(&self) -> bool {
        !self.begun
    }

    /// A commit begins; of an unfinished one before it nothing counts.
    fn begin(&mut self, extent: u64) {
        self.records.clear();
        self.extent = extent;
        self.begun = true;
    }

    fn extend(&mut self, records: &[u8], continues: bool) -> Result<(), LogError> {
        if !self.begun {
            return Err(damaged("its oldest extent begins amid a commit"));
        }
        self.records.extend_from_slice(records);
        if continues {
            return Ok(());
        }
        let commit = std::mem::take(&mut self.records);
        let mut rest = commit.as_slice();
        while !rest.is_empty() {
            let record =
                record::next(&mut rest).ok_or_else(|| damaged("a part holds what is no record"))?;
            self.take(record)?;
        }
        if let Some(holdings) = &mut self.holdings {
            holdings.place(self.extent);
        }
        Ok(())
    }

    fn take(&mut self, record: Record) -> Result<(), LogError> {
        let Some(holdings) = &mut self.holdings else {
            let Record::Base(base) = record else {
                return Err(damaged("its oldest extent does not say what it stands on"));
            };
            self.holdings = Some(Holdings::at(base));
            return Ok(());
        };
        match record {
            Record::Base(base) if base == holdings.base => {}
            Record::Base(_) => {
                return Err(damaged("an extent stands on something else than was written"));
            }
            Record::Reset(mark) => holdings.reset(mark),
            Record::Entry(entry) => {
                let (index, last) = (entry.index, holdings.base.last);
                if !holdings.append(&entry) {
                    return Err(damaged(format!("entry {index} stands behind entry {last}")));
                }
                self.entries.truncate(holdings.count() - 1);
                self.entries.push_back(entry);
            }
            Record::HardState(hard_state) => holdings.base.hard_state = hard_state,
            Record::Conf(conf) => holdings.base.conf = Some(conf),
            Record::Compact(through) => {
                if !holdings.cut(through) {
                    let LogMark { index, .. } = through;
                    return Err(damaged(format!("it was cut at entry {index}, which is missing")));
                }
            }
        }
        let surplus = self.entries.len() - holdings.count();
        self.entries.drain(..surplus);
        Ok(())
    }

    fn finish(self) -> Result<(Holdings, LoadedLog), LogError> {
        let holdings = self.holdings.unwrap_or_default();
        if !holdings.is_whole() {
            return Err(damaged(format!(
                "of the entries {} to {} only the last {} are left",
                holdings.base.mark.index + 1,
                holdings.base.last,
                holdings.count()
            )));
        }
        let loaded = LoadedLog {
            mark: holdings.base.mark,
            entries: self.entries.into(),
            hard_state: holdings.base.hard_state,
            conf: holdings.base.conf.clone(),
        };
        Ok((holdings, loaded))
    }
}

/// Whether the disk holds nothing but zeros from `at` to its end.
fn is_zero_from(disk: &dyn LogDisk, mut at: u64, size: u64) -> Result<bool, LogError> {
    let mut content = vec![0; 64 * 1024];
    while at < size {
        let length = usize::try_from(size - at).unwrap_or(usize::MAX).min(content.len());
        content.truncate(length);
        disk.read_at(at, &mut content).map_err(reading)?;
        if !is_zero(&content) {
            return Ok(false);
        }
        at += length as u64;
    }
    Ok(true)
}

fn is_zero(content: &[u8]) -> bool {
    content.iter().all(|byte| *byte == 0)
}

fn reading(source: std::io::Error) -> LogError {
    LogError::Io { doing: "be read", source }
}
