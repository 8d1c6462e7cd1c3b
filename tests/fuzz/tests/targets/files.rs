//! Files that people write: the configuration.

use std::fs;

use bolero::check;
use muster::config::{Config, Flags, Settings};
use muster_fuzz::Damage;

const TOML: &str = "data = \"d\"\nname = \"a\"\ngrpc-listen = \"127.0.0.1:1\"\ntick = \"100ms\"\n\
                    initial-cluster = [\"a=h:1\", \"b=h:2\"]\nsnapshot-bytes = 1\ninsecure = true\n";
const YAML: &str = "data: d\nname: a\ngrpc-listen: 127.0.0.1:1\ntick: 100ms\n\
                    initial-cluster: [a=h:1, b=h:2]\nsnapshot-bytes: 1\ninsecure: true\n";

fn try_file(name: &str, whole: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    let path = file.to_str().unwrap().to_owned();
    let good = [whole.as_bytes().to_vec()];
    check!().with_iterations(1_500).with_type::<Damage>().for_each(|damage| {
        fs::write(&file, damage.of(&good)).unwrap();
        let flags = Flags::from_pairs([("log-level", "info")]);
        let variable = |name: &str| (name == "MUSTER_CONFIG").then(|| path.clone());
        let settings = Settings::join(&flags, &variable);
        drop(Config::check(&settings));
        drop(settings.print());
    });
}

#[test]
fn a_configuration_file_in_toml() {
    try_file("muster.toml", TOML);
}

#[test]
fn a_configuration_file_in_yaml() {
    try_file("muster.yaml", YAML);
}
