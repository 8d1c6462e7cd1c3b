//! Upstream's defects that are done right here. Those of the identity provider (D-60 to D-69) wait for one.

use super::Promises;

pub(super) const DEFECTS: Promises = &[
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
        "D-29 a part of a state finds other people's logins",
        &[
            "a_login_is_found_by_its_whole_state_and_gives_one_token",
            "what_is_not_a_whole_state_is_refused",
            "login: no part of a state finds a login, and no other one",
        ],
    ),
    ("D-30 groups leak between names", &["groups_carry_roles_and_never_leak_between_names"]),
    ("D-31 roles where they cannot be bound", &["a_binding_is_checked_in_order"]),
    (
        "D-32 the server's own parts unbound",
        &["nobody_changes_roots_roles", "a_binding_is_checked_in_order"],
    ),
    (
        "D-33 a restored token near its end lives for ever",
        &[
            "a_restored_token_ends_when_it_always_would_have",
            "a_restored_token_needs_a_whole_hash",
            "an_end_at_or_before_the_epoch_is_not_for_ever",
        ],
    ),
    (
        "D-34 one login, many tokens",
        &[
            "a_login_is_found_by_its_whole_state_and_gives_one_token",
            "login: three replicas share one login, which gives one token",
        ],
    ),
    (
        "D-35 a login that waits for nothing",
        &[
            "who_signs_in_where_nobody_can_is_told_why",
            "login: who declines is not signed in, and the terminal hears of it",
            "login: a login that takes too long is over",
        ],
    ),
    (
        "D-36 a person without an address",
        &[
            "a_token_without_an_address_or_groups_asked_for_is_thin",
            "an_address_keeps_its_case_and_must_be_there",
        ],
    ),
    (
        "D-37 addresses that nobody verified",
        &[
            "an_address_that_must_be_checked_is_not_when_nobody_says_so",
            "login: an address that nobody verified is refused where it must be",
        ],
    ),
    (
        "D-38 a failing database takes tokens for bad",
        &["d38_a_replica_that_lost_its_peers_calls_no_token_bad"],
    ),
    (
        "D-39 activating again needs a token",
        &["auth_goes_on_off_and_on_again_and_begins_afresh_each_time"],
    ),
    (
        "D-40 lists in random order, permissions twice",
        &[
            "groups_carry_roles_and_never_leak_between_names",
            "permissions_are_listed_once_in_the_order_of_their_numbers",
            "any_caller_with_a_token_may_ask_which_roles_have_a_permission",
        ],
    ),
    ("D-41 users of an unknown group", &["groups_carry_roles_and_never_leak_between_names"]),
    (
        "D-42 a negative life, an empty name",
        &[
            "a_robot_has_a_name_without_colons_and_a_life_that_is_not_negative",
            "what_is_no_time_is_refused_by_every_method_that_takes_one",
        ],
    ),
    (
        "D-43 a login takes hand-made groups away",
        &[
            "a_login_replaces_the_groups_of_claims_and_leaves_those_by_hand",
            "no_word_on_groups_is_not_the_same_as_none",
        ],
    ),
    (
        "D-44 times without a zone, two clocks",
        &["time_never_runs_back", "a_robot_token_lives_as_long_as_asked"],
    ),
    ("D-45 long addresses", &["an_address_of_320_characters_is_somebody"]),
    (
        "D-46 discovery of itself",
        &["by construction: there is no identity provider of our own that could be the issuer"],
    ),
    ("D-47 discovery at each login", &["d47_the_issuer_is_asked_once_for_many_logins"]),
    (
        "D-48 secrets of configurations in clear",
        &[
            "a_configuration_comes_back_whole_and_no_secret_is_ever_written_down",
            "what_is_stored_has_no_secret_in_clear_and_comes_back_whole",
            "no_planted_secret_is_in_anything_that_a_run_writes",
        ],
    ),
    (
        "D-49 any caller with a token reads the binding",
        &["an_administrator_appears_in_the_binding_and_leaves_it_and_any_robot_may_look"],
    ),
    ("D-50 logins outlive auth", &["turning_auth_off_forgets_everything"]),
    ("D-51 short root tokens", &["a_root_token_can_be_short_but_must_fit_into_metadata"]),
    (
        "D-54 a binding in a transaction",
        &["a_binding_in_a_transaction_is_refused_and_panics_nowhere"],
    ),
    (
        "D-55 the environment's secrets in errors",
        &[
            "half_of_the_environment_bootstrap_is_refused_by_both_names",
            "anything_else_is_refused_and_never_shown",
        ],
    ),
    (
        "D-58 whether auth is off is read from a text",
        &["while_auth_is_off_only_what_is_open_then_answers"],
    ),
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
