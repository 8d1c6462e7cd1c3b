//! The real store on the simulated disk, without any replica around it.

use bytes::Bytes;
use muster_cluster::log::{HardState, LogBatch, LogEntry, LogMark, LogStore};

use crate::chance::Chance;
use crate::disk::Disk;
use crate::shadow::{Model, Shadow};

fn batch(chance: &mut Chance, model: &Model, term: u64) -> LogBatch {
    let last = model.last_index();
    let first = chance.between((last.saturating_sub(3)).max(model.mark.index + 1), last + 1);
    let entries = (first..first + chance.between(0, 5))
        .map(|index| LogEntry {
            index,
            term,
            data: Bytes::from(vec![7; chance.place(2000)]),
            ..LogEntry::default()
        })
        .collect();
    let hard_state = chance.coin().then_some(HardState { term, vote: 1, commit: model.mark.index });
    LogBatch { entries, hard_state, sync: chance.permille(700), ..LogBatch::default() }
}

fn live(seed: u64) {
    let mut chance = Chance::stream(seed, "store");
    let disk = Disk::default();
    let fence = Disk::default();
    let mut shadow = Shadow::default();
    let mut term = 0;
    for _ in 0..20 {
        let mut store = disk.open_log(&fence).unwrap();
        let found = Model::of(&store.load().unwrap());
        assert!(shadow.admits(&found), "seed {seed}");
        shadow.recovered(found.clone());
        let mut memory = found;
        let lives = chance.below(12);
        for step in 0..=lives {
            term += 1;
            if step == lives {
                disk.fail_after(chance.below(2));
            }
            if chance.permille(150) && memory.last_index() > memory.mark.index {
                let index = chance.between(memory.mark.index + 1, memory.last_index());
                let through = LogMark { index, term: memory.get(index).unwrap().term };
                memory.compact(through);
                shadow.compacting(through);
                shadow.trying(1);
                if store.compact(through).is_ok() {
                    shadow.wrote(false);
                }
            } else {
                let batch = batch(&mut chance, &memory, term);
                memory.write(&batch);
                shadow.writing(&batch);
                shadow.trying(1);
                if store.write(std::slice::from_ref(&batch)).is_ok() {
                    shadow.wrote(batch.sync);
                }
            }
        }
        disk.cut_power();
        drop(store);
        if chance.coin() {
            disk.restore_power(&mut chance);
            fence.cut_power();
            fence.restore_power(&mut chance);
        } else {
            disk.outlive_process();
        }
    }
}

#[test]
fn the_real_store_keeps_what_it_synced() {
    for seed in 0..30 {
        live(seed);
    }
}
