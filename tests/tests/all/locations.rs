//! Datasets in several locations of BigQuery: each query runs where its datasets are.

use serde_json::{Value, json};

use super::{bigquery::Cloud, functions::ask};
use crate::support::{
    command::{Sample, shipped},
    google::{
        asking,
        bigquery::{BigQueryDouble, Method},
    },
};

fn places(requests: &[crate::support::http::Request]) -> Vec<Value> {
    requests.iter().map(|request| request.json()["jobReference"]["location"].clone()).collect()
}

#[test]
fn a_query_runs_where_its_datasets_are() {
    let bigquery = BigQueryDouble::start().unwrap();
    bigquery.places("ds", "US");
    bigquery.places("nba_raw", "us-west2");
    let queries = ["SELECT * FROM ds.t", "SELECT * FROM nba_raw.t", "SELECT 1 AS x"];
    bigquery.reads(&[("ds", "t")], 1);
    let ended = ask(&bigquery, &queries, "[warehouse.locations]\nds = \"US\"");
    assert_eq!(ended.code, 0, "{ended:?}");
    for method in [Method::DryRun, Method::Insert] {
        let mut places = places(&bigquery.asked(method));
        places.sort_by_key(Value::to_string);
        assert_eq!(places, ["US", "us-west2", "us-west2"]);
    }
}

#[test]
fn a_query_of_two_locations_is_refused_with_both() {
    let bigquery = BigQueryDouble::start().unwrap();
    let sql = "SELECT * FROM nba_raw.t JOIN ds.t USING (y)";
    let run = ask(&bigquery, &[sql], "[warehouse.locations]\nds = \"US\"").run("case0");
    let words = "query refused: dataset ds is in US (warehouse.locations.ds) but dataset nba_raw is in us-west2 \
                 (warehouse.location), and BigQuery runs a query in one location; ask two queries, or correct the locations \
                 in host.toml";
    assert_eq!(run["error"], words, "{run:#}");
    assert!(bigquery.asked(Method::DryRun).is_empty());
    // The same location in other letters is the same.
    let run = ask(&bigquery, &[sql], "[warehouse.locations]\nds = \"US-West2\"").run("case0");
    assert_eq!(run["status"], "pass", "{run:#}");
}

/// `tables`, `host validate` and `host doctor` ask there too.
#[test]
fn metadata_and_dry_runs_are_asked_for_where_the_dataset_is() {
    let there = "[warehouse.locations]\nnba_raw = \"US\"\n";
    let cloud = Cloud::new();
    cloud.bigquery.places("nba_raw", "US");
    cloud.configure(there);
    let ended = cloud.check("phase1-scrapers");
    assert_eq!(ended.run("phase1-scrapers")["status"], "pass", "{ended:?}");
    assert_eq!(places(&cloud.bigquery.asked(Method::Insert)), ["US"]);

    let sample = Sample::new(None).unwrap();
    let google = "[google]\ncredentials = \"none\"\n";
    sample.configure(&asking(&format!("{google}{}\n{there}", cloud.bigquery.warehouse()))).unwrap();
    let files: Vec<String> = shipped().unwrap().iter().map(|file| file.display().to_string()).collect();
    let mut arguments = vec!["validate", "--check", "phase2-raw"];
    arguments.extend(files.iter().map(String::as_str));
    let validated = sample.host(&arguments).unwrap();
    assert_eq!(validated.code, 0, "{validated:?}");
    let doctor = sample.host(&["doctor", "--output", "json"]).unwrap().json();
    let detail = |what: &str| {
        let findings = doctor["findings"].as_array().unwrap();
        findings.iter().find(|finding| finding["what"] == what).unwrap()["detail"].clone()
    };
    assert_eq!(detail("warehouse nba_raw"), "it can be queried, in US of project nba-props-platform");
    assert_eq!(detail("warehouse nba_analytics"), "it can be queried, in us-west2 of project nba-props-platform");
}

#[test]
fn a_dataset_that_is_elsewhere_is_told_with_the_setting() {
    let cloud = Cloud::new();
    cloud.bigquery.places("nba_raw", "EU");
    let error = cloud.error();
    let words = "was not found in location us-west2 (404 notFound); if the dataset exists in another location, add nba_raw = \
                 \"its location\" to [warehouse.locations] in host.toml; `bq show nba_raw` says where it is";
    assert!(error.contains(words), "{error}");
    cloud.configure("[warehouse.locations]\nnba_raw = \"US\"");
    let error = cloud.error();
    let words = "was not found in location US (404 notFound); if the dataset exists in another location, correct \
                 warehouse.locations.nba_raw in host.toml";
    assert!(error.contains(words), "{error}");
    cloud.configure("[warehouse.locations]\nnba_raw = \"EU\"");
    assert_eq!(cloud.check("phase2-raw").run("phase2-raw")["status"], json!("pass"));
}
