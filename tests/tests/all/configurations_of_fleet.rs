//! Which of several configurations on one record holds, and what the hosts of the others do meanwhile.

use std::time::Duration;

use crate::{
    fleet::{count, host, slow_sample},
    killed_in_fleet::failing_sample,
    support::{
        command::ended,
        postgres::{Postgres, VARIABLE},
        service::Service,
    },
};

/// Two configurations on one record would end each other's alerts: the one with the highest revision holds.
#[test]
fn of_two_configurations_the_newer_one_holds_until_somebody_adopts_the_other() {
    let server = Postgres::start().unwrap();
    let sample = slow_sample(&["a"], "jitter = \"20s\"");
    let host_toml = std::fs::read_to_string(sample.path().join("host.toml")).unwrap();
    std::fs::write(sample.path().join("newer.toml"), format!("# newer\n{host_toml}")).unwrap();
    let start = |config: &str, revision: Option<&str>| {
        let mut command = sample.command();
        command.env(VARIABLE, server.url()).args(["run", "--config", config, "plugins"]);
        command.envs(revision.map(|revision| ("HOST_REVISION", revision)));
        Service::launch(&sample, command).unwrap()
    };
    let mut older = start("host.toml", None);
    assert_eq!(older.get("/readyz").status, 200);
    let held = server.sql("SELECT digest FROM configuration").unwrap();
    // A host that cannot start ranks nothing, and one that refuses its files runs what it ran.
    let broken = format!("{host_toml}\n[heartbeat]\nurl_env = \"NOT_THERE\"\n");
    std::fs::write(sample.path().join("broken.toml"), &broken).unwrap();
    let mut command = sample.command();
    command.env(VARIABLE, server.url()).env("HOST_REVISION", "1").args(["run", "--config", "broken.toml", "plugins"]);
    let ended = ended(&mut command).unwrap();
    assert_eq!(ended.code, 64, "{ended:?}");
    sample.configure(&broken).unwrap();
    older.host.wait_for("reload rejected").unwrap();
    assert_eq!(server.sql("SELECT digest FROM configuration").unwrap(), held);
    assert_eq!(count(&server, "SELECT COUNT(*) FROM hosts"), 1);
    sample.configure(&host_toml).unwrap();
    older.host.wait_for("reloaded: nothing changed").unwrap();
    assert_eq!(older.get("/readyz").status, 200);
    let unranked = start("newer.toml", None);
    assert_eq!(unranked.get("/readyz").status, 503, "another one holds");
    unranked.host.end("TERM").unwrap();
    let newer = start("newer.toml", Some("2"));
    assert_eq!(newer.get("/readyz").status, 200);
    older.wait_until("the older one takes no part", 10, |older| older.get("/readyz").status == 503);
    let list = host(&sample, &server.url(), &["fleet", "--output", "json"]).json();
    let of = |takes_part: bool| {
        let hosts = list["hosts"].as_array().unwrap();
        hosts.iter().find(|host| host["takes_part"] == takes_part).unwrap()["digest"].as_str().unwrap().to_owned()
    };
    assert_eq!(list["holding"]["digest"], of(true));
    let once = host(&sample, &server.url(), &["run", "--once", "plugins"]);
    assert_eq!(once.code, 64, "{once:?}");
    assert!(once.err.contains("takes no part") && once.err.contains("host fleet adopt"), "{}", once.err);
    let adopted = host(&sample, &server.url(), &["fleet", "adopt", &of(false)[..6]]);
    assert_eq!(adopted.code, 0, "{adopted:?}");
    older.wait_until("the older one takes part again", 10, |older| older.get("/readyz").status == 200);
    newer.wait_until("the newer one takes no part", 10, |newer| newer.get("/readyz").status == 503);
    let page = newer.get("/fleet").body;
    assert!(page.contains("2 hosts") && page.contains("takes no part"), "{page}");
    let asked = newer.post("/api/v1/gates/a", r#"{"date": "2026-02-01"}"#);
    assert!(asked.status != 200 && asked.body.contains("takes no part"), "{asked:?}");
    // What one that takes no part would skip, the other runs.
    let recorded = "SELECT COUNT(*) FROM runs WHERE NOT left_out AND NOT past";
    older.wait_until("two rounds", 200, |_| count(&server, recorded) >= 2);
    assert_eq!(server.sql("SELECT digest FROM claims WHERE key = 'check a'").unwrap(), of(false), "who ran it last");
    assert_eq!(count(&server, "SELECT COUNT(*) FROM runs WHERE left_out"), 0);
    let gone = "INSERT INTO hosts (id, name, version, began, seen, digest) \
        VALUES ('gone', 'gone', '1', 0, clock_timestamp() - interval '1 minute', 'zzz')";
    server.sql(gone).unwrap();
    let unknown = host(&sample, &server.url(), &["fleet", "adopt", "zzz"]);
    assert_eq!(unknown.code, 64, "no host runs it: {unknown:?}");
    newer.host.end("TERM").unwrap();
    let (_, said) = older.host.end("TERM").unwrap();
    assert!(said.contains("takes no part") && said.contains("takes part again"), "{said}");
}

/// While the record is away no host hears of the others; the configuration that held before holds after that.
#[test]
fn an_outage_changes_no_configuration() {
    let mut server = Postgres::start().unwrap();
    let sample = failing_sample(&["a"], "");
    let host_toml = std::fs::read_to_string(sample.path().join("host.toml")).unwrap();
    std::fs::write(sample.path().join("other.toml"), format!("# other\n{host_toml}")).unwrap();
    let start = |config: &str| {
        let mut command = sample.command();
        command.env(VARIABLE, server.url()).args(["run", "--config", config, "plugins"]);
        Service::launch(&sample, command).unwrap()
    };
    let (mut first, other) = (start("host.toml"), start("other.toml"));
    assert_eq!((first.get("/readyz").status, other.get("/readyz").status), (200, 503));
    server.stop();
    // Longer than a host is remembered.
    std::thread::sleep(Duration::from_secs(33));
    server.run().unwrap();
    first.wait_until("the first one takes part", 20, |first| first.get("/readyz").status == 200);
    // It hears again every other second.
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!((first.get("/readyz").status, other.get("/readyz").status), (200, 503));
    first.host.wait_for("the record does not answer").unwrap();
    let (_, said) = first.host.end("TERM").unwrap();
    assert!(!said.contains("takes no part"), "{said}");
    other.wait_until("nobody else is there", 60, |other| other.get("/readyz").status == 200);
    other.host.end("TERM").unwrap();
}

/// A host that slept while another configuration came to hold claims nothing under its own. Once its own holds again, it catches up with
/// what the others had no check for, however long the record refuses to say what that is.
#[test]
fn a_host_that_slept_does_not_run_what_is_no_longer_configured() {
    let server = Postgres::start().unwrap();
    let sample = failing_sample(&["a", "removed"], "");
    let host_toml = std::fs::read_to_string(sample.path().join("host.toml")).unwrap();
    let start = host_toml.find("[checks.removed]").unwrap();
    let end = start + host_toml[start..].find("\n[web]").unwrap();
    let newer = format!("{}{}", &host_toml[..start], &host_toml[end..]);
    std::fs::write(sample.path().join("newer.toml"), newer).unwrap();
    let join = |config: &str, revision: &str| {
        let mut command = sample.command();
        command.env(VARIABLE, server.url()).env("HOST_REVISION", revision);
        Service::launch(&sample, {
            command.args(["run", "--config", config, "plugins"]);
            command
        })
        .unwrap()
    };
    let old = join("host.toml", "1");
    assert_eq!(old.get("/readyz").status, 200);
    let runs = |check: &str| format!("SELECT COUNT(*) FROM runs WHERE check_name = '{check}'");
    let after = &runs("removed");
    old.wait_until("a round", 130, |_| count(&server, after) >= 1 && count(&server, &runs("a")) >= 1);
    old.host.signal("STOP").unwrap();
    let new = join("newer.toml", "2");
    let before = count(&server, after);
    new.wait_until("another round", 130, |_| count(&server, &runs("a")) > before);
    old.host.signal("CONT").unwrap();
    old.wait_until("it takes no part", 20, |old| old.get("/readyz").status == 503);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(count(&server, after), before, "it is no longer configured");
    let newest = "SELECT COALESCE(MAX(due), 0) FROM runs WHERE check_name = ";
    let (missed, seen) = (count(&server, &format!("{newest}'a'")), count(&server, &format!("{newest}'removed'")));
    assert!(missed > seen);
    server.background("BEGIN; LOCK TABLE runs IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(25)").unwrap();
    let digest = server.sql("SELECT digest FROM hosts WHERE digest <> (SELECT digest FROM configuration)").unwrap();
    let adopted = host(&sample, &server.url(), &["fleet", "adopt", &digest]);
    assert_eq!(adopted.code, 0, "{adopted:?}");
    let caught_up = format!("{after} AND due > {seen} AND due <= {missed}");
    new.wait_until("the older one catches up", 60, |_| count(&server, &caught_up) > 0);
    let (_, said) = old.host.end("TERM").unwrap();
    assert!(said.contains("takes part again") && said.contains("the record does not answer"), "{said}");
    new.host.end("TERM").unwrap();
}
