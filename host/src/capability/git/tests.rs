//! Compares with git: on generated histories, `latest` and `changes` return the same as `git log`.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use super::{
    Repository,
    repository::{Answer, Lookup},
};
use crate::{
    capability::{Caller, Calls, tape::Question},
    config::{Budgets, Grants},
    contract::{Error, git::Base},
};

/// A small generator of numbers, the same for the same seed (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

fn git(directory: &Path, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("git")
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn repository(path: &Path) -> Repository {
    Repository::new("test", path.to_owned(), "main")
}

fn calls() -> Arc<Calls> {
    Arc::new(Calls::new(Caller::default(), Grants::default(), Budgets::default()))
}

/// Asks all questions concurrently, so that one walk answers them.
fn ask(path: &Path, lookups: Vec<Lookup>) -> Vec<Result<Answer, Error>> {
    let (repository, run) = (repository(path), calls());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        futures_util::future::join_all(lookups.into_iter().map(|lookup| repository.ask(&run, lookup))).await
    })
}

fn one(path: &Path, lookup: Lookup) -> Result<Answer, Error> {
    ask(path, vec![lookup]).pop().unwrap()
}

const PATHS: [&str; 9] = ["a", "a/x", "a/y/deep", "b", "b/one.txt", "c", "c/z", "never", "top.txt"];
const FILES: [&str; 10] = [
    "a/x/1.txt",
    "a/x/2.txt",
    "a/y/deep/1.txt",
    "a/y/2.txt",
    "b/one.txt",
    "b/two.txt",
    "c/z/1.txt",
    "c/2.txt",
    "top.txt",
    "other/1.txt",
];

/// The contents of a commit's tree.
type Files = BTreeMap<&'static str, String>;

/// A history of `count` commits with branches, merges of two and more, renames, reverts, removed directories, commits
/// that change nothing, and times that do not advance or go backwards.
fn history(directory: &Path, seed: u64, count: usize) {
    let mut numbers = Numbers(seed * 2_654_435_761 + 1);
    let mut commits: Vec<Files> = Vec::new();
    // The commits that branches end in.
    let mut tips: Vec<usize> = Vec::new();
    let mut stream = String::new();
    let mut time = 1_700_000_000_u64;
    for at in 0..count {
        time += match numbers.below(10) {
            0..=2 => 0,
            3..=7 => 60,
            _ => 7200,
        };
        let date = if numbers.chance(6) { time - 40_000 } else { time };
        let parents: Vec<usize> = match commits.len() {
            0 => Vec::new(),
            _ if numbers.chance(1) && at > 20 => Vec::new(),
            _ => {
                let mut parents = vec![tips[numbers.below(tips.len())]];
                if numbers.chance(25) {
                    for _ in 0..1 + usize::from(numbers.chance(20)) * numbers.below(3) {
                        let other = tips[numbers.below(tips.len())];
                        if !parents.contains(&other) {
                            parents.push(other);
                        }
                    }
                } else if numbers.chance(20) {
                    // A branch from somewhere in the past.
                    parents = vec![numbers.below(commits.len())];
                }
                parents
            }
        };
        let mut files: Files = parents.first().map(|parent| commits[*parent].clone()).unwrap_or_default();
        for other in parents.iter().skip(1) {
            match numbers.below(3) {
                0 => {}
                1 => files.clone_from(&commits[*other]),
                _ => files.extend(commits[*other].iter().map(|(path, text)| (*path, text.clone()))),
            }
        }
        match numbers.below(10) {
            0 if parents.len() < 2 => {}
            1 => {
                // Back to how it was.
                if let Some(old) = commits.get(numbers.below(commits.len().max(1))) {
                    files.clone_from(old);
                }
            }
            2 => {
                let directory = ["a/", "a/x/", "b/", "c/"][numbers.below(4)];
                files.retain(|path, _| !path.starts_with(directory));
            }
            3 => {
                let (from, to) = (FILES[numbers.below(FILES.len())], FILES[numbers.below(FILES.len())]);
                if let Some(text) = files.remove(from) {
                    files.insert(to, text);
                }
            }
            _ if parents.len() < 2 || numbers.chance(30) => {
                files.insert(FILES[numbers.below(FILES.len())], format!("{}\n", numbers.below(5)));
            }
            _ => {}
        }
        writeln!(
            stream,
            "commit refs/heads/work\nmark :{}\ncommitter A <a@example.com> {date} +0000\ndata 3\nc{:02}",
            at + 1,
            at % 100
        )
        .unwrap();
        match parents.first() {
            // Without this, fast-import takes the branch's last commit.
            None => stream.insert_str(stream.rfind("commit refs/heads/work").unwrap(), "reset refs/heads/work\n\n"),
            Some(first) => writeln!(stream, "from :{}", first + 1).unwrap(),
        }
        for other in parents.iter().skip(1) {
            writeln!(stream, "merge :{}", other + 1).unwrap();
        }
        stream.push_str("deleteall\n");
        for (path, text) in &files {
            write!(stream, "M 100644 inline {path}\ndata {}\n{text}\n", text.len()).unwrap();
        }
        stream.push('\n');
        tips.retain(|tip| !parents.contains(tip));
        tips.push(at);
        commits.push(files);
    }
    // In the end everything comes together, so that all of it is in the branch's history.
    let last = commits.len() - 1;
    writeln!(
        stream,
        "commit refs/heads/main\nmark :{}\ncommitter A <a@example.com> {} +0000\ndata 3\nend\nfrom :{}",
        count + 1,
        time + 60,
        last + 1
    )
    .unwrap();
    for tip in tips.iter().filter(|tip| **tip != last).take(12) {
        writeln!(stream, "merge :{}", tip + 1).unwrap();
    }
    git(directory, &["init", "--quiet", "--initial-branch=main"], "");
    git(directory, &["fast-import", "--quiet", "--force"], &stream);
}

/// Asks for path sets and bases of all kinds, and holds each answer against `git log`.
fn compare(directory: &Path, paths: &[&str], seed: u64, questions: usize) {
    let mut numbers = Numbers(seed + 99);
    let all = git(directory, &["log", "--format=%H %ct", "--all"], "");
    let all: Vec<(&str, i64)> =
        all.lines().map(|line| line.split_once(' ').unwrap()).map(|(id, time)| (id, time.parse().unwrap())).collect();
    let mut lookups = Vec::new();
    let mut expected = Vec::new();
    for _ in 0..questions {
        let mut chosen: Vec<&str> = (0..1 + numbers.below(3)).map(|_| paths[numbers.below(paths.len())]).collect();
        chosen.sort_unstable();
        chosen.dedup();
        let log = |range: &[&str]| {
            let arguments: Vec<&str> = ["--literal-pathspecs", "log", "--format=%H"]
                .iter()
                .chain(range)
                .chain(&["--"])
                .chain(&chosen)
                .copied()
                .collect();
            git(directory, &arguments, "").lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let paths: Vec<String> = chosen.iter().map(|path| (*path).to_owned()).collect();
        let (base, time) = all[numbers.below(all.len())];
        lookups.push(Lookup::Latest { paths: paths.clone() });
        expected.push(log(&["-1", "main"]));
        lookups.push(Lookup::Changes { base: Base::Commit(base.to_owned()), paths: paths.clone(), limit: u32::MAX });
        expected.push(log(&[&format!("{base}..main")]));
        lookups.push(Lookup::Changes { base: Base::Time(time), paths, limit: u32::MAX });
        expected.push(log(&[&format!("--since={}", time + 1), "main"]));
    }
    let asked: Vec<String> = lookups.iter().map(|lookup| format!("{lookup:?}")).collect();
    for ((answer, expected), asked) in ask(directory, lookups).into_iter().zip(expected).zip(asked) {
        let found: Vec<String> = match answer.unwrap_or_else(|error| panic!("{asked}: {error:?}")) {
            Answer::Latest(commit) => commit.into_iter().map(|commit| commit.id).collect(),
            Answer::Changes(history) => {
                assert_eq!(history.total as usize, history.commits.len());
                history.commits.into_iter().map(|commit| commit.id).collect()
            }
            Answer::Missing(_) => panic!("not asked"),
        };
        assert_eq!(found, expected, "seed {seed}: {asked} in {}", directory.display());
    }
}

#[test]
fn generated_histories_are_read_as_git_reads_them() {
    for seed in 1..=60 {
        let directory = tempfile::tempdir().unwrap();
        history(directory.path(), seed, 15 + 4 * usize::try_from(seed).unwrap());
        compare(directory.path(), &PATHS, seed, 8);
    }
}

#[test]
fn a_long_history_is_read_as_git_reads_it() {
    let directory = tempfile::tempdir().unwrap();
    history(directory.path(), 4711, 1500);
    compare(directory.path(), &PATHS, 4711, 25);
}

#[test]
fn this_projects_own_history_is_read_as_git_reads_it() {
    let root = &PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("..");
    let asked = |argument: &str| {
        let output = Command::new("git").args(["rev-parse", argument]).current_dir(root).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let (is_repository, shallow) = asked("--is-shallow-repository");
    if !is_repository || shallow == "true" || !asked("refs/heads/main").0 {
        crate::text::note!("this is not a full clone of the project: its own history is not tested");
        return;
    }
    compare(root, &["host", "plugins", "wit", "README.md", "host/src/capability", "never"], 1, 8);
}

#[test]
fn what_people_read_of_a_commit() {
    let directory = tempfile::tempdir().unwrap();
    git(directory.path(), &["init", "--quiet", "--initial-branch=main"], "");
    let message = "Fix the parser\n\nIt was wrong: naïve & <quick>.\n";
    let stream = format!(
        "commit refs/heads/main\nauthor Zoë Müller <z@example.com> 1700000000 +0100\ncommitter Bot <b@example.com> 1700003600 +0000\ndata {}\n{message}\nM 100644 inline a/x\ndata 1\nx\n",
        message.len()
    );
    git(directory.path(), &["fast-import", "--quiet"], &stream);
    let Answer::Latest(Some(commit)) = one(directory.path(), Lookup::Latest { paths: vec!["a/".to_owned()] }).unwrap()
    else {
        panic!()
    };
    assert_eq!(
        (commit.subject.as_str(), commit.author.as_str(), commit.time),
        ("Fix the parser", "Zoë Müller", 1_700_003_600)
    );
    let missing = Lookup::Missing { paths: vec!["a".to_owned(), "b".to_owned(), "a/x".to_owned(), "a/x/".to_owned()] };
    let Answer::Missing(missing) = one(directory.path(), missing).unwrap() else { panic!() };
    assert_eq!(missing, ["b", "a/x/"], "a file is not a directory");
    let prefix =
        Lookup::Changes { base: Base::Commit(commit.id[..8].to_uppercase()), paths: vec!["a".to_owned()], limit: 5 };
    let Answer::Changes(changes) = one(directory.path(), prefix).unwrap() else { panic!() };
    assert_eq!(changes.total, 0);
}

#[test]
fn repositories_that_cannot_answer_say_why() {
    let latest = || Lookup::Latest { paths: vec!["a".to_owned()] };
    let message = |path: &Path, lookup| one(path, lookup).unwrap_err().message().to_owned();
    let directory = tempfile::tempdir().unwrap();
    let nothing = directory.path().join("nothing");
    assert!(message(&nothing, latest()).contains("it cannot be opened"));

    let empty = directory.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    git(&empty, &["init", "--quiet", "--initial-branch=main"], "");
    assert!(message(&empty, latest()).contains("branch main has no commit yet"), "{}", message(&empty, latest()));

    let whole = directory.path().join("whole");
    std::fs::create_dir(&whole).unwrap();
    history(&whole, 3, 20);
    let shallow = directory.path().join("shallow");
    git(directory.path(), &["clone", "--quiet", "--depth=1", &format!("file://{}", whole.display()), "shallow"], "");
    assert!(message(&shallow, latest()).contains(" fetch --unshallow`"));

    let other = Repository::new("test", whole.clone(), "release");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(other.ask(&calls(), latest())).unwrap_err();
    assert!(error.message().contains("it has no branch release; set git.test.branch"), "{error:?}");

    let changes =
        |base: &str| Lookup::Changes { base: Base::Commit(base.to_owned()), paths: vec!["a".to_owned()], limit: 1 };
    assert!(message(&whole, changes("0123456789012345678901234567890123456789")).contains("has no commit 0123456789"));
    assert!(message(&whole, changes("HEAD")).contains("`HEAD` is not a commit"));
    let tree = git(&whole, &["rev-parse", "main^{tree}"], "");
    assert!(message(&whole, changes(tree.trim())).contains("has no commit"));
    for path in ["/etc/passwd", "../a", ""] {
        assert!(message(&whole, Lookup::Latest { paths: vec![path.to_owned()] }).contains("is not a valid path"));
    }
    let Answer::Latest(never) = one(&whole, Lookup::Latest { paths: vec!["never".to_owned()] }).unwrap() else {
        panic!()
    };
    assert_eq!(never, None);
}

/// A damaged object is an error, not an empty history.
#[test]
fn a_damaged_repository_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    history(directory.path(), 5, 30);
    git(directory.path(), &["repack", "-a", "-d", "--quiet"], "");
    let packs = directory.path().join(".git/objects/pack");
    for entry in std::fs::read_dir(packs).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "pack") {
            let mut bytes = std::fs::read(&path).unwrap();
            let end = bytes.len();
            bytes[12..end].fill(0xa5);
            let mut permissions = std::fs::metadata(&path).unwrap().permissions();
            #[allow(clippy::permissions_set_readonly_false)]
            permissions.set_readonly(false);
            std::fs::set_permissions(&path, permissions).unwrap();
            std::fs::write(&path, bytes).unwrap();
        }
    }
    let error = one(directory.path(), Lookup::Latest { paths: vec!["a".to_owned()] }).unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
}

/// A guest may call a lookup off at any moment, also before it is gathered: nothing is kept of it, and no thread walks on.
#[test]
fn a_lookup_that_is_called_off_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    history(directory.path(), 7, 40);
    let (repository, run) = (repository(directory.path()), calls());
    let lookup = || Lookup::Latest { paths: vec!["a".to_owned()] };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for polls in 0..3 {
            let mut asked = Box::pin(repository.ask(&run, lookup()));
            for _ in 0..polls {
                let mut nobody = Context::from_waker(Waker::noop());
                assert!(asked.as_mut().poll(&mut nobody).is_pending());
            }
        }
        let left = async {
            while Arc::strong_count(&run) > 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), left).await.expect("nobody holds on to the run");
        assert!(run.permit().hold(Budgets::default().host_memory.0).is_ok(), "nothing is charged");
        assert!(repository.ask(&run, lookup()).await.is_ok());
    });
}

/// A guest makes its calls one after the other, and then waits: by then none of them has begun without the others.
#[test]
fn what_a_guest_asks_before_it_waits_is_answered_together() {
    let directory = tempfile::tempdir().unwrap();
    history(directory.path(), 7, 40);
    let (repository, run) = (repository(directory.path()), calls());
    let ask = || async {
        let paths = vec!["a".to_owned()];
        let question = Question::words(String::new(), "git.test");
        run.ask("git.latest", String::new(), question, Ok(()), repository.latest(&run, paths)).await
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut asked: Vec<_> = (0..3).map(|_| Box::pin(ask())).collect();
        for call in &mut asked {
            assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        assert_eq!(repository.waiting().len(), 3);
        assert!(futures_util::future::try_join_all(asked).await.is_ok());
    });
}

/// The question takes memory too, before anything is read.
#[test]
fn paths_are_charged_to_the_run() {
    let directory = tempfile::tempdir().unwrap();
    history(directory.path(), 7, 40);
    let deep = vec!["a/".repeat(2000); 100];
    let lookups = (0..3).map(|_| Lookup::Latest { paths: deep.clone() }).collect();
    let answers = ask(directory.path(), lookups);
    assert!(answers[0].is_ok(), "{:?}", answers[0]);
    let over = answers[1].as_ref().unwrap_err().message();
    assert!(over.contains("budgets.host_memory"), "{over}");
}
