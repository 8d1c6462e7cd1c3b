use expect_test::expect;

use super::*;

struct Home {
    folder: tempfile::TempDir,
    environment: Environment,
}

impl Home {
    fn with(text: &str) -> Home {
        let home = Home::empty();
        fs::create_dir(home.folder.path().join(".pachyderm")).unwrap();
        fs::write(home.path(), text).unwrap();
        home
    }

    fn empty() -> Home {
        let folder = tempfile::tempdir().unwrap();
        let home = Some(folder.path().to_owned());
        Home { folder, environment: Environment { home, ..Environment::default() } }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(".pachyderm/config.json")
    }

    fn load(&self) -> ConfigFile {
        ConfigFile::load(&self.environment).unwrap()
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }
}

const FILE: &str = r#"{
  "user_id": "e0afa0450b2fbb5d845455f712d7800b",
  "colour": "\u003cblue\u003e",
  "v2": {
    "active_context": "pach-1",
    "active_enterprise_context": "ent",
    "contexts": {
      "default": {},
      "ent": {
        "source": 3,
        "pachd_address": "grpc://127.0.0.1:31650",
        "session_token": null,
        "shape": [
          1,
          2.5
        ],
        "cluster_deployment_id": "dep-1",
        "enterprise_server": true
      },
      "pach-1": {
        "pachd_address": "grpcs://pach:30650"
      }
    },
    "metrics": true,
    "size": {}
  }
}
"#;

#[test]
fn a_file_that_nothing_changes_keeps_its_bytes() {
    let home = Home::with(FILE);
    let mut file = home.load();
    assert_eq!(file.text(), FILE);
    let context = file.context("ent").unwrap();
    file.set_context("ent", &context);
    file.set_active_context("pach-1");
    file.set_metrics(true);
    file.save().unwrap();
    assert_eq!(home.text(), FILE);
}

#[test]
fn a_change_touches_only_its_own_lines() {
    let home = Home::with(FILE);
    let mut file = home.load();
    let mut context = file.context("ent").unwrap();
    context.session_token = "secret".to_owned();
    context.server_cas = "Q0E=".to_owned();
    context.enterprise_server = false;
    file.set_context("ent", &context);
    file.save().unwrap();
    let expected = FILE
        .replace(
            "\"session_token\": null",
            "\"server_cas\": \"Q0E=\",\n        \"session_token\": \"secret\"",
        )
        .replace("\"dep-1\",\n        \"enterprise_server\": true", "\"dep-1\"");
    // The key that was there keeps its place; the new one goes before the first later one.
    assert_eq!(home.text(), expected);
}

#[test]
fn new_contexts_are_sorted_in_and_removed_ones_leave_nothing() {
    let home = Home::with(FILE);
    let mut file = home.load();
    let context = Context { source: 3, project: "p".to_owned(), ..Context::default() };
    file.set_context("middle", &context);
    assert_eq!(file.context_names(), ["default", "ent", "middle", "pach-1"]);
    assert!(file.text().find("\"middle\"").unwrap() < file.text().find("\"pach-1\": {").unwrap());
    file.remove_context("middle");
    assert_eq!(file.text(), FILE);
}

#[test]
fn a_missing_file_is_what_pachctl_starts_with_and_is_not_created_by_reading() {
    let home = Home::empty();
    let mut file = home.load();
    assert!(!home.path().exists());
    file.save().unwrap();
    expect![[r#"
        {
          "v2": {
            "active_context": "default",
            "contexts": {
              "default": {}
            },
            "metrics": true
          }
        }
    "#]]
    .assert_eq(&home.text());
}

#[cfg(unix)]
#[test]
fn a_written_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::with("{}");
    home.load().save().unwrap();
    assert_eq!(fs::metadata(home.path()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn the_first_form_of_the_file_becomes_a_context() {
    let home =
        Home::with(r#"{"user_id": "u", "v1": {"pachd_address": "h", "session_token": "t"}}"#);
    let mut file = home.load();
    file.save().unwrap();
    expect![[r#"
        {
          "user_id": "u",
          "v2": {
            "active_context": "default",
            "contexts": {
              "default": {
                "source": 1,
                "pachd_address": "grpc://h:30650",
                "session_token": "t"
              }
            },
            "metrics": true
          }
        }
    "#]]
    .assert_eq(&home.text());
}

#[test]
fn other_spellings_are_understood_and_written_in_the_canonical_one() {
    let home = Home::with(
        r#"{"v2": {"activeContext": "a", "contexts": {"a":
            {"source": "IMPORTED", "pachdAddress": "https://h", "portForwarders": {"pachd": "1"}}}}}"#,
    );
    let file = home.load();
    let chosen = file.choose(Which::Enterprise, &home.environment).unwrap();
    assert_eq!(chosen.name, "a");
    assert_eq!(chosen.context.source, IMPORTED_SOURCE);
    assert_eq!(chosen.context.pachd_address, "grpcs://h:30650");
    assert_eq!(chosen.context.port_forwarders.get("pachd"), Some(&1));
    assert!(file.text().contains("\"pachd_address\": \"grpcs://h:30650\""));
}

const IMPORTED_SOURCE: u64 = super::super::context::IMPORTED;

#[test]
fn the_context_is_chosen_by_variable_then_by_file() {
    let home = Home::with(FILE);
    let file = home.load();
    let choose = |which, environment: &Environment| {
        file.choose(which, environment).map(|named| named.name).map_err(|error| error.to_string())
    };
    let mut environment = home.environment;
    assert_eq!(choose(Which::Active, &environment).unwrap(), "pach-1");
    assert_eq!(choose(Which::Enterprise, &environment).unwrap(), "ent");
    environment.pach_context = Some("default".to_owned());
    assert_eq!(choose(Which::Active, &environment).unwrap(), "default");
    assert_eq!(choose(Which::Enterprise, &environment).unwrap(), "ent");
    environment.pach_enterprise_context = Some("nope".to_owned());
    assert_eq!(
        choose(Which::Enterprise, &environment).unwrap_err(),
        "pachctl config error: `PACH_ENTERPRISE_CONTEXT` refers to a context (\"nope\") that does not exist"
    );
}

#[test]
fn a_pointer_to_nothing_says_how_to_mend_it() {
    let home = Home::with(
        r#"{"v2": {"active_context": "zz", "active_enterprise_context": "yy", "contexts": {}}}"#,
    );
    let file = home.load();
    expect![[r#"
        pachctl config error: pachctl's active context is "zz", but no context named "zz" has been configured.

        You can fix your config by setting the active context like so: muster config set active-context <context>"#]]
    .assert_eq(&file.choose(Which::Active, &home.environment).unwrap_err().to_string());
    expect![[r#"
        pachctl config error: pachctl's active enterprise context is "yy", but no context named "yy" has been configured.

        You can fix your config by setting the active context like so: muster config set active-enterprise-context <context>"#]]
    .assert_eq(&file.choose(Which::Enterprise, &home.environment).unwrap_err().to_string());
}

#[test]
fn what_is_no_config_is_refused_with_its_place() {
    for text in ["[]", "{", "{\"v2\": {\"contexts\": {\"a\": {\"pachd_address\": 5}}}}"] {
        let home = Home::with(text);
        let error = ConfigFile::load(&home.environment).unwrap_err().to_string();
        assert!(error.starts_with("could not parse config json at \""), "{error}");
    }
}

#[test]
fn an_explicit_file_needs_its_folder() {
    let home = Home::empty();
    let path = home.folder.path().join("no/config.json");
    let environment = Environment { pach_config: Some(path), ..home.environment };
    let error = ConfigFile::load(&environment).unwrap().save().unwrap_err().to_string();
    assert!(error.contains("could not stat parent directory"), "{error}");
}

#[test]
fn a_file_in_yaml_is_read_as_well_and_written_as_json() {
    let home = Home::with(
        "user_id: e0afa0450b2fbb5d845455f712d7800b\n\
         v2:\n\
         \x20 activeContext: pach-1   # a comment\n\
         \x20 contexts:\n\
         \x20   pach-1: {pachd_address: 127.0.0.1:31650, source: IMPORTED, project: null}\n\
         \x20   '2': {}\n\
         \x20 metrics: true\n",
    );
    let mut file = home.load();
    let named = file.choose(Which::Active, &home.environment).unwrap();
    assert_eq!(named.context.pachd_address, "grpc://127.0.0.1:31650");
    assert_eq!(named.context.source, 3);
    assert_eq!(file.context_names(), ["2", "pach-1"]);
    assert!(file.metrics());
    file.save().unwrap();
    let stored = home.text();
    assert!(stored.starts_with("{\n  \"user_id\""), "{stored}");
}

#[test]
fn a_file_that_is_neither_is_refused_by_its_place() {
    let home = Home::with("v2:\n  - a\n b: [\n");
    let error = ConfigFile::load(&home.environment).unwrap_err().to_string();
    assert!(error.contains("could not parse config json at"), "{error}");
    assert!(error.contains("yaml: "), "{error}");
}
