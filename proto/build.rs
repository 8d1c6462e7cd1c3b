//! Compiles every `.proto` under `proto/` with protox, so that no `protoc` is needed on the machine.

use std::path::{Path, PathBuf};

/// Messages that carry a secret; `src/masked.rs` gives them their debug form.
const SECRET: [&str; 28] = [
    ".license_v2.ActivateRequest",
    ".license_v2.GetActivationCodeResponse",
    ".license_v2.AddClusterRequest",
    ".license_v2.AddClusterResponse",
    ".license_v2.UpdateClusterRequest",
    ".license_v2.HeartbeatRequest",
    ".enterprise_v2.LicenseRecord",
    ".enterprise_v2.EnterpriseConfig",
    ".enterprise_v2.ActivateRequest",
    ".enterprise_v2.GetStateResponse",
    ".enterprise_v2.GetActivationCodeResponse",
    ".identity_v2.IDPConnector",
    ".identity_v2.OIDCClient",
    ".auth_v2.ActivateRequest",
    ".auth_v2.ActivateResponse",
    ".auth_v2.RotateRootTokenRequest",
    ".auth_v2.RotateRootTokenResponse",
    ".auth_v2.OIDCConfig",
    ".auth_v2.TokenInfo",
    ".auth_v2.AuthenticateRequest",
    ".auth_v2.AuthenticateResponse",
    ".auth_v2.SessionInfo",
    ".auth_v2.GetOIDCLoginResponse",
    ".auth_v2.GetRobotTokenResponse",
    ".auth_v2.RevokeAuthTokenRequest",
    ".muster.log.v1.License",
    ".muster.v1.MintJoinTokenResponse",
    ".muster.v1.JoinRequest",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new("proto");
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();
    println!("cargo:rerun-if-changed=proto");
    let set = protox::compile(&files, [root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&set))?;
    tonic_prost_build::configure()
        .bytes(".muster.log.v1")
        .btree_map(".")
        .skip_debug(SECRET)
        .include_file("all.rs")
        .compile_fds(set)?;
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|end| end == "proto") {
            files.push(path);
        }
    }
    Ok(())
}
