//! deploy/kubernetes and deploy/compose.yaml: valid, and as the image and host.toml have it. No cluster is asked.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use host::config::Config;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    command::{Ended, binary, ended, repository},
    say,
};

/// What is left after the grace of the running checks, to record, to send, and to give claims back.
const LAST: Duration = Duration::from_secs(10);
/// The variables of the host and of the script that the image runs.
const OWN: [&str; 4] = ["HOST_STATE_URL", "HOST_TOKEN", "GIT_TOKEN", "XDG_CACHE_HOME"];

fn text(file: &str) -> String {
    fs::read_to_string(repository().join("deploy").join(file)).unwrap()
}

fn read(arguments: &[&Path]) -> Ended {
    let python = binary("").parent().unwrap().join("kubernetes/bin/python");
    assert!(python.is_file(), "{}: `cargo xtask test kubernetes` installs it", python.display());
    ended(Command::new(python).arg(repository().join("tests/support/kubernetes/read.py")).args(arguments)).unwrap()
}

/// The documents of a file of YAML, each valid for Kubernetes.
fn valid(file: &Path) -> Vec<Value> {
    let read = read(&[Path::new("--validate"), file]);
    assert_eq!(read.code, 0, "{}: {}", file.display(), read.err);
    serde_json::from_str(&read.out).unwrap()
}

/// A copy of the directory with a lock file, as its kustomization.yaml says.
fn with_lock() -> TempDir {
    let copy = TempDir::new().unwrap();
    for entry in fs::read_dir(repository().join("deploy/kubernetes")).unwrap().flatten() {
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    assert!(!copy.path().join("plugins.lock").exists(), "the lock is that of one image");
    fs::write(copy.path().join("plugins.lock"), "# of an image\n").unwrap();
    copy
}

/// The manifests, as kubectl renders them; `None` where it is not installed.
fn rendered() -> Option<Vec<Value>> {
    let copy = with_lock();
    let rendered = Command::new("kubectl").arg("kustomize").arg(copy.path()).output().ok()?;
    assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
    let file = copy.path().join("rendered.yaml");
    fs::write(&file, rendered.stdout).unwrap();
    Some(valid(&file))
}

/// The manifests as they are.
fn manifests() -> Vec<Value> {
    let files = fs::read_dir(repository().join("deploy/kubernetes")).unwrap().flatten().map(|entry| entry.path());
    let is_manifest =
        |path: &PathBuf| path.extension().is_some_and(|kind| kind == "yaml") && !path.ends_with("kustomization.yaml");
    let mut files: Vec<PathBuf> = files.filter(is_manifest).collect();
    files.sort();
    files.iter().flat_map(|file| valid(file)).collect()
}

fn only<'d>(documents: &'d [Value], kind: &str) -> &'d Value {
    let found: Vec<_> = documents.iter().filter(|document| document["kind"] == kind).collect();
    assert_eq!(found.len(), 1, "{kind}: {documents:?}");
    found[0]
}

/// The pods' specifications, of the hosts and of a round.
fn pods(documents: &[Value]) -> [&Value; 2] {
    let round = &only(documents, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    [&only(documents, "Deployment")["spec"]["template"]["spec"], round]
}

fn list(of: &Value) -> &[Value] {
    of.as_array().map_or(&[], Vec::as_slice)
}

fn named<'v>(of: &'v Value, name: &str) -> &'v Value {
    list(of).iter().find(|entry| entry["name"] == name).unwrap_or_else(|| panic!("{name}: {of}"))
}

fn config() -> Config {
    Config::parse(&text("kubernetes/host.toml")).unwrap()
}

/// `20s`.
fn seconds(text: &str) -> Duration {
    Duration::from_secs(text.strip_suffix('s').unwrap().parse().unwrap())
}

#[test]
fn a_mistake_in_a_manifest_is_seen() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("wrong.yaml");
    let right = text("kubernetes/deployment.yaml");
    for (part, by) in [
        ("terminationGracePeriodSeconds", "terminationGracePeriodSecond"),
        ("replicas: 2", "replicas: \"two\""),
        ("readOnlyRootFilesystem: true", "readOnlyRootFileSystem: true"),
    ] {
        fs::write(&file, right.replace(part, by)).unwrap();
        let read = read(&[Path::new("--validate"), &file]);
        let wrong = by.split(':').next().unwrap();
        assert!(read.code == 1 && read.err.contains(wrong), "{by}: {read:?}");
    }
}

#[test]
fn the_manifests_are_valid() {
    let plain = manifests();
    assert_eq!(plain.len(), 5, "{plain:?}");
    assert!(plain.iter().all(|document| document["kind"] != "Secret"), "secrets are in no repository");
    let Some(rendered) = rendered() else {
        return say("kubectl is not installed: deploy/kubernetes was validated without kustomize");
    };
    // Each file is listed; two ConfigMaps are made.
    assert_eq!(rendered.len(), plain.len() + 2, "{rendered:?}");
    let namespaces: BTreeSet<_> = rendered.iter().map(|document| document["metadata"]["namespace"].as_str()).collect();
    assert_eq!(namespaces, [Some("pipeline-watch")].into());
    let maps = |key: &str| {
        let mut maps =
            rendered.iter().filter(|document| document["kind"] == "ConfigMap" && document["data"][key].is_string());
        maps.next().unwrap_or_else(|| panic!("{key}: {rendered:?}"))
    };
    let (files, environment) = (maps("plugins.lock"), maps("HOST_REVISION"));
    assert_eq!(files["data"]["host.toml"], text("kubernetes/host.toml"));
    assert!(environment["data"]["HOST_REVISION"].as_str().unwrap().parse::<u64>().is_ok(), "{environment}");
    for pod in pods(&rendered) {
        // By the names with their hashes, so that a change is a rollout.
        let config = &named(&pod["volumes"], "config")["configMap"]["name"];
        assert!(config == &files["metadata"]["name"] && config != "pipeline-watch", "{config}");
        for container in list(&pod["initContainers"]).iter().chain(list(&pod["containers"])) {
            assert_eq!(container["image"], "registry.example.com/pipeline-watch/host:1");
        }
        let from = &pod["containers"][0]["envFrom"][0]["configMapRef"]["name"];
        assert_eq!(from, &environment["metadata"]["name"]);
    }
}

/// What Kubernetes is told is what host.toml says, and its checks are those that are set up elsewhere.
#[test]
fn the_manifests_fit_their_configuration() {
    let (documents, config) = (manifests(), config());
    let image = Config::parse(&text("host.toml")).unwrap();
    assert_eq!((config.checks, config.grants), (image.checks, image.grants));
    assert_eq!(config.state.url_env.as_deref(), Some("HOST_STATE_URL"));
    let grace = config.scheduler.grace.0;
    let listen = config.web.listen.unwrap();
    assert!(listen.ip().is_unspecified(), "{listen}: probes come from outside the pod");
    for pod in pods(&documents) {
        let end = Duration::from_secs(pod["terminationGracePeriodSeconds"].as_u64().unwrap());
        assert!(end >= grace + LAST, "{end:?} for {grace:?}");
        let channels = ["SLACK_WEBHOOK_URL_CANARY_ALERTS", "SLACK_WEBHOOK_URL_DEPLOYMENT_ALERTS"];
        let env = &pod["containers"][0]["env"];
        for variable in list(env) {
            let name = variable["name"].as_str().unwrap();
            assert!(OWN.contains(&name) || channels.contains(&name), "{name}");
            let from = &variable["valueFrom"]["secretKeyRef"];
            let is_secret = name != "XDG_CACHE_HOME";
            assert_eq!(from["key"] == name, is_secret, "{variable}");
            assert_eq!(from["optional"] == true, name == "GIT_TOKEN", "{variable}");
        }
        for name in channels.iter().chain(&["HOST_STATE_URL", "HOST_TOKEN"]) {
            named(env, name);
        }
    }
    let [host, _] = pods(&documents);
    let container = &host["containers"][0];
    assert_eq!(named(&container["ports"], "http")["containerPort"], listen.port());
    for (probe, path) in [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
        assert_eq!(container[probe]["httpGet"]["path"], path);
        assert_eq!(container[probe]["httpGet"]["port"], "http");
    }
    assert_eq!(only(&documents, "Service")["spec"]["ports"][0]["targetPort"], "http");
}

/// The hosts and no other pod are counted, spread and spoken to.
#[test]
fn every_selector_means_the_hosts() {
    let documents = manifests();
    let deployment = &only(&documents, "Deployment")["spec"];
    let labels = &deployment["template"]["metadata"]["labels"];
    let round = &only(&documents, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"];
    let spread = list(&deployment["template"]["spec"]["topologySpreadConstraints"]);
    assert_eq!(spread.len(), 2);
    let selectors = [
        &deployment["selector"]["matchLabels"],
        &only(&documents, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        &only(&documents, "Service")["spec"]["selector"],
    ];
    for selector in selectors.into_iter().chain(spread.iter().map(|spread| &spread["labelSelector"]["matchLabels"])) {
        assert_eq!(selector, labels);
        assert_ne!(selector, round);
    }
    // A drained node and a rollout leave one at work.
    assert!(
        deployment["replicas"].as_u64() > only(&documents, "PodDisruptionBudget")["spec"]["maxUnavailable"].as_u64()
    );
    assert_eq!(deployment["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
    assert_eq!(only(&documents, "CronJob")["spec"]["suspend"], true, "the hosts have schedules of their own");
}

/// Without rights, on a root that is read-only, and with no volume that outlives a pod.
#[test]
fn pods_are_confined_and_keep_nothing() {
    let documents = manifests();
    let dockerfile = text("Dockerfile");
    let user = dockerfile.lines().find_map(|line| line.strip_prefix("USER ")).unwrap();
    let layers = text("run-layer.sh");
    for pod in pods(&documents) {
        let security = &pod["securityContext"];
        assert_eq!((&security["runAsNonRoot"], security["runAsUser"].to_string().as_str()), (&true.into(), user));
        assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!((&pod["automountServiceAccountToken"], &pod["enableServiceLinks"]), (&false.into(), &false.into()));
        for volume in list(&pod["volumes"]) {
            assert!(volume["emptyDir"]["sizeLimit"].is_string() || volume["configMap"].is_object(), "{volume}");
        }
        for container in list(&pod["initContainers"]).iter().chain(list(&pod["containers"])) {
            let security = &container["securityContext"];
            assert_eq!(security["readOnlyRootFilesystem"], true, "{container}");
            assert_eq!(security["allowPrivilegeEscalation"], false, "{container}");
            assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]), "{container}");
            let resources = &container["resources"];
            assert!(
                resources["requests"]["cpu"].is_string() && resources["limits"]["memory"].is_string(),
                "{container}"
            );
        }
        let container = &pod["containers"][0];
        // The image's files are there, and these two in their place.
        for file in ["host.toml", "plugins.lock"] {
            let mount = list(&container["volumeMounts"]).iter().find(|mount| mount["subPath"] == file).unwrap();
            assert_eq!(mount["mountPath"], format!("/etc/host/{file}"));
            assert!(dockerfile.contains(&format!("/{file} ")), "{dockerfile}");
        }
        assert!(list(&container["volumeMounts"]).iter().any(|mount| mount["mountPath"] == "/tmp"), "{container}");
        let [layer] = list(&container["args"]) else { panic!("{container}") };
        let known = layers.lines().any(|line| line.ends_with(") set -- ;;") && line.contains(layer.as_str().unwrap()));
        assert!(known, "run-layer.sh has no {layer}");
    }
    // Where nobody else can change compiled code: in a directory that its user has made.
    let [host, _] = pods(&documents);
    let (container, cache) = (&host["containers"][0], &named(&host["initContainers"], "cache"));
    let mount = list(&container["volumeMounts"]).iter().find(|mount| mount["name"] == "cache").unwrap();
    assert_eq!(named(&container["env"], "XDG_CACHE_HOME")["value"], mount["mountPath"]);
    let scratch = cache["volumeMounts"][0]["mountPath"].as_str().unwrap();
    let made = format!("{scratch}/{}", mount["subPath"].as_str().unwrap());
    assert_eq!(cache["command"], serde_json::json!(["mkdir", "-p", "-m", "700", made]));
}

/// Two hosts and their database, for a try at home. Docker is not needed to see that they fit together.
#[test]
fn the_hosts_of_compose_fit_their_configuration() {
    let read = read(&[&repository().join("deploy/compose.yaml")]);
    assert_eq!(read.code, 0, "{read:?}");
    let [file] = <[Value; 1]>::try_from(serde_json::from_str::<Vec<Value>>(&read.out).unwrap()).unwrap();
    let services = file["services"].as_object().unwrap();
    let (config, sample) =
        (Config::parse(&text("compose.toml")).unwrap(), Config::parse(host_tests::HOST_TOML).unwrap());
    for (name, check) in &sample.checks {
        assert_eq!(config.checks.get(name), Some(check), "{name}");
    }
    assert_eq!(config.grants, sample.grants);
    let postgres = &services["postgres"]["environment"];
    let part = |key: &str| postgres[key].as_str().unwrap();
    let address = format!(
        "postgres://{}:{}@postgres/{}?sslmode=disable",
        part("POSTGRES_USER"),
        part("POSTGRES_PASSWORD"),
        part("POSTGRES_DB")
    );
    let hosts: Vec<_> = services.iter().filter(|(name, _)| *name != "postgres").map(|(_, service)| service).collect();
    assert_eq!(hosts.len(), 2, "{services:?}");
    let mut published = BTreeSet::new();
    for host in hosts {
        let environment = &host["environment"];
        assert_eq!(environment[config.state.url_env.as_ref().unwrap()], address);
        assert!(environment[config.web.token_env.as_str()].is_string(), "{environment}");
        assert!(environment["HOST_REVISION"].as_str().unwrap().parse::<u64>().is_ok(), "{environment}");
        let port = host["ports"][0].as_str().unwrap();
        let (outside, inside) = port.rsplit_once(':').unwrap();
        assert_eq!(inside.parse(), Ok(config.web.listen.unwrap().port()));
        assert!(outside.starts_with("127.0.0.1:") && published.insert(outside.to_owned()), "{port}");
        assert!(seconds(host["stop_grace_period"].as_str().unwrap()) >= config.scheduler.grace.0 + LAST);
        assert_eq!((&host["read_only"], &host["tmpfs"]), (&true.into(), &serde_json::json!(["/tmp"])));
        assert!(
            repository().join("deploy").join(host["build"]["context"].as_str().unwrap()).join("Cargo.toml").is_file()
        );
        assert!(repository().join(host["build"]["dockerfile"].as_str().unwrap()).is_file());
        let mounts: Vec<&str> = list(&host["volumes"]).iter().map(|mount| mount.as_str().unwrap()).collect();
        assert_eq!(mounts, ["../demo:/srv/demo:ro", "./compose.toml:/etc/host/host.toml:ro"]);
        // The image's entry point is for one layer; these run the host itself.
        assert_eq!(host["entrypoint"], serde_json::json!(["host"]));
        let words = list(&host["command"]).iter().map(|word| word.as_str().unwrap());
        let taken = ended(Command::new(binary("host")).args(words).arg("--help")).unwrap();
        assert_eq!(taken.code, 0, "{taken:?}");
    }
}
