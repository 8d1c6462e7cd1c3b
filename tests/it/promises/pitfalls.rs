//! The pitfalls of raft-rs.

use super::Promises;

pub(super) const PITFALLS: Promises = &[
    (
        "1 acting between ready and advance",
        &[
            "by construction: `core/ready.rs` owns the whole sequence, and nothing else sees a Ready",
            "equal_inputs_give_equal_outputs",
        ],
    ),
    ("2 the library's defaults", &["the_library_is_configured_as_we_mean_it"]),
    (
        "3 leader messages before the first term record",
        &["a_single_voter_says_nothing_before_its_term_is_on_the_disk"],
    ),
    (
        "4 a change that is Ok and dropped",
        &[
            "a_change_can_be_given_up_until_two_configurations_hold",
            "a_new_leader_goes_on_with_the_change",
        ],
    ),
    (
        "5 the leader removes itself, the group shrinks to one",
        &[
            "a_leader_that_is_removed_before_it_knows_stops",
            "the_last_voter_left_waits_for_its_disk",
            "one_three_five_three_one",
        ],
    ),
    (
        "6 a ReadIndex that is lost in silence",
        &["a_read_survives_the_leader", "a_read_at_a_follower_sees_the_write_before_it"],
    ),
    (
        "7 leases of the library, votes right after a restart",
        &["the_library_is_configured_as_we_mean_it"],
    ),
    (
        "8 proposals forwarded in silence",
        &[
            "the_library_is_configured_as_we_mean_it",
            "a_proposal_that_never_left_is_certainly_not_done",
            "a_follower_forwards",
        ],
    ),
    (
        "9 ticks caught up after a pause",
        &[
            "by construction: one tick is one input, and the driver's timer sends the next after the last was taken",
        ],
    ),
    ("10 a missing report_snapshot", &["a_snapshot_transfer_that_breaks_is_begun_anew"]),
    (
        "11 a commit index older than the applied one",
        &["an_old_commit_index_is_raised_to_the_snapshot"],
    ),
    (
        "12 an id used again with an empty disk",
        &[
            "a_replica_whose_disk_was_lost_does_not_come_back_under_its_old_id",
            "two_groups_never_begin_and_a_wiped_disk_never_comes_back",
        ],
    ),
    (
        "13 storage errors that make the library panic",
        &[
            "by construction: it reads from memory (`core/tail.rs`) and never from the disk",
            "a_refusing_disk_is_named_and_ends_the_store",
        ],
    ),
    (
        "14 rust-protobuf on hostile bytes",
        &[
            "a_certificate_of_another_ca_gets_nowhere",
            "a_frame_over_the_limit_is_refused_from_its_length_alone",
            "no_bytes_of_a_peer_cause_a_panic",
        ],
    ),
    (
        "15 one fsync per ready",
        &["proposals_of_one_drain_share_one_write", "a_commit_is_one_write_and_one_sync"],
    ),
    (
        "16 heavy work on the raft thread",
        &[
            "by construction: the core has no IO; disk, network and applying are threads of the driver",
        ],
    ),
    (
        "17 unbounded channels",
        &[
            "a_full_queue_says_so_and_takes_again_when_drained",
            "a_full_lane_refuses_until_somebody_leaves",
        ],
    ),
    ("18 the leader hint as truth", &["open_proposals_outlive_a_leader_and_are_applied_once"]),
    (
        "19 panics that unwind through the driver",
        &["a_panic_in_the_state_machine_stops_the_replica"],
    ),
];
