//! Plugins in registries, pushed and read by wkg, the Wasm ecosystem's own client. Building it takes minutes, so only
//! `cargo xtask interop` does.

use std::{fs, path::PathBuf, process::Command};

use crate::support::{
    command::{Ended, Sample, binary, ended},
    registry::Registry,
    watched::{plugin, reversioned},
};

/// `wkg`, in a sample's directory.
fn wkg(sample: &Sample, arguments: &[&str]) -> Ended {
    let target = binary("");
    let program: PathBuf = target.parent().unwrap_or(&target).join("tools/bin/wkg");
    assert!(program.is_file(), "{} is not built: run `cargo xtask interop`", program.display());
    let mut command = Command::new(program);
    command
        .current_dir(sample.path())
        .env("HOME", sample.path())
        .env("WKG_CACHE_DIR", sample.path().join("wkg-cache"))
        .env_remove("RUST_BACKTRACE");
    let ended = ended(command.args(arguments)).unwrap();
    assert_eq!(ended.code, 0, "wkg {arguments:?}: {ended:?}");
    ended
}

#[test]
#[ignore = "long: needs wkg"]
fn wkg_and_the_host_read_what_the_other_pushed() {
    let sample = Sample::new(None).unwrap();
    let registry = Registry::start(false).unwrap();
    let host = registry.host();
    // Packages of the namespace `data` are in this registry, under `data/`.
    let config = format!(
        "[namespace_registries]\ndata = {{ registry = \"{host}\", metadata = {{ preferredProtocol = \"oci\", oci = {{ registry = \"{host}\" }} }} }}\n\n[registry.\"{host}\"]\ntype = \"oci\"\n\n[registry.\"{host}\".oci]\nprotocol = \"http\"\n"
    );
    fs::write(sample.path().join("wkg.config.toml"), config).unwrap();
    let pushed = fs::read(plugin("phase2-raw")).unwrap();
    fs::write(sample.path().join("pushed.wasm"), &pushed).unwrap();
    let place = format!("oci://{host}/data/phase2-raw");
    let run = |arguments: &[&str]| {
        let ended = sample.host(arguments).unwrap();
        assert_eq!(ended.code, 0, "{ended:?}");
        ended
    };

    run(&["push", "pushed.wasm", &place]);
    let reference = format!("{host}/data/phase2-raw:0.1.0");
    wkg(&sample, &["oci", "pull", "--insecure", &host, &reference, "--output", "pulled.wasm"]);
    assert!(fs::read(sample.path().join("pulled.wasm")).unwrap() == pushed, "by its tag");
    let package = "data:phase2-raw@0.1.0";
    wkg(&sample, &["get", "--config", "wkg.config.toml", "--format", "wasm", "--output", "./got.wasm", package]);
    assert!(fs::read(sample.path().join("got.wasm")).unwrap() == pushed, "by its package's name");

    for (version, how) in [("0.2.0", "oci push"), ("0.3.0", "publish")] {
        let (file, bytes) = (format!("{version}.wasm"), reversioned("phase2-raw", version));
        fs::write(sample.path().join(&file), &bytes).unwrap();
        if how == "publish" {
            let package = format!("data:phase2-raw@{version}");
            wkg(&sample, &["publish", "--config", "wkg.config.toml", "--package", &package, &file]);
        } else {
            let reference = format!("{host}/data/phase2-raw:{version}");
            wkg(&sample, &["oci", "push", "--insecure", &host, &reference, &file]);
        }
        // The newest version, so the list of tags is read too.
        let added = run(&["add", &place]);
        assert!(added.err.contains(&format!("phase2-raw: {version} sha256:")), "{how}: {}", added.err);
        let stored = fs::read_dir(sample.path().join("plugins.store")).unwrap().flatten();
        assert!(stored.map(|entry| fs::read(entry.path()).unwrap()).any(|stored| stored == bytes), "{how}");
    }
    // A version that wkg pushed stays as well.
    let again = run(&["push", "0.3.0.wasm", &place]);
    assert!(again.out.contains("already published"), "{}", again.out);
}
