//! `plugfest run --target spdk`: a target that runs in another process, over its real sockets.
#![expect(
    clippy::disallowed_methods,
    reason = "processes are killed by the clock, as often as somebody asks for"
)]

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use real::rpc::client::RpcClient;
use real::socket_peer::fresh_dir;
use sim::Rng;

const PLUGFEST: &str = env!("CARGO_BIN_EXE_plugfest");
/// A target that runs answers within this.
const PATIENCE: Duration = Duration::from_secs(30);

/// `plugfest serve`, which somebody else has started.
struct Served {
    process: Child,
    dir: PathBuf,
}

impl Served {
    fn start() -> Self {
        let dir = fresh_dir("spdk-test").expect("a directory");
        let mut process = Command::new(PLUGFEST)
            .args(["serve", "--rpc-socket"])
            .arg(dir.join("rpc"))
            .arg("--vhost-sockets")
            .arg(&dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it is built");
        let mut line = String::new();
        let out = process.stdout.take().expect("its output is ours");
        let read = BufReader::new(out).read_line(&mut line);
        assert!(read.is_ok() && !line.is_empty(), "it does not start");
        Self { process, dir }
    }

    fn run(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PLUGFEST);
        // What it leaves is no other test's business.
        command.arg("run").args(arguments).env("TMPDIR", &self.dir);
        command.args(["--target", "spdk", "--rpc-socket"]);
        command.arg(self.dir.join("rpc"));
        command.arg("--vhost-sockets").arg(&self.dir);
        command
    }

    /// What runs have left that have ended.
    fn leftovers(&self) -> (Option<i32>, String) {
        let mut doctor = Command::new(PLUGFEST);
        doctor.env("TMPDIR", &self.dir);
        let listed = doctor.args(["doctor", "--leftovers"]).output();
        let listed = listed.expect("it runs");
        (listed.status.code(), text(&listed))
    }

    /// What the target has: controllers and bdevs.
    fn has(&self) -> [serde_json::Value; 2] {
        let path = self.dir.join("rpc");
        let mut rpc = RpcClient::connect(&path, PATIENCE).expect("it runs");
        ["vhost_get_controllers", "bdev_get_bdevs"]
            .map(|method| rpc.call(method, None).expect("it answers"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
        // A directory of our own.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// What a target has that nobody has made anything on.
fn nothing() -> [serde_json::Value; 2] {
    [serde_json::json!([]), serde_json::json!([])]
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

#[test]
fn disks_come_to_model_guests_on_sockets_and_nothing_stays_behind() {
    let served = Served::start();
    let output = served.run(&["hotattach/2", "--io-count", "quick"]).output();
    let output = output.expect("it runs");
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains(r#"hotattach/2 "both": 1=256 2=256"#),
        "{said}"
    );
    assert_eq!(served.has(), nothing());
}

#[test]
#[ignore = "needs a minute, and two CPUs for itself"]
fn the_documented_plan_passes_on_a_target_that_runs() {
    let served = Served::start();
    let run = served
        .run(&["hotattach", "hotdetach", "--runtime", "1"])
        .output();
    let output = run.expect("it runs");
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("9 of 9 cases passed"), "{said}");
    assert_eq!(served.has(), nothing());
}

#[test]
#[ignore = "needs a minute, and two CPUs for itself"]
fn memory_that_goes_under_io_comes_back_with_its_data() {
    let served = Served::start();
    let run = served.run(&["hotremove", "--runtime", "2"]).output();
    let output = run.expect("it runs");
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("4 of 4 cases passed"), "{said}");
    assert_eq!(served.has(), nothing());
}

/// How many kills at drawn moments: `PLUGFEST_KILLS`, or a few.
fn kills() -> u64 {
    let asked = std::env::var("PLUGFEST_KILLS").ok();
    asked.and_then(|asked| asked.parse().ok()).unwrap_or(5)
}

/// Kills on one target: the model makes 255 controllers in its life, and two runs make sixteen.
const TARGET_KILLS: u64 = 12;

/// A moment of a run that lasts a minute, most of them in its first seconds.
fn moment(rng: &mut Rng) -> Duration {
    Duration::from_millis(u64::from(rng.below(40) * rng.below(40)))
}

#[test]
#[ignore = "needs a second a kill: PLUGFEST_KILLS, or 5"]
fn a_target_that_is_killed_at_any_moment_never_passes() {
    let mut rng = Rng::new(1, sim::Stream::Directed);
    for kill in 0..kills() {
        let mut served = Served::start();
        let mut run = served.run(&["hotattach", "--runtime", "60"]);
        let run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let run = run.expect("it is built");
        let moment = moment(&mut rng);
        thread::sleep(moment);
        served.process.kill().expect("it runs");
        let output = run.wait_with_output().expect("it ends");
        let code = output.status.code();
        let said = text(&output);
        let at = format!("kill {kill} after {moment:?}");
        println!("{at}: {code:?}");
        // A target that is dead before the run has found it is an error, and nothing was tried.
        let unfound = code == Some(2) && said.contains("no target listens at");
        assert!(unfound || code == Some(3), "{at}: {code:?}: {said}");
    }
}

#[test]
#[ignore = "needs two seconds a kill: PLUGFEST_KILLS, or 5"]
fn a_run_that_is_killed_at_any_moment_leaves_nothing_that_stays() {
    let mut served = Served::start();
    let mut rng = Rng::new(2, sim::Stream::Directed);
    for kill in 0..kills() {
        if kill % TARGET_KILLS == TARGET_KILLS - 1 {
            served = Served::start();
        }
        let mut run = served.run(&["hotattach", "--runtime", "60"]);
        let mut run = run.stdout(Stdio::null()).spawn().expect("it is built");
        let moment = moment(&mut rng);
        thread::sleep(moment);
        run.kill().expect("it runs");
        run.wait().expect("it ends");
        let next = served.run(&["hotattach/1", "--io-count", "quick"]).output();
        let next = next.expect("it runs");
        let at = format!("kill {kill} after {moment:?}");
        println!("{at}: the next passes: {:?}", next.status.code());
        assert_eq!(next.status.code(), Some(0), "{at}: {}", text(&next));
        assert_eq!(served.leftovers().0, Some(0), "{at}");
        assert_eq!(served.has(), nothing(), "{at}");
    }
}

/// Runs plans on a target that is killed with the first fio: the exit status, and what was printed after that.
fn killed_with_the_first_fio(plans: &[&str]) -> (Option<i32>, Vec<String>) {
    let mut served = Served::start();
    let run = served.run(&[plans, &["--runtime", "60"]].concat());
    let mut run = { run }
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it is built");
    let mut lines = BufReader::new(run.stdout.take().expect("its output is ours")).lines();
    let started = lines
        .by_ref()
        .any(|line| line.is_ok_and(|line| line.contains("start fio")));
    assert!(started, "no fio was started");
    served.process.kill().expect("it runs");
    let rest = lines.map_while(Result::ok).collect();
    (run.wait().expect("it ends").code(), rest)
}

#[test]
fn a_plan_is_reported_though_the_next_one_finds_no_target() {
    let (exit, rest) = killed_with_the_first_fio(&["hotattach/1", "hotdetach/1"]);
    assert_eq!(exit, Some(2), "{rest:#?}");
    let reported = rest
        .iter()
        .any(|line| line.contains("hotattach/1") && line.contains("inconclusive"));
    assert!(reported, "{rest:#?}");
}

#[test]
fn seeds_are_reported_though_the_next_one_finds_no_target() {
    let mut served = Served::start();
    let junit = served.dir.join("junit.xml");
    let seeds = ["hotattach/1", "--seeds", "0..9", "--io-count", "quick"];
    let mut run = served.run(&seeds);
    let mut run = run
        .args(["--format", "json", "--junit"])
        .arg(&junit)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it is built");
    let mut lines = BufReader::new(run.stdout.take().expect("its output is ours")).lines();
    let first = lines.next().and_then(Result::ok).unwrap_or_default();
    assert!(first.contains(r#""verdict":"passed""#), "{first}");
    assert!(first.contains(r#""trace_hash":null"#), "{first}");
    served.process.kill().expect("it runs");
    drop(lines);
    let output = run.wait_with_output().expect("it ends");
    let said = text(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("no target listens at"), "{said}");
    let junit = std::fs::read_to_string(&junit).expect("it is written all the same");
    assert!(junit.contains("hotattach/1 seed 0"), "{junit}");
    assert!(junit.contains("of 9 seeds were not carried out"), "{junit}");
}

#[test]
fn a_target_that_is_killed_says_nothing_of_it() {
    let (exit, rest) = killed_with_the_first_fio(&["hotattach/1"]);
    assert_eq!(exit, Some(3), "{rest:#?}");
    // It is said when that was, not when it would have been noticed at the latest.
    let unknown = rest
        .iter()
        .filter_map(|line| line.trim().strip_prefix("???? "));
    let times = unknown.filter_map(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    let last = times.fold(0.0, f64::max);
    assert!(last > 0.0 && last < 60.0, "{rest:#?}");
}

#[test]
fn what_a_killed_run_leaves_is_listed_until_the_next_one_starts() {
    let served = Served::start();
    let mut run = served.run(&["hotattach/1", "--runtime", "60"]);
    let mut run = run.stdout(Stdio::piped()).spawn().expect("it is built");
    let mut lines = BufReader::new(run.stdout.take().expect("its output is ours")).lines();
    let started = lines.any(|line| line.is_ok_and(|line| line.contains("start fio")));
    assert!(started, "no fio was started");
    run.kill().expect("it runs");
    run.wait().expect("it ends");
    let (code, left) = served.leftovers();
    assert_eq!(code, Some(1), "{left}");
    assert!(left.contains("vhost_delete_controller vhost.1"), "{left}");
    assert_ne!(served.has(), nothing());
    let output = served.run(&["hotattach/1", "--io-count", "quick"]).output();
    let output = output.expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(
        served.leftovers(),
        (Some(0), "nothing is left\n".to_owned())
    );
    assert_eq!(served.has(), nothing());
}

#[test]
fn what_somebody_else_has_made_is_neither_used_nor_taken_away() {
    let served = Served::start();
    let path = served.dir.join("rpc");
    let mut rpc = RpcClient::connect(&path, PATIENCE).expect("it runs");
    let theirs = serde_json::json!({"ctrlr": "vhost.1"});
    let made = rpc.call("vhost_create_scsi_controller", Some(theirs));
    made.expect("it is made");
    let run = served.run(&["hotattach/1", "--io-count", "quick"]).output();
    let output = run.expect("it runs");
    let said = text(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("the target has a controller vhost.1 already"),
        "{said}"
    );
    assert_eq!(served.has()[0][0]["ctrlr"], "vhost.1");
}

#[test]
fn what_cannot_be_meant_is_one_error_before_anything_is_touched() {
    let served = Served::start();
    let names = ["hotattach/1", "--bdevs", "names:A,B"];
    for (arguments, expected) in [
        (&names[..], "say --erase A,B"),
        (
            &[names[0], names[1], names[2], "--erase", "A"],
            "expected what --bdevs names: --erase A,B",
        ),
        (
            &["hotattach/1", "--erase", "A"],
            "nothing is lost with --bdevs malloc:32",
        ),
        (
            &["hotattach/1", "--bdevs", "disk:1"],
            "expected malloc, malloc:MIB, names:BDEV",
        ),
        (
            &["hotattach/1", "--schedule", "random"],
            "--schedule means something with --target model only",
        ),
        (
            &["hotattach/1", "--workers", "2", "--seeds", "0..2"],
            "one run at a time",
        ),
    ] {
        let output = served.run(arguments).output().expect("it runs");
        let said = text(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    assert_eq!(served.has(), nothing());
    let model = Command::new(PLUGFEST)
        .args(["run", "--bdevs", "malloc"])
        .output();
    let said = text(&model.expect("it runs"));
    assert!(
        said.contains("--bdevs means something with --target spdk only"),
        "{said}"
    );
}

impl Served {
    /// A bdev of somebody else's.
    fn malloc(&self, name: &str) -> RpcClient {
        let path = self.dir.join("rpc");
        let mut rpc = RpcClient::connect(&path, PATIENCE).expect("it runs");
        let params = serde_json::json!({"name": name, "num_blocks": 131_072, "block_size": 512});
        let made = rpc.call("bdev_malloc_create", Some(params));
        made.expect("it is made");
        rpc
    }

    /// A run of one case on these bdevs: exit status, and what it says.
    fn erases(&self, bdevs: &str, erase: &str) -> (Option<i32>, String) {
        let more = ["--bdevs", bdevs, "--erase", erase];
        let mut run = self.run(&["hotattach/1", "--io-count", "quick"]);
        let output = run.args(more).output().expect("it runs");
        (output.status.code(), text(&output))
    }
}

#[test]
fn what_is_erased_is_said_and_what_is_in_use_is_refused() {
    let served = Served::start();
    let mut rpc = served.malloc("Theirs");
    let (code, said) = served.erases("names:Theirs", "Theirs");
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("erasing Theirs: Malloc disk, 64 MiB"),
        "{said}"
    );
    let before = served.has();
    for (method, params) in [
        (
            "vhost_create_scsi_controller",
            serde_json::json!({"ctrlr": "theirs"}),
        ),
        (
            "vhost_scsi_controller_add_target",
            serde_json::json!({"ctrlr": "theirs", "scsi_target_num": 0, "bdev_name": "Theirs"}),
        ),
    ] {
        rpc.call(method, Some(params)).expect("it is done");
    }
    for (bdevs, erase, expected) in [
        (
            "names:Theirs",
            "Theirs",
            "Theirs: a controller of the target has it",
        ),
        (
            "names:Nobodys",
            "Nobodys",
            "Nobodys: the target has no such bdev",
        ),
        (
            "nvme:7f:00.0",
            "7f:00.0",
            "expected it in full, 0000:7f:00.0",
        ),
    ] {
        let (code, said) = served.erases(bdevs, erase);
        assert_eq!(code, Some(2), "{bdevs}: {said}");
        assert!(said.contains(expected), "{bdevs}: {said}");
        assert!(!said.contains("erasing"), "{bdevs}: {said}");
    }
    assert_eq!(served.has()[1][0]["name"], before[1][0]["name"]);
    assert_eq!(served.has()[1].as_array().map(Vec::len), Some(1));
}

/// A name as long as SPDK lets it be, of which guests see half.
fn long_name(first: &str) -> String {
    format!("{first:x<63}")
}

#[test]
fn bdevs_with_long_names_and_aliases_are_known_in_guests() {
    let served = Served::start();
    let mut rpc = served.malloc("first");
    let mut names = vec!["first".to_owned()];
    for number in 1..16 {
        let name = long_name(&format!("{number:02}"));
        let params = serde_json::json!({"name": name, "num_blocks": 131_072, "block_size": 512});
        rpc.call("bdev_malloc_create", Some(params))
            .expect("it is made");
        let all = rpc.call("bdev_get_bdevs", Some(serde_json::json!({"name": name})));
        let uuid = all.expect("it is there")[0]["uuid"].clone();
        names.push(if number % 2 == 0 {
            uuid.as_str().expect("every bdev has one").to_owned()
        } else {
            name
        });
    }
    let list = names.join(",");
    let (code, said) = served.erases(&format!("names:{list}"), &list);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("1 of 1 cases passed"), "{said}");
}

#[test]
fn bdevs_that_guests_cannot_tell_apart_are_refused() {
    let served = Served::start();
    let name = long_name("same");
    served.malloc(&name);
    let before = served.has();
    // Its parts have the same beginning.
    let (code, said) = served.erases(&format!("names:{name}"), &name);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("guests cannot tell disk 2 from disk 1"),
        "{said}"
    );
    assert_eq!(served.has(), before);
}

#[test]
fn an_address_that_this_machine_does_not_know_is_the_targets_affair() {
    let served = Served::start();
    let addresses = (1..=128).map(|bus| format!("0000:{bus:02x}:00.0"));
    let here = std::path::Path::new("/sys/bus/pci/devices");
    let mut free = addresses.filter(|address| !here.join(address).exists());
    let address = free.next().expect("less than 128 buses");
    let (code, said) = served.erases(&format!("nvme:{address}"), &address);
    assert_eq!(code, Some(0), "{said}");
    let expected = format!("erasing {address}: no device of this machine");
    assert!(said.contains(&expected), "{said}");
    assert_eq!(served.has(), nothing());
}

#[test]
fn nobody_listens_is_said_with_the_place() {
    let output = Command::new(PLUGFEST)
        .args([
            "run",
            "hotattach/1",
            "--target",
            "spdk",
            "--rpc-socket",
            "/nowhere/spdk.sock",
        ])
        .output()
        .expect("it runs");
    let said = text(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("no target listens at /nowhere/spdk.sock"),
        "{said}"
    );
}
