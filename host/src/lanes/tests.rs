//! Lanes, turns, rooms and what a permit bounds.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::*;

const ALLOWANCE: Allowance = Allowance { timeout: Duration::from_secs(60), bytes: 1000 };

fn compute(time: Duration) {
    let started = Instant::now();
    while started.elapsed() < time {
        std::hint::spin_loop();
    }
}

fn thread() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

/// Computes until it is told to stop; returns the CPU time used.
fn obey(stop: &Stop) -> Duration {
    let began = thread_time();
    while !stop.reached() {
        compute(Duration::from_micros(200));
    }
    Duration::from_nanos(thread_time() - began)
}

async fn until(met: impl Fn() -> bool) {
    let started = Instant::now();
    while !met() {
        assert!(started.elapsed() < Duration::from_secs(20), "it never came about");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_computes_moves_over_and_one_that_waits_stays() {
    let permit = Permit::new("waits", ALLOWANCE);
    let waits = permit.guest(async {
        tokio::time::sleep(10 * FAST).await;
        thread()
    });
    assert_ne!(waits.await, "plugins");
    let permit = Permit::new("computes", ALLOWANCE);
    let computes = permit.guest(async {
        for _ in 0..10 {
            compute(Duration::from_millis(1));
            tokio::task::yield_now().await;
        }
        thread()
    });
    assert_eq!(computes.await, "plugins");
    assert!(permit.meter().now() >= FAST);
}

/// The first run of a check that computes long delays others until it is found out; the next one does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_computed_long_starts_in_the_slow_lane() {
    let pace = Pace::default();
    let first_thread = async |computes: u32| {
        let permit = Permit::paced("paced", ALLOWANCE, &pace);
        let guest = permit.guest(async move {
            let first = thread();
            for _ in 0..computes {
                compute(Duration::from_millis(1));
                tokio::task::yield_now().await;
            }
            first
        });
        guest.await
    };
    assert_ne!(first_thread(10).await, "plugins");
    assert_eq!(first_thread(0).await, "plugins", "the last one computed long");
    assert_ne!(first_thread(0).await, "plugins", "the last one did not");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_is_dropped_ends() {
    let permit = Permit::new("endless guest", ALLOWANCE);
    let running = Arc::new(());
    let held = running.clone();
    let endless = permit.guest(async move {
        let _held = held;
        loop {
            compute(Duration::from_millis(1));
            tokio::task::yield_now().await;
        }
    });
    assert!(tokio::time::timeout(Duration::from_millis(50), endless).await.is_err());
    until(|| Arc::strong_count(&running) == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_stops_when_its_work_is_over_or_nobody_waits_for_it() {
    let permit = Permit::new("obeys", ALLOWANCE);
    let running = Arc::new(());
    let held = running.clone();
    let job = permit.blocking(move |stop| {
        let _held = held;
        obey(stop)
    });
    assert!(tokio::time::timeout(Duration::from_millis(50), job).await.is_err());
    until(|| Arc::strong_count(&running) == 1).await;

    let ended = permit.blocking(obey);
    let (computed, ()) = tokio::join!(ended, async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(permit.ending());
    });
    assert!(computed.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_plugin_has_more_than_its_threads() {
    let permits: Vec<Arc<Permit>> = (0..10).map(|_| Arc::new(Permit::new("many threads", ALLOWANCE))).collect();
    let running = Arc::new(AtomicUsize::new(0));
    let mut jobs = tokio::task::JoinSet::new();
    for at in 0..40 {
        let (permit, running) = (permits[at % 10].clone(), running.clone());
        jobs.spawn(async move {
            permit
                .blocking(move |stop| {
                    let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                    stop.reached();
                    std::thread::sleep(Duration::from_millis(5));
                    running.fetch_sub(1, Ordering::SeqCst);
                    now
                })
                .await
        });
    }
    let most = jobs.join_all().await.into_iter().flatten().max();
    assert!(most.is_some_and(|most| (2..=PLUGIN_THREADS).contains(&most)), "{most:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_is_new_comes_before_work_that_computed_long() {
    let old: Vec<_> = (0..4).map(|at| Arc::new(Permit::new(&format!("old {at}"), ALLOWANCE))).collect();
    let computed = || old.iter().map(|permit| permit.computed()).sum::<Duration>();
    let mut jobs = tokio::task::JoinSet::new();
    for permit in &old {
        let permit = permit.clone();
        jobs.spawn(async move { permit.blocking(obey).await });
    }
    until(|| computed() > Duration::from_millis(100)).await;
    let new = Permit::new("new", ALLOWANCE);
    let before = computed();
    let work = new.blocking(|stop| {
        let began = thread_time();
        while thread_time() - began < 20_000_000 {
            stop.reached();
            compute(Duration::from_micros(200));
        }
    });
    work.await.unwrap();
    let meanwhile = computed() - before;
    old.iter().for_each(|permit| permit.end());
    jobs.join_all().await;
    // A fair share of each would be 20 ms, which makes 80.
    let cores = u32::try_from(cores()).unwrap();
    assert!(meanwhile < cores * Duration::from_millis(20), "{meanwhile:?}");
}

/// A plugin serves many checks: those that compute long take turns, and none waits until another ends.
#[tokio::test(flavor = "multi_thread")]
async fn work_of_one_plugin_takes_turns() {
    let works: Vec<_> = (0..PLUGIN_THREADS).map(|_| Arc::new(Permit::new("many checks", ALLOWANCE))).collect();
    let computed = || works.iter().map(|permit| permit.computed()).collect::<Vec<_>>();
    let mut jobs = tokio::task::JoinSet::new();
    for permit in &works {
        let permit = permit.clone();
        jobs.spawn(async move { permit.blocking(obey).await });
    }
    until(|| computed().iter().sum::<Duration>() > Duration::from_millis(400)).await;
    let shares = computed();
    works.iter().for_each(|permit| permit.end());
    jobs.join_all().await;
    // A fair share of each would be 100 ms.
    assert!(shares.iter().all(|share| *share > Duration::from_millis(50)), "{shares:?}");
}

#[test]
fn bytes_are_charged_while_they_are_held() {
    let permit = Permit::new("holds", ALLOWANCE);
    let mut held = permit.hold(600).unwrap();
    assert_eq!(permit.hold(600).unwrap_err(), TooMuch(1000));
    held.more(400).unwrap();
    assert_eq!(usage().iter().find(|used| used.plugin == "holds").unwrap().bytes, 1000);
    drop(held);
    assert!(permit.hold(1000).is_ok());
    assert_eq!(usage().iter().find(|used| used.plugin == "holds").unwrap().bytes, 0);
}

#[tokio::test]
async fn a_plugin_with_many_checks_does_not_crowd_out_one_with_a_single_check() {
    let room = Room::new(4);
    let mut many = Vec::new();
    for _ in 0..3 {
        many.push(room.take("many").await);
    }
    // A quarter is left to the others.
    let soon = Duration::from_millis(20);
    assert!(tokio::time::timeout(soon, room.take("many")).await.is_err());
    let single = room.take("single").await;
    // The one with the least usage is next, not the first in the queue.
    let waiting = tokio::spawn({
        let room = room.clone();
        async move { room.take("many").await }
    });
    tokio::time::sleep(soon).await;
    let other = tokio::spawn({
        let room = room.clone();
        async move { room.take("other").await }
    });
    tokio::time::sleep(soon).await;
    many.pop();
    let other = tokio::time::timeout(soon, other).await.unwrap().unwrap();
    assert!(!waiting.is_finished());
    drop(single);
    let waited = tokio::time::timeout(soon, waiting).await.unwrap().unwrap();
    drop((many, other, waited));
    assert!(tokio::time::timeout(soon, room.take("many")).await.is_ok());
}
