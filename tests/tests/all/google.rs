//! Deployments from Cloud Run, and webhooks from Secret Manager.

use std::{process::Stdio, time::Duration};

use host_tests::{Fault, HOST_TOML};
use serde_json::{Value, json};

use crate::support::{
    command::{Ended, Sample},
    google::{
        asking,
        bigquery::{BigQueryDouble, Method, error},
        cloud_run::CloudRunDouble,
        deployed,
        identity::IdentityDouble,
        secret_manager::SecretManagerDouble,
    },
    http::{Reply, serve},
    slack::{self, words},
};

/// The deployments of the sample's deployments.json, on Cloud Run instead.
pub(super) fn on_cloud_run(fault: Option<Fault>, change: impl Fn(&str) -> Value) -> (Sample, CloudRunDouble) {
    let sample = Sample::new(fault).unwrap();
    let cloud_run = CloudRunDouble::start().unwrap();
    let listed = std::fs::read_to_string(sample.path().join("deployments.json")).unwrap();
    for entry in serde_json::from_str::<Vec<Value>>(&listed).unwrap() {
        let text = |key: &str| entry[key].as_str().unwrap().to_owned();
        let minimum = entry["min_instances"].as_u64().unwrap() as u32;
        let name = text("service");
        cloud_run.deploy(&name, entry["commit"].as_str(), &text("deployed"), minimum, change(&name));
    }
    let google = "[google]\ncredentials = \"none\"\n";
    sample.configure(&deployed(&format!("{google}{}", cloud_run.deployments()))).unwrap();
    (sample, cloud_run)
}

fn drift(sample: &Sample) -> Ended {
    sample.once(&["--output", "json", "--check", "deployment-drift"]).unwrap()
}

#[test]
fn cloud_run_is_listed_once_a_round() {
    let (sample, cloud_run) = on_cloud_run(None, |_| json!({}));
    let ended = drift(&sample);
    assert_eq!((ended.code, &ended.run("deployment-drift")["summary"]), (0, &json!("10 of 10 services in sync")));
    // Ten services on two pages, and the one revision of each that matters.
    let asked = cloud_run.asked();
    let of = |part: &str| asked.iter().filter(|path| path.contains(part)).count();
    assert_eq!((of("/revisions/"), of("-00001-abc"), asked.len()), (10, 10, 12), "{asked:?}");
}

#[test]
fn a_stale_deployment_on_cloud_run_is_told() {
    let (sample, _cloud_run) = on_cloud_run(Some(Fault::StaleDeployment), |_| json!({}));
    assert_eq!(drift(&sample).code, 2);
    let [(channel, message)] = sample.slack.received().try_into().unwrap();
    let words = words(&message);
    assert_eq!(channel, "deployment-alerts");
    assert!(words.contains("./bin/deploy-service.sh prediction-worker") && words.contains("hours behind"), "{words}");
}

/// Contradictory facts make a service unknown, with both facts, and the other services are judged.
#[test]
fn a_contradiction_is_unknown_for_its_service_alone() {
    let (sample, _cloud_run) = on_cloud_run(None, |name| match name {
        "prediction-worker" => json!({ "labels": { "commit-sha": "0123abc" } }),
        "nba-grading-service" => json!({ "trafficStatuses": [{ "revision": "a", "percent": 40 }] }),
        "nba-admin-dashboard" => {
            json!({ "trafficStatuses": [{ "revision": "nba-admin-dashboard-00000-old", "percent": 100 }] })
        }
        _ => json!({}),
    });
    let ended = drift(&sample);
    let run = ended.run("deployment-drift");
    assert_eq!((ended.code, &run["verdict"]), (3, &json!("fail")), "{run}");
    let error = run["error"].as_str().unwrap();
    for fact in [
        "the label commit-sha of prediction-worker is 0123abc, but the label commit-sha of its revision prediction-worker-00001-abc is ",
        "nba-grading-service adds up to 40 %",
    ] {
        assert!(error.contains(fact), "{fact}: {error}");
    }
    let violations = run["violations"].as_array().unwrap();
    assert_eq!(violations.len(), 1, "{run}");
    assert!(violations[0]["message"].as_str().unwrap().starts_with("nba-admin-dashboard: "), "{run}");
}

#[test]
fn a_listing_that_fails_is_unknown_for_all() {
    for (reply, expected) in [
        (
            Reply::Answer(403, json!({ "error": { "status": "PERMISSION_DENIED", "message": "no" } }).to_string()),
            "need roles/run.viewer",
        ),
        (
            Reply::Answer(404, json!({ "error": { "status": "NOT_FOUND", "message": "no project" } }).to_string()),
            "no project",
        ),
        (
            Reply::Answer(200, json!({ "services": [], "unreachable": ["us-west2"] }).to_string()),
            "us-west2 is unreachable",
        ),
    ] {
        let (sample, cloud_run) = on_cloud_run(None, |_| json!({}));
        cloud_run.refuse(reply);
        let ended = drift(&sample);
        let run = ended.run("deployment-drift");
        assert_eq!(ended.code, 3, "{run}");
        assert!(run["error"].as_str().unwrap().contains(expected), "{run}");
        assert!(cloud_run.asked().len() <= 2, "one listing for all, not one for each: {:?}", cloud_run.asked());
    }
    let (sample, _cloud_run) = on_cloud_run(Some(Fault::UnknownService), |_| json!({}));
    let ended = drift(&sample);
    assert_eq!(ended.code, 3, "a service that is not deployed is unknown: {ended:?}");
}

/// A refusal that no role changes does not send anybody to look for roles.
#[test]
fn a_perimeter_and_a_disabled_api_are_no_missing_role() {
    // As <https://cloud.google.com/vpc-service-controls/docs/retrieve-troubleshoot-errors> and error_reason.proto say.
    let refusal = |message: &str, reason: &str| {
        let details = json!([{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com",
            "metadata": { "service": "run.googleapis.com", "consumer": "projects/123" },
        }]);
        let error = json!({ "code": 403, "message": message, "status": "PERMISSION_DENIED", "details": details });
        Reply::Answer(403, json!({ "error": error }).to_string())
    };
    let prohibited = "Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: eYhDkfYCu-dO";
    let unused = "Cloud Run Admin API has not been used in project 123 before or it is disabled.";
    for (reply, words) in [
        (refusal(prohibited, "SECURITY_POLICY_VIOLATED"), ["eYhDkfYCu-dO", "a perimeter of VPC Service Controls"]),
        (refusal(unused, "SERVICE_DISABLED"), ["has not been used", "`gcloud services enable`"]),
    ] {
        let (sample, cloud_run) = on_cloud_run(None, |_| json!({}));
        cloud_run.refuse(reply);
        let error = drift(&sample).run("deployment-drift")["error"].as_str().unwrap().to_owned();
        assert!(words.iter().all(|word| error.contains(word)) && !error.contains("need roles/"), "{error}");
    }
    let sample = Sample::new(None).unwrap();
    let bigquery = BigQueryDouble::start().unwrap();
    sample.configure(&asking(&format!("[google]\ncredentials = \"none\"\n{}", bigquery.warehouse()))).unwrap();
    for (reason, message, words, roles) in [
        ("policyViolation", prohibited, "a perimeter of VPC Service Controls", false),
        ("accessNotConfigured", "BigQuery API has not been used", "`gcloud services enable`", false),
        ("quotaExceeded", "Custom quota exceeded: QueryUsagePerDay", "a quota is used up: https://", false),
        ("accessDenied", "Access Denied: Table nba_raw", "need roles/bigquery.jobUser", true),
    ] {
        bigquery.answer_next(Method::DryRun, [error(403, reason, message)]);
        let ended = sample.once(&["--output", "json", "--check", "phase2-raw"]).unwrap();
        let error = ended.run("phase2-raw")["error"].as_str().unwrap().to_owned();
        assert!(error.contains(words) && error.contains("need roles/") == roles, "{reason}: {error}");
    }
}

/// A sample whose webhooks are in Secret Manager.
fn with_secrets(more: &str) -> (Sample, SecretManagerDouble) {
    let sample = Sample::new(Some(Fault::NullNames)).unwrap();
    let secrets = SecretManagerDouble::start().unwrap();
    secrets.set("slack-webhook-canary-alerts", "latest", &sample.slack.webhook("canary-alerts"));
    let google = format!(
        "[google]\nproject = \"nba-props-platform\"\ncredentials = \"none\"\nsecrets_endpoint = \"{}\"\n{more}",
        secrets.address.url()
    );
    sample.configure(&format!("{HOST_TOML}\n{google}")).unwrap();
    (sample, secrets)
}

#[test]
fn a_webhook_comes_from_a_secret() {
    let key = "[slack.channels.\"#canary-alerts\"]\nwebhook = \"secret:slack-webhook-canary-alerts\"\n";
    let (sample, secrets) = with_secrets(key);
    assert_eq!(sample.once(&[]).unwrap().code, 2);
    assert_eq!(sample.slack.received().len(), 1);
    let path = "/v1/projects/nba-props-platform/secrets/slack-webhook-canary-alerts/versions/latest:access";
    assert_eq!(secrets.asked(), [path]);

    // The environment may hold the name instead of the webhook; here of one version.
    let (sample, secrets) = with_secrets("");
    secrets.set("slack-webhook-canary-alerts", "3", &sample.slack.webhook("canary-alerts"));
    let run = |name: &str| {
        let mut command = sample.command();
        command.env("SLACK_WEBHOOK_URL_CANARY_ALERTS", name);
        command.args(["run", "--once", "--at", crate::support::AT]).args(crate::support::command::shipped().unwrap());
        crate::support::command::ended(&mut command).unwrap()
    };
    assert_eq!(run("secret:slack-webhook-canary-alerts/versions/3").code, 2);
    assert_eq!(sample.slack.received().len(), 1);

    let refused = run("secret:slack-webhook-canary-alerts/versions/9");
    assert_eq!(refused.code, 64);
    for words in [
        "channel #canary-alerts: secret:slack-webhook-canary-alerts/versions/9",
        "not found",
        "roles/secretmanager.secretAccessor",
    ] {
        assert!(refused.err.contains(words), "{words}: {}", refused.err);
    }
}

/// The bot's token comes from a secret, and is read again when Slack refuses it.
#[test]
fn a_bot_token_is_read_again_when_it_is_refused() {
    let (sample, secrets) = with_secrets("");
    let file = sample.path().join("host.toml");
    let api = sample.slack.api();
    let bot = format!("deliver = \"bot\"\ntoken = \"secret:slack-bot-token\"\nendpoint = \"{api}\"");
    let toml = std::fs::read_to_string(&file).unwrap().replace("deliver = \"webhook\"", &bot);
    std::fs::write(&file, toml).unwrap();
    secrets.set("slack-bot-token", "latest", "xoxb-old");
    let revoked = slack::Reply::Late(Duration::from_millis(300), 200, r#"{"ok":false,"error":"token_revoked"}"#);
    sample.slack.answer_method("chat.postMessage", &[revoked]);
    let ended = std::thread::scope(|scope| {
        scope.spawn(|| {
            while sample.slack.requests().is_empty() {
                std::thread::sleep(Duration::from_millis(1));
            }
            secrets.set("slack-bot-token", "latest", slack::TOKEN);
        });
        sample.once(&[]).unwrap()
    });
    assert_eq!(ended.code, 2, "{ended:?}");
    let tokens: Vec<String> = sample.slack.requests().into_iter().map(|request| request.token).collect();
    assert_eq!((tokens, sample.slack.posts().len()), (vec!["xoxb-old".to_owned(), slack::TOKEN.to_owned()], 1));
}

/// A webhook that was replaced while a message was on its way: the secret is read again, and the message arrives.
#[test]
fn a_secret_is_read_again_when_its_webhook_is_gone() {
    let key = "[slack.channels.\"#canary-alerts\"]\nwebhook = \"secret:slack-webhook-canary-alerts\"\n";
    let (sample, secrets) = with_secrets(key);
    let gone = slack::SlackDouble::start().unwrap();
    gone.answer(slack::Reply::Answer(404, "", "no_service"));
    secrets.set("slack-webhook-canary-alerts", "latest", &gone.webhook("canary-alerts"));
    let staying = std::thread::scope(|scope| {
        // It changes as soon as the old one was tried.
        scope.spawn(|| {
            while gone.requests().is_empty() {
                std::thread::sleep(Duration::from_millis(1));
            }
            secrets.set("slack-webhook-canary-alerts", "latest", &sample.slack.webhook("canary-alerts"));
        });
        // The first answer takes a moment, so that the change comes first.
        gone.answer_next(&[slack::Reply::Late(Duration::from_millis(300), 404, "no_service")]);
        sample.once(&[]).unwrap()
    });
    assert_eq!(staying.code, 2, "{staying:?}");
    assert_eq!((gone.requests().len(), sample.slack.received().len()), (1, 1));
    assert_eq!(secrets.asked().len(), 2);

    // A webhook that is gone and was not replaced: the message is set aside.
    let (sample, _secrets) = with_secrets(key);
    sample.slack.answer(slack::Reply::Answer(404, "", "no_service"));
    let ended = sample.once(&[]).unwrap();
    assert_eq!(ended.code, 3);
    assert!(ended.err.contains("will not be retried: answered 404: no_service"), "{}", ended.err);
}

#[test]
fn a_regional_secret_is_read_by_its_location() {
    let key = "[slack.channels.\"#canary-alerts\"]\nwebhook = \"secret:us-west2/slack-webhook\"\n";
    let (sample, secrets) = with_secrets(key);
    secrets.set_in("us-west2", "slack-webhook", "latest", &sample.slack.webhook("canary-alerts"));
    assert_eq!(sample.once(&[]).unwrap().code, 2);
    assert_eq!(sample.slack.received().len(), 1);
    let path = "/v1/projects/nba-props-platform/locations/us-west2/secrets/slack-webhook/versions/latest:access";
    assert_eq!(secrets.asked(), [path]);

    // A global secret of the same name is another one.
    let (sample, secrets) = with_secrets(key);
    secrets.set("slack-webhook", "latest", &sample.slack.webhook("canary-alerts"));
    let refused = sample.once(&[]).unwrap();
    assert_eq!(refused.code, 64);
    assert!(refused.err.contains("secret:us-west2/slack-webhook/versions/latest of project"), "{}", refused.err);
}

/// Without another address, the request goes to the region's own server; a proxy sees which.
#[test]
fn a_regional_secret_is_asked_for_at_its_regions_server() {
    for (secret, server) in [
        ("secret:us-west2/slack-webhook", "secretmanager.us-west2.rep.googleapis.com:443"),
        ("secret:slack-webhook", "secretmanager.googleapis.com:443"),
    ] {
        let sample = Sample::new(None).unwrap();
        let identity = IdentityDouble::start(3600).unwrap();
        let (seen, asked) = std::sync::mpsc::channel();
        let proxy = serve(move |request| {
            let _ = seen.send(format!("{} {}", request.method, request.path));
            Reply::Answer(403, String::new())
        })
        .unwrap();
        let channel = format!("[slack.channels.\"#canary-alerts\"]\nwebhook = \"{secret}\"\n");
        sample.configure(&format!("{HOST_TOML}\n[google]\nproject = \"nba-props-platform\"\n{channel}")).unwrap();
        let mut command = sample.command();
        command.env("GCE_METADATA_HOST", identity.address.host()).env("HTTPS_PROXY", proxy.url());
        command.args(["run", "--once", "--at", crate::support::AT]).args(crate::support::command::shipped().unwrap());
        let mut host = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let first = asked.recv_timeout(Duration::from_secs(60));
        host.kill().unwrap();
        host.wait().unwrap();
        assert_eq!(first.unwrap(), format!("CONNECT {server}"));
    }
}

/// The checksum of each answer is verified: one that is wrong is read once more, and never used.
#[test]
fn a_secret_that_was_damaged_on_its_way_is_not_used() {
    let key = "[slack.channels.\"#canary-alerts\"]\nwebhook = \"secret:slack-webhook-canary-alerts\"\n";
    for damaged in [0, 1] {
        let (sample, secrets) = with_secrets(key);
        secrets.damage(damaged);
        assert_eq!(sample.once(&[]).unwrap().code, 2);
        assert_eq!((sample.slack.received().len(), secrets.asked().len()), (1, 1 + damaged as usize));
    }
    let (sample, secrets) = with_secrets(key);
    secrets.damage(2);
    let refused = sample.once(&[]).unwrap();
    assert_eq!((refused.code, secrets.asked().len()), (64, 2));
    for words in ["secret:slack-webhook-canary-alerts/versions/latest", "does not match its checksum", "tried twice"] {
        assert!(refused.err.contains(words), "{words}: {}", refused.err);
    }
    let path = sample.slack.webhook("canary-alerts");
    let path = path.rsplit("://").next().unwrap();
    assert!(!refused.err.contains(path.split_once('/').unwrap().1), "{}", refused.err);

    // An answer without a checksum is accepted.
    let (sample, secrets) = with_secrets(key);
    secrets.leave_out_checksums();
    assert_eq!(sample.once(&[]).unwrap().code, 2);
    assert_eq!(sample.slack.received().len(), 1);
}

/// Secrets and tokens appear in no output or record of the host.
#[test]
fn secrets_stay_secret() {
    let key = "[slack.channels.\"#canary-alerts\"]\nwebhook = \"secret:slack-webhook-canary-alerts\"\n";
    let (sample, secrets) = with_secrets(key);
    let identity = IdentityDouble::start(3600).unwrap();
    secrets.set("slack-webhook-canary-alerts", "latest", "http://hooks.example/services/T0/B0/s3cret");
    let toml = std::fs::read_to_string(sample.path().join("host.toml")).unwrap();
    std::fs::write(sample.path().join("host.toml"), toml.replace("credentials = \"none\"\n", "")).unwrap();
    let mut command = sample.command();
    command.env("GCE_METADATA_HOST", identity.address.host());
    command.args(["run", "--once", "--at", crate::support::AT]).args(crate::support::command::shipped().unwrap());
    let ended = crate::support::command::ended(&mut command).unwrap();
    assert_eq!(ended.code, 64);
    assert!(
        ended.err.contains("the webhook in secret:slack-webhook-canary-alerts/versions/latest is not https"),
        "{}",
        ended.err
    );
    assert!(!ended.err.contains("s3cret") && !ended.err.contains("token-1"), "{}", ended.err);
}
