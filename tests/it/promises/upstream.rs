//! What upstream's own tests assert of an enterprise server. Those of its identity provider wait for one.

use super::Promises;

/// What upstream's tests of the license service assert.
pub(super) const LICENSE: Promises = &[
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
pub(super) const ENTERPRISE: Promises = &[
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
pub(super) const ADMINISTRATION: Promises = &[
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

/// What upstream's tests assert of auth, activation and tokens.
pub(super) const TOKENS: Promises = &[
    (
        "activated anew with a drawn root token",
        &["auth_goes_on_off_and_on_again_and_begins_afresh_each_time"],
    ),
    (
        "exactly three in the binding",
        &[
            "auth_goes_on_off_and_on_again_and_begins_afresh_each_time",
            "an_administrator_appears_in_the_binding_and_leaves_it_and_any_robot_may_look",
        ],
    ),
    ("a given root token", &["auth_goes_on_off_and_on_again_and_begins_afresh_each_time"]),
    (
        "an administrator comes and goes, any robot looks",
        &["an_administrator_appears_in_the_binding_and_leaves_it_and_any_robot_may_look"],
    ),
    (
        "nobody changes root's roles",
        &["nobody_changes_roots_roles", "root_stays_root_also_when_there_are_other_administrators"],
    ),
    (
        "a robot token without an end",
        &["robots_have_tokens_with_and_without_an_end_and_lose_them_by_name"],
    ),
    ("a robot token of 600 s", &["a_robot_token_of_600_seconds_ends_within_the_next_600"]),
    ("WhoAmI of a robot", &["an_administrator_walks_from_a_license_to_a_robot_token"]),
    (
        "a robot as an administrator",
        &["a_robot_that_is_administrator_mints_tokens_and_turns_auth_off"],
    ),
    ("a role of a group", &["a_role_of_a_group_counts_for_its_members_alone"]),
    (
        "a revoked token at the next call",
        &["a_token_that_one_replica_revokes_is_dead_on_all_others_at_once"],
    ),
    (
        "all tokens of one robot and none of another",
        &["revoking_all_of_one_robot_spares_another_and_the_extract_shows_it"],
    ),
    (
        "no revoking for `pach:`",
        &["robots_have_tokens_with_and_without_an_end_and_lose_them_by_name"],
    ),
    (
        "RotateRootToken",
        &[
            "rotating_root_ends_the_old_token_at_once",
            "rotating_the_root_token_ends_all_others_of_root",
        ],
    ),
    (
        "ModifyMembers",
        &["members_are_added_twice_at_once_and_removed_in_one_call_and_both_views_agree"],
    ),
    ("SetGroupsForUser", &["the_groups_of_a_user_are_set_extended_shrunk_and_emptied"]),
    ("own groups", &["everybody_sees_the_own_groups_and_root_has_none"]),
    (
        "expired and not yet forgotten",
        &[
            "deleting_expired_tokens_takes_exactly_those",
            "expired_tokens_are_forgotten_by_themselves_a_few_at_a_time_while_others_are_served",
        ],
    ),
    (
        "an expired license locks out robots",
        &["an_expired_license_locks_out_everybody_but_administrators"],
    ),
    ("pipelines go on", &["pipelines_go_on_with_an_expired_license_and_robots_do_not"]),
    ("GetRolesForPermission", &["any_caller_with_a_token_may_ask_which_roles_have_a_permission"]),
    (
        "GetPermissions of a plain robot, for others refused",
        &["the_permissions_of_a_plain_robot_are_those_of_everybody_whoever_asks"],
    ),
    (
        "repoOwner turns nothing off",
        &["an_owner_of_repos_neither_turns_auth_off_nor_deletes_everything"],
    ),
    ("ExtractAuthTokens", &["the_extract_is_for_administrators_and_has_hash_subject_and_end"]),
    (
        "RestoreAuthToken",
        &[
            "restoring_is_for_administrators_and_keeps_a_future_end",
            "tokens_move_from_one_server_to_another_by_their_hash",
        ],
    ),
    ("GetRobotToken not for a plain robot", &["a_plain_robot_mints_no_tokens"]),
    ("allClusterUsers can be unbound", &["everybody_can_be_unbound_and_that_holds_for_everybody"]),
    (
        "ModifyRoleBinding by administrators alone",
        &["roles_on_the_server_are_given_by_administrators_alone"],
    ),
    (
        "Authorize says no as an answer",
        &["not_to_be_authorized_is_a_normal_answer_and_what_everybody_has_counts"],
    ),
    ("no token", &["a_call_without_a_token_is_told_that_it_has_none"]),
    (
        "after Deactivate",
        &[
            "while_auth_is_off_only_what_is_open_then_answers",
            "auth_goes_on_off_and_on_again_and_begins_afresh_each_time",
        ],
    ),
    (
        "matched texts and codes",
        &[
            "a_token_that_does_not_serve_is_refused_everywhere_with_its_own_reason",
            "every_rpc_obeys_the_table_whoever_calls_and_whichever_replica_answers",
        ],
    ),
];

/// What upstream's tests assert of the auth configuration, of signing in and of the command line.
pub(super) const SIGNING_IN: Promises = &[
    (
        "a configuration comes back",
        &["a_configuration_comes_back_whole_and_no_secret_is_ever_written_down"],
    ),
    ("fresh is all-default", &["a_configuration_ends_with_auth_and_begins_anew_with_it"]),
    (
        "a plain robot neither sets nor gets it",
        &["a_refused_change_of_the_configuration_changes_nothing"],
    ),
    ("it ends with auth", &["a_configuration_ends_with_auth_and_begins_anew_with_it"]),
    (
        "setting none resets it",
        &["a_configuration_comes_back_whole_and_no_secret_is_ever_written_down"],
    ),
    ("the browser's way", &["login: a person signs in by the command line, and groups arrive"]),
    (
        "an ID token of a trusted peer",
        &["login: ID tokens of trusted peers serve, and no longer than they last"],
    ),
    (
        "an expired license, then the same state",
        &["an_expired_license_refuses_a_login_and_keeps_it_for_who_becomes_administrator"],
    ),
    ("off and on again", &["pachctl_turns_auth_off_and_on_again"]),
    (
        "a failed set-up leaves no client",
        &["a_member_that_cannot_be_set_up_leaves_no_client_at_the_enterprise_server"],
    ),
    (
        "`login`, with an ID token",
        &[
            "login: a person signs in by the command line, and groups arrive",
            "login: ID tokens of trusted peers serve, and no longer than they last",
        ],
    ),
    ("`whoami` as a robot", &["an_administrator_walks_from_a_license_to_a_robot_token"]),
    (
        "`set cluster`, handing over",
        &["pachctl_binds_and_unbinds_and_an_administrator_hands_over_and_steps_down"],
    ),
    (
        "`get-robot-token` into `use-auth-token`",
        &["an_administrator_walks_from_a_license_to_a_robot_token"],
    ),
    ("`set-config`, `get-config`", &["pachctl_brings_a_configuration_and_gets_it_back"]),
    ("`get-groups`", &["pachctl_shows_own_groups_and_those_of_others"]),
    ("`rotate-root-token`", &["pachctl_rotates_the_root_token_to_a_drawn_and_to_a_given_one"]),
    ("`revoke`", &["pachctl_tells_how_many_tokens_it_revoked_and_then_none"]),
];
