//! Every end-to-end test, in one program: it links once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
// Tests look into the host's futures, which are deeply nested.
#![recursion_limit = "256"]
// A test is not a plugin: it may compile, and start threads.
#![allow(clippy::disallowed_methods)]

#[path = "../../support/mod.rs"]
mod support;

// They run in the order of their names, so tests that wait much are spread over them: what waits leaves the processor to the others.
mod acceptance;
mod accusations;
mod alarms;
mod alerting;
mod bad_input;
mod baselines;
mod bigquery;
mod bills;
mod board;
mod bot;
mod browser;
mod budgets;
mod buttons;
mod canaries;
mod cases;
mod closed;
mod cloud_run;
mod compile;
mod configurations_of_fleet;
mod consult;
mod contract;
mod credentials;
mod data_dates;
mod dates;
mod delivery;
mod dependencies;
mod deploy;
mod docs;
mod doctor;
mod downstream;
mod drift;
mod ecosystem;
mod emulator;
mod evidence;
mod examples;
mod explain;
mod first_contact;
mod fleet;
mod for_each;
mod functions;
mod gate;
mod google;
mod grants;
mod isolation;
mod jobs;
mod killed;
mod killed_in_fleet;
mod kubernetes;
mod labels;
mod layers;
mod locations;
mod looks;
mod mutants;
mod news;
mod nulls;
mod odd_dates;
mod older_record;
mod outages_in_fleet;
mod pins;
mod pipeline;
mod plan;
mod prove;
mod python_gate;
mod queries;
mod real_gcloud;
mod reasons;
mod record;
mod record_of_fleet;
mod registries;
mod registries_again;
mod registry;
mod replay;
mod service;
mod signatures;
mod skips;
mod stacks;
mod storms;
mod suggested;
mod tables;
mod teams;
mod templates;
mod thirty_dates;
mod thirty_days;
mod threads;
mod told;
mod truth;
mod tuned;
mod validation;
mod values;
mod verify;
mod views;
mod web;
mod wishes;
