//! Where each promise about upstream's behaviour, and each pitfall of the consensus library, is held: by a test
//! of a name that is checked here to exist, or by construction, with the reason.
//!
//! The numbers of defects, the lists of what upstream's own tests assert and the pitfalls of raft-rs are those
//! of the project's references.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A promise in a few words, and the tests that hold it; with `by construction: …` in place of a name, the reason
/// why none can fail.
type Promises = &'static [(&'static str, &'static [&'static str])];

const DEFECTS: Promises = &[
    (
        "D-01 injection through UpdateCluster",
        &["d01_quotes_and_statements_in_a_field_are_text", "texts_are_data_and_keep_their_limits"],
    ),
    (
        "D-02 update of an unknown id succeeds",
        &["an_update_of_an_unknown_id_is_an_error_that_locks_nobody_out"],
    ),
    ("D-03 secrets in clear", &["no_planted_secret_is_in_anything_that_a_run_writes"]),
    (
        "D-04 secrets can be guessed without limit",
        &["guessing_a_clusters_secret_ends_after_ten_and_never_switches_a_member_off"],
    ),
    (
        "D-05 lists without order, birth and client",
        &["d05_clusters_are_listed_by_id_with_their_birth_and_what_calls_them"],
    ),
    (
        "D-06 secrets in logs",
        &["logs_hold_no_secrets", "no_planted_secret_is_in_anything_that_a_run_writes"],
    ),
    (
        "D-07 DeleteAll in two steps",
        &[
            "removing_all_takes_license_and_clusters_and_leaves_the_own_record",
            "delete_all_forgets_license_and_clusters",
        ],
    ),
    ("D-08 a beat is stored, then refused", &["d08_a_beat_without_a_license_leaves_no_trace"]),
    (
        "D-09 no safe rotation of a secret",
        &[
            "a_changed_secret_leaves_the_old_one_good_until_the_new_one_is_used",
            "a_new_secret_replaces_the_old_one",
        ],
    ),
    ("D-10 base64 of null", &["a_code_of_json_null_is_refused_and_nothing_breaks"]),
    (
        "D-11 unchecked ids and fields",
        &[
            "ids_with_control_characters_or_beyond_4096_bytes_are_refused_with_the_rule",
            "every_other_field_of_a_registration_is_bounded",
        ],
    ),
    (
        "D-12 an expired LICENSE_KEY ends every start",
        &[
            "d12_an_expired_license_of_the_environment_stops_no_start",
            "bootstrap_is_an_upsert_that_an_expired_license_does_not_stop",
        ],
    ),
    (
        "D-13 activation looks at the license first",
        &["d13_auth_that_is_on_is_so_also_when_the_license_has_expired"],
    ),
    (
        "D-14 the own gate lags an hour",
        &[
            "a_license_change_opens_the_own_gate_at_once",
            "a_new_license_opens_the_own_gate_at_once",
        ],
    ),
    (
        "D-15 removing the own record locks out",
        &[
            "the_timer_closes_nothing_and_a_caller_who_looks_does",
            "a_deleted_own_record_fails_the_next_own_beat_and_adding_it_again_mends_it",
        ],
    ),
    (
        "D-20 no info in HEARTBEAT_FAILED",
        &["d20_a_failed_standing_has_an_empty_info_for_those_who_look_into_it"],
    ),
    (
        "D-21 polling a cache for the own write",
        &["d21_an_answered_change_shows_at_once_everywhere_and_a_wait_ends_with_its_caller"],
    ),
    (
        "D-22 tie and license stored apart",
        &["d22_a_tie_and_its_license_are_one_and_outlive_kill_9_together"],
    ),
    (
        "D-23 connections of heartbeats stay open",
        &["d23_the_connection_of_a_heartbeat_ends_with_it"],
    ),
    (
        "D-24 GetState reveals signed claims",
        &["d24_whoever_asks_for_the_standing_learns_the_end_and_no_customer"],
    ),
    (
        "D-25 a refused heartbeat succeeds silently",
        &["d25_a_refused_heartbeat_is_no_error_of_the_call_and_is_logged_as_one"],
    ),
    ("D-26 PauseStatus asks Kubernetes", &["an_enterprise_server_cannot_pause"]),
    (
        "D-80 one process, two databases",
        &["nothing_acknowledged_is_lost_or_done_twice_when_replicas_are_killed_under_load"],
    ),
    (
        "D-81 a warning of the project",
        &["d81_d82_clients_of_every_minor_version_and_project_are_warned_of_nothing"],
    ),
    (
        "D-82 a warning of the version",
        &[
            "d81_d82_clients_of_every_minor_version_and_project_are_warned_of_nothing",
            "only_another_major_version_is_worth_a_warning",
        ],
    ),
    ("D-83 panics reach the client", &["a_panic_becomes_an_internal_error"]),
    (
        "D-84 the API on the plaintext peer port",
        &[
            "d84_the_port_between_replicas_serves_no_api",
            "plaintext_beyond_this_machine_is_refused_unless_asked_for",
        ],
    ),
    (
        "D-90 mistakes as Unknown or Internal",
        &["d90_mistakes_have_codes_of_their_own_where_no_text_is_matched"],
    ),
    ("D-95 empty user addresses", &["d95_d96_members_that_were_registered_badly_are_lived_with"]),
    (
        "D-96 members flagged as servers",
        &["d95_d96_members_that_were_registered_badly_are_lived_with"],
    ),
    (
        "D-97 auth_enabled is wrong at first",
        &["auth_is_shown_as_on_from_the_heartbeat_that_says_so"],
    ),
    (
        "D-98 members wait an hour to try again",
        &["a_member_whose_registration_was_removed_is_told_so_and_recovers"],
    ),
];

/// What upstream's tests of the license service assert.
const LICENSE: Promises = &[
    (
        "ACTIVE and the code as entered",
        &["after_activation_the_license_is_active_and_its_code_is_what_was_entered"],
    ),
    ("a past `expires`", &["activating_again_with_a_past_end_succeeds_and_the_license_is_expired"]),
    (
        "GetActivationCode not for a plain robot",
        &["every_rpc_obeys_the_table_whoever_calls_and_whichever_replica_answers"],
    ),
    ("DeleteAll", &["delete_all_forgets_license_and_clusters"]),
    (
        "DeleteAll not for a plain robot",
        &["every_rpc_obeys_the_table_whoever_calls_and_whichever_replica_answers"],
    ),
    ("a generated secret of 30 characters", &["a_generated_secret_has_at_least_thirty_characters"]),
    (
        "ListClusters with the own record",
        &["the_own_record_and_an_added_cluster_are_listed_each_with_its_address"],
    ),
    (
        "ListUserClusters without it",
        &[
            "the_own_record_and_an_added_cluster_are_listed_each_with_its_address",
            "a_registration_is_listed_changed_and_removed",
        ],
    ),
    (
        "UpdateCluster in both lists",
        &[
            "a_registration_is_listed_changed_and_removed",
            "an_update_touches_only_the_fields_that_are_not_empty",
        ],
    ),
    ("DeleteCluster in both lists", &["a_registration_is_listed_changed_and_removed"]),
    ("AddCluster without an address", &["a_cluster_without_an_address_is_refused"]),
    ("UpdateCluster with only an id", &["an_update_without_any_field_is_refused"]),
    ("AddCluster without a license", &["without_an_active_license_no_cluster_is_added"]),
    (
        "a robot's invalid requests are refused for the robot",
        &["a_malformed_request_of_a_stranger_is_refused_for_the_stranger"],
    ),
    (
        "Heartbeat without a token brings the license",
        &[
            "a_heartbeat_brings_the_license_and_is_written_down",
            "every_rpc_obeys_the_table_whoever_calls_and_whichever_replica_answers",
        ],
    ),
    (
        "auth_enabled false before the first beat",
        &["auth_is_shown_as_on_from_the_heartbeat_that_says_so"],
    ),
    (
        "a wrong secret changes nothing",
        &["a_heartbeat_with_a_wrong_secret_is_refused_and_changes_nothing"],
    ),
    ("`activate --no-register`, `get-state`", &["license_says_what_pachctl_says"]),
    (
        "add, list, update, delete on the command line",
        &["license_says_what_pachctl_says", "a_cluster_is_added_updated_listed_and_deleted"],
    ),
];

/// What upstream's tests of the enterprise service assert of a server.
const ENTERPRISE: Promises = &[
    ("a genuine code passes", &["what_others_signed_by_the_format_is_understood"]),
    (
        "GetState: ACTIVE, expiry, no signature",
        &["the_standing_is_active_and_its_code_has_no_signature"],
    ),
    (
        "GetState: EXPIRED, no signature",
        &["after_an_activation_with_a_past_end_the_standing_is_expired"],
    ),
    (
        "GetActivationCode is exact in both",
        &[
            "the_activation_code_is_exactly_what_was_entered",
            "after_an_activation_with_a_past_end_the_standing_is_expired",
        ],
    ),
    ("Deactivate, twice", &["deactivating_leads_to_none_however_often"]),
    (
        "GetActivationCode not for a plain robot",
        &["every_rpc_obeys_the_table_whoever_calls_and_whichever_replica_answers"],
    ),
    (
        "a removed record: HEARTBEAT_FAILED and back",
        &[
            "a_heartbeat_for_a_removed_registration_succeeds_and_the_standing_is_failed",
            "a_deleted_own_record_fails_the_next_own_beat_and_adding_it_again_mends_it",
        ],
    ),
    (
        "`license activate` registers the server",
        &["license_activate_registers_the_server_with_itself"],
    ),
    (
        "`enterprise register` under another id",
        &[
            "a_server_that_holds_a_license_can_register_with_itself_under_another_id",
            "enterprise_says_what_pachctl_says",
        ],
    ),
    ("a member registers while auth is off", &["a_member_is_registered_beats_and_is_active"]),
    (
        "a member registers while auth is on",
        &[
            "a_member_with_its_own_token_registers_anew_at_every_start",
            "a_members_token_without_the_right_registers_nobody",
        ],
    ),
    (
        "role bindings and tokens of two servers are independent",
        &["tokens_move_from_one_server_to_another_by_their_hash"],
    ),
    (
        "the auth configuration comes back",
        &[
            "a_configuration_comes_back_whole_and_no_secret_is_ever_written_down",
            "pachctl_brings_a_configuration_and_gets_it_back",
        ],
    ),
    (
        "sync-contexts",
        &[
            "the_fleet_becomes_contexts_but_the_server_itself_does_not",
            "enterprise_says_what_pachctl_says",
        ],
    ),
    (
        "register takes the member's own values",
        &["a_registration_without_values_takes_the_members_own_address_and_deployment"],
    ),
    (
        "a failed registration is rolled back",
        &["a_registration_that_fails_is_rolled_back_and_the_id_is_free_again"],
    ),
    (
        "the environment, with another root token after a restart",
        &[
            "bootstrap_from_the_environment_is_idempotent",
            "the_environment_turns_auth_on_and_sets_the_roles_at_every_start",
        ],
    ),
    (
        "a server and a member that points at it",
        &[
            "a_server_can_be_a_member_of_another_license_server",
            "a_member_registers_itself_when_told_a_server",
        ],
    ),
    ("pausing is for members", &["an_enterprise_server_cannot_pause", "a_member_does_not_pause"]),
];

/// What upstream's tests assert of administration, versions, robustness and contexts.
const ADMINISTRATION: Promises = &[
    (
        "InspectCluster never fails",
        &["inspect_cluster_answers_everybody_even_with_a_nonsensical_project"],
    ),
    (
        "versions",
        &[
            "the_version_is_the_one_that_clients_are_compatible_with",
            "only_another_major_version_is_worth_a_warning",
        ],
    ),
    (
        "no RPC panics or lacks a rule",
        &[
            "bytes_that_are_no_message_are_refused_by_every_method",
            "empty_requests_to_every_method_are_answered_and_harm_nothing",
            "every_rpc_admits_whom_its_row_names",
        ],
    ),
    (
        "the grammar of addresses",
        &["every_spelling_has_one_canonical_form", "what_is_no_address_is_refused_with_the_reason"],
    ),
    (
        "the enterprise context and its marker",
        &["config_connect_and_version_say_what_pachctl_says"],
    ),
];

const PITFALLS: Promises = &[
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

#[test]
fn every_promise_names_tests_that_exist() {
    let tests = tests_of(Path::new(env!("CARGO_MANIFEST_DIR")));
    let mut missing = Vec::new();
    for (promise, held_by) in [DEFECTS, LICENSE, ENTERPRISE, ADMINISTRATION, PITFALLS].concat() {
        assert!(!held_by.is_empty(), "{promise}: by nothing");
        for name in held_by {
            if !name.starts_with("by construction: ") && !tests.contains(*name) {
                missing.push(format!("{promise}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "no such tests:\n{}", missing.join("\n"));
    assert_eq!(PITFALLS.len(), 19);
}

/// The names of all functions that follow a `#[test]` or `#[tokio::test]`.
fn tests_of(root: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = ["src", "cluster/src", "tests/it"].map(|folder| root.join(folder)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                names.extend(tests_in(&fs::read_to_string(path).unwrap()));
            }
        }
    }
    names
}

fn tests_in(text: &str) -> Vec<String> {
    let mut is_test = false;
    let mut names = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some((_, rest)) = line.split_once("fn ")
            && is_test
        {
            names.extend(rest.split(['(', '<']).next().map(str::to_owned));
            is_test = false;
        }
    }
    names
}
